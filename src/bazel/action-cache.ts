// ActionCache: what an action made, answered only when all of it can be had.

import { fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Clock } from '../core/clock.ts';
import type { Digest } from '../core/digest.ts';
import { digestKey } from '../core/digest.ts';
import { isCode } from '../core/errors.ts';
import type { Records } from '../store/records.ts';
import { type Blobs, tenantOf } from './blobs.ts';
import { invalid, notFound, notStored } from './call-error.ts';
import type { Caller } from './caller.ts';
import { readDigest, requireSha256 } from './digest.ts';
import type { GatedWrites } from './gated.ts';
import {
  type ActionResult,
  ActionResultSchema,
  type GetActionResultRequest,
  type UpdateActionResultRequest,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import type { Handlers } from './handlers.ts';
import type { Broken, Promises } from './promise.ts';
import { readInstance } from './resource-name.ts';
import type { actionCacheService, Handlers as ServiceHandlers } from './services.ts';
import type { ReapiUpstream } from './upstream.ts';

export interface ActionCachePorts {
  readonly clock: Clock;
  readonly handlers: Handlers;
  readonly blobs: Blobs;
  readonly promises: Promises;
  readonly records: Records;
  readonly upstream: ReapiUpstream;
  readonly gated: GatedWrites;
  /** A result so young is answered without asking the upstream again. */
  readonly freshMs: number;
  /** Told why a result that is there is not answered. */
  onBroken(instance: string, action: Digest, reason: Broken): void;
}

export const actionCache = (ports: ActionCachePorts): ServiceHandlers<typeof actionCacheService> => {
  const { handlers } = ports;
  const late = () => notFound('the action result cannot be proven in time');
  return {
    GetActionResult: handlers.unary(late, (request, caller) => getActionResult(ports, request, caller)),
    UpdateActionResult: handlers.unary(notStored, (request, caller) => updateActionResult(ports, request, caller)),
  };
};

interface Row {
  /** Base64. */
  readonly result: string;
  /** Milliseconds since 1970. */
  readonly seenAt: number;
}

const getActionResult = async (
  ports: ActionCachePorts,
  request: GetActionResultRequest,
  caller: Caller,
): Promise<ActionResult> => {
  const { blobs, clock, freshMs, onBroken, promises, upstream } = ports;
  requireSha256(request.digestFunction);
  const instance = readInstance(request.instanceName);
  const action = readDigest(request.actionDigest);
  await blobs.requireReader(instance, caller);
  const record = await findRecord(ports, instance, action);
  const isInlineAsked = request.inlineStdout || request.inlineStderr || request.inlineOutputFiles.length > 0;
  const isFresh = record !== null && !isInlineAsked && clock.now() - record.seenAt < freshMs;
  const answer =
    isFresh && upstream.isThere
      ? ({ kind: 'result', result: record.result } as const)
      : await upstream.getActionResult(request, caller);
  if (answer.kind === 'denied') throw upstream.refusal(caller.credentials);
  if (answer.kind === 'result') {
    const broken = await promises.broken(instance, answer.result, caller);
    if (broken === null) {
      if (!isFresh && !isInlineAsked) await putRecord(ports, instance, action, answer.result);
      return answer.result;
    }
    onBroken(instance, action, broken);
    throw notFound(`a blob that this action result names cannot be promised (${broken})`);
  }
  // Without an upstream the record is the action cache; with one that fails, or has lost it, it is as good while all is here.
  if (record === null) throw notFound('there is no such action result');
  const broken = await promises.broken(instance, record.result, caller, { heldOnly: true });
  if (broken === null) return record.result;
  onBroken(instance, action, broken);
  throw notFound(`a blob that this action result names is not here (${broken})`);
};

const updateActionResult = async (
  ports: ActionCachePorts,
  request: UpdateActionResultRequest,
  caller: Caller,
): Promise<ActionResult> => {
  const { gated, upstream } = ports;
  requireSha256(request.digestFunction);
  const instance = readInstance(request.instanceName);
  const action = readDigest(request.actionDigest);
  const { actionResult } = request;
  if (actionResult === undefined) throw invalid('an action result is missing');
  await gated.admit(instance, 'UpdateActionResult', caller);
  const answer = await upstream.updateActionResult(request, caller);
  if (answer.kind === 'denied') throw upstream.refusal(caller.credentials);
  if (answer.kind !== 'result') throw notStored();
  try {
    await putRecord(ports, instance, action, actionResult);
  } catch (error) {
    if (isCode(error, 'LARGE')) throw invalid('the action result is too large to be kept');
    if (isCode(error, 'DISK')) throw notStored();
    throw error;
  }
  return answer.result;
};

const findRecord = async ({ records }: ActionCachePorts, instance: string, action: Digest) => {
  const row = await records.get(recordKey(instance, action));
  if (!isRow(row)) return null;
  return { result: fromBinary(ActionResultSchema, Buffer.from(row.result, 'base64')), seenAt: row.seenAt };
};

const putRecord = async (
  { clock, records }: ActionCachePorts,
  instance: string,
  action: Digest,
  result: ActionResult,
): Promise<void> => {
  const row: Row = {
    result: Buffer.from(toBinary(ActionResultSchema, result)).toString('base64'),
    seenAt: clock.now(),
  };
  await records.put(recordKey(instance, action), row);
};

const recordKey = (instance: string, action: Digest): string => `action\n${tenantOf(instance)}\n${digestKey(action)}`;

const isRow = (value: unknown): value is Row =>
  typeof value === 'object' &&
  value !== null &&
  'result' in value &&
  typeof value.result === 'string' &&
  'seenAt' in value &&
  typeof value.seenAt === 'number';
