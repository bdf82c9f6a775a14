// One upstream transfer of a claim: fetched within its limits, held against the digest, spooled.

import { createHash } from 'node:crypto';
import type { Breaker } from '../core/breaker.ts';
import type { Clock } from '../core/clock.ts';
import { DecodeError, isCode } from '../core/errors.ts';
import { type Failure, type UnavailableReason, unavailable } from '../core/verdict.ts';
import type { Spool } from '../store/form.ts';
import { batches } from './batches.ts';
import type { Fetch } from './fetch.ts';
import type { Prover } from './prover.ts';
import { TransferWatch } from './watch.ts';

/** How one transfer ended, before anything is said of the body as a whole. */
export type TransferEnd =
  /** Its framing says that it is complete. */
  | { readonly kind: 'ended' }
  /** It broke off, having brought what is in the spool; another may go on from there. */
  | { readonly kind: 'broken'; readonly reason: UnavailableReason }
  /** It went on with other bytes than it began with: all must be fetched anew. */
  | { readonly kind: 'changed' }
  | { readonly kind: 'failed'; readonly failure: Failure };

export interface TransferPorts {
  readonly clock: Clock;
  readonly breaker: Breaker;
  readonly idleMs: number;
  /** What the first byte may take beyond the breaker's limit: some fetch a whole object before they begin. */
  readonly extraFirstByteMs: number;
  /** Called as a request goes out. */
  onTransfer(): void;
}

export interface TransferInto {
  readonly prover: Prover;
  readonly spool: Spool;
  /** Called after bytes were proven so far and spooled. */
  onProgress(): void;
  /** Called with the validator of what is being received. */
  onValidator(validator: string | null): void;
}

const failed = (failure: Failure): TransferEnd => ({ kind: 'failed', failure });

/** Runs one transfer, from byte `prover.encodedBytes` on; `outer` ends it early. Never throws. */
export const transfer = async (
  ports: TransferPorts,
  fetch: Fetch,
  request: { readonly validator: string | null; readonly isFresh: boolean },
  into: TransferInto,
  outer: AbortSignal,
): Promise<TransferEnd> => {
  const { clock, breaker } = ports;
  if (outer.aborted) return failed(unavailable('aborted'));
  if (!breaker.admits() && !(await breaker.closesSoon())) return failed(unavailable('breaker'));
  ports.onTransfer();
  const abort = new AbortController();
  const passed: UnavailableReason[] = [];
  const watch = new TransferWatch(
    clock,
    { firstByteMs: breaker.firstByteMs + ports.extraFirstByteMs, idleMs: ports.idleMs },
    (reason) => {
      passed.push(reason);
      abort.abort();
    },
  );
  const signal = AbortSignal.any([abort.signal, outer]);
  try {
    const end = await receive(fetch, { ...request, signal }, into, watch);
    tell(breaker, into.prover, end);
    return end;
  } catch (error) {
    if (outer.aborted) return failed(unavailable('aborted'));
    // A body that is made from a form of ours.
    if (isCode(error, 'ROT')) return failed(unavailable('disk', messageOf(error)));
    // One that is decoded on its way here: what was cut is the transfer's fault, anything else the body's.
    if (error instanceof DecodeError && error.fault !== 'incomplete') {
      const end = failed(into.prover.refute(error));
      tell(breaker, into.prover, end);
      return end;
    }
    const [limit] = passed;
    const end = brokenOff(limit, into.prover.encodedBytes);
    tell(breaker, into.prover, end, limit);
    return end;
  } finally {
    watch.close();
    abort.abort();
  }
};

/** What was thrown came from the body, or it is the passing of a limit. */
const brokenOff = (limit: UnavailableReason | undefined, bytes: number): TransferEnd => {
  if (limit === undefined) return { kind: 'broken', reason: bytes === 0 ? 'empty' : 'cut' };
  return limit === 'idle' ? { kind: 'broken', reason: 'idle' } : failed(unavailable(limit));
};

/** A whole body, right or wrong, and however it ended: the upstream delivers. */
const tell = (breaker: Breaker, prover: Prover, end: TransferEnd, limit?: UnavailableReason): void => {
  const failure = end.kind === 'failed' ? end.failure : null;
  if (prover.isFull(end.kind === 'ended') || failure?.kind === 'refuted') breaker.succeeded();
  else if (limit !== undefined || (failure?.kind === 'unavailable' && failure.reason === 'refused')) breaker.failed();
};

const receive = async (
  fetch: Fetch,
  request: { readonly validator: string | null; readonly isFresh: boolean; readonly signal: AbortSignal },
  into: TransferInto,
  watch: TransferWatch,
): Promise<TransferEnd> => {
  const { prover } = into;
  const fromByte = prover.encodedBytes;
  const answer = await untilAborted(fetch({ ...request, fromByte }), request.signal);
  if (answer.kind !== 'body') return failed(answer);
  into.onValidator(answer.validator);
  const prefix = answer.fromByte === fromByte ? null : new Prefix(fromByte, prover.prefixHash());
  for await (const batch of batches(answer.bytes, watch, request.signal)) {
    const news = prefix === null ? batch : prefix.strip(batch);
    if (news === 'changed') return { kind: 'changed' };
    // What is here already is no progress: who follows on its strength may see it stall at the same byte again.
    if (news.length === 0) continue;
    const failure = await take(into, news);
    if (failure !== null) return failed(failure);
    into.onProgress();
  }
  return { kind: 'ended' };
};

/** Prover and spool hold the same bytes, or there is nothing to go on with: what either throws is no break of the transfer. */
const take = async ({ prover, spool }: TransferInto, bytes: Buffer): Promise<Failure | null> => {
  try {
    const [failure] = await Promise.all([prover.take(bytes), spool.append(bytes)]);
    return failure;
  } catch (error) {
    return ownFailure(error);
  }
};

/** What our own disk, memory or decoder says of a body, which says nothing of the upstream's. */
export const ownFailure = (error: unknown): Failure => {
  if (isCode(error, 'DISK')) return unavailable('disk', messageOf(error));
  if (isCode(error, 'BUSY')) return unavailable('busy', messageOf(error));
  return unavailable('unprovable', messageOf(error));
};

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A fetch that does not heed its signal must not hold the fill. */
const untilAborted = <T>(promise: Promise<T>, signal: AbortSignal): Promise<T> =>
  new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });

/** The bytes of a second transfer that we hold from the first: they must hash the same. */
class Prefix {
  readonly #expected: string;
  readonly #hash = createHash('sha256');
  #missingBytes: number;

  constructor(bytes: number, expected: string) {
    this.#missingBytes = bytes;
    this.#expected = expected;
  }

  /** What of `batch` lies behind the prefix; `changed` when the prefix is another one. */
  strip(batch: Buffer): Buffer | 'changed' {
    if (this.#missingBytes === 0) return batch;
    const own = batch.subarray(0, this.#missingBytes);
    this.#hash.update(own);
    this.#missingBytes -= own.length;
    if (this.#missingBytes === 0 && this.#hash.digest('hex') !== this.#expected) return 'changed';
    return batch.subarray(own.length);
  }
}
