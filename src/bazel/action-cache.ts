// ActionCache: what an action made, answered only when all of it can be had.

import type { Clock } from '../core/clock.ts';
import { type Digest, digestKey } from '../core/digest.ts';
import { isCode } from '../core/errors.ts';
import type { ActionMiss, Telemetry } from '../core/telemetry.ts';
import type { Failure } from '../core/verdict.ts';
import type { ActionRecords } from './action-records.ts';
import type { Blobs } from './blobs.ts';
import { invalid, notFound, notStored } from './call-error.ts';
import type { Caller } from './caller.ts';
import { readDigest, requireSha256 } from './digest.ts';
import type { GatedWrites } from './gated.ts';
import type {
  ActionResult,
  GetActionResultRequest,
  UpdateActionResultRequest,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import type { Handlers } from './handlers.ts';
import { type Promises, readNamed } from './promise.ts';
import { readInstance } from './resource-name.ts';
import type { actionCacheService, Handlers as ServiceHandlers } from './services.ts';
import type { ReapiUpstream } from './upstream.ts';

export interface ActionCachePorts {
  readonly clock: Clock;
  readonly handlers: Handlers;
  readonly blobs: Blobs;
  readonly promises: Promises;
  readonly records: ActionRecords;
  readonly upstream: ReapiUpstream;
  readonly gated: GatedWrites;
  readonly telemetry: Telemetry;
  /** A result so young is answered without asking the upstream again. */
  readonly freshMs: number;
  /** Told why a result that is there is not answered. */
  onMiss(instance: string, action: Digest, reason: ActionMiss): void;
}

export const actionCache = (ports: ActionCachePorts): ServiceHandlers<typeof actionCacheService> => {
  const { handlers } = ports;
  const late = () => notFound('the action result cannot be proven in time');
  return {
    GetActionResult: handlers.unary(late, (request, caller) => getActionResult(ports, request, caller)),
    UpdateActionResult: handlers.unary(notStored, (request, caller) => updateActionResult(ports, request, caller)),
  };
};

const getActionResult = async (
  ports: ActionCachePorts,
  request: GetActionResultRequest,
  caller: Caller,
): Promise<ActionResult> => {
  const { blobs, onMiss, telemetry, upstream } = ports;
  requireSha256(request.digestFunction);
  const instance = readInstance(request.instanceName);
  const action = readDigest(request.actionDigest);
  await blobs.requireReader(instance, caller);
  const found = await find(ports, instance, action, request, caller);
  if (found.kind === 'denied') throw upstream.refusal(caller.credentials);
  if (found.kind === 'result') {
    telemetry.actionResult('hit');
    return found.result;
  }
  telemetry.actionResult(found.reason);
  if (found.reason === 'absent') throw notFound('there is no such action result');
  onMiss(instance, action, found.reason);
  throw notFound(`the action result cannot be promised (${found.reason})`);
};

type Found =
  | { readonly kind: 'result'; readonly result: ActionResult }
  | { readonly kind: 'denied' }
  | { readonly kind: 'miss'; readonly reason: ActionMiss };

const find = async (
  ports: ActionCachePorts,
  instance: string,
  action: Digest,
  request: GetActionResultRequest,
  caller: Caller,
): Promise<Found> => {
  const { clock, freshMs, promises, records, upstream } = ports;
  const record = await records.find(instance, action);
  const isInlineAsked = request.inlineStdout || request.inlineStderr || request.inlineOutputFiles.length > 0;
  const isFresh = record !== undefined && !isInlineAsked && clock.now() - record.seenAt < freshMs;
  const answer: { kind: 'result'; result: ActionResult } | Failure =
    isFresh && upstream.isThere
      ? { kind: 'result', result: record.result }
      : await upstream.getActionResult(request, caller);
  if (answer.kind === 'denied') return { kind: 'denied' };
  if (answer.kind === 'result') {
    const broken = await promises.broken(instance, answer.result, caller);
    if (broken !== null) return { kind: 'miss', reason: broken };
    // What was inlined for this client alone is no part of what is kept.
    if (!isFresh && !isInlineAsked) await records.put(instance, action, answer.result);
    return answer;
  }
  // Without an upstream the record is the action cache; with one that fails, or has lost it, it is as good while all is here.
  if (record === undefined) return { kind: 'miss', reason: answer.kind === 'absent' ? 'absent' : 'unavailable' };
  const broken = await promises.broken(instance, record.result, caller, { isHeldOnly: true });
  return broken === null ? { kind: 'result', result: record.result } : { kind: 'miss', reason: broken };
};

const updateActionResult = async (
  { gated, records, upstream }: ActionCachePorts,
  request: UpdateActionResultRequest,
  caller: Caller,
): Promise<ActionResult> => {
  requireSha256(request.digestFunction);
  const instance = readInstance(request.instanceName);
  const action = readDigest(request.actionDigest);
  const { actionResult } = request;
  if (actionResult === undefined) throw invalid('an action result is missing');
  requireWellFormed(actionResult);
  await gated.admit(instance, 'UpdateActionResult', caller, digestKey(action));
  const answer = await upstream.updateActionResult(request, caller);
  if (answer.kind === 'denied') throw upstream.refusal(caller.credentials);
  if (answer.kind !== 'result') throw notStored();
  try {
    await records.put(instance, action, actionResult);
  } catch (error) {
    if (isCode(error, 'LARGE')) throw invalid(`the result of ${digestKey(action)} is too large to be kept`);
    if (isCode(error, 'DISK') || isCode(error, 'BUSY')) throw notStored();
    throw error;
  }
  return answer.result;
};

/** What no client could ever be given is not taken: the upstream, too, would refuse it, in words that Bazel tries again. */
const requireWellFormed = (result: ActionResult): void => {
  const named = readNamed(result);
  if (named === 'inlined') throw invalid('what is inlined in the action result is not what its digest names');
  if (typeof named === 'string') throw invalid('a digest of the action result is missing or malformed');
  if (result.outputFiles.some(({ path }) => path === '' || path.startsWith('/')))
    throw invalid('a path in the action result must be relative, and not empty');
};
