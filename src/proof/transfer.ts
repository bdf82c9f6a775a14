// One upstream transfer of a claim: fetched within its limits, held against the digest, spooled.

import { createHash } from 'node:crypto';
import type { Breaker } from '../core/breaker.ts';
import type { Clock } from '../core/clock.ts';
import { isCode } from '../core/errors.ts';
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
  if (!breaker.admits()) return failed(unavailable('breaker'));
  const abort = new AbortController();
  let passedLimit: UnavailableReason | null = null;
  const watch = new TransferWatch(clock, { firstByteMs: breaker.firstByteMs, idleMs: ports.idleMs }, (reason) => {
    passedLimit = reason;
    abort.abort();
  });
  const signal = AbortSignal.any([abort.signal, outer]);
  try {
    const end = await receive(fetch, { ...request, signal }, into, watch);
    const failure = end.kind === 'failed' ? end.failure : null;
    if (failure?.kind === 'unavailable' && failure.reason === 'refused') breaker.failed();
    // A body to its end, right or wrong: the upstream delivers.
    if (end.kind === 'ended' ? into.prover.isFull : failure?.kind === 'refuted') breaker.succeeded();
    return end;
  } catch (error) {
    if (isCode(error, 'DISK')) return failed(unavailable('disk'));
    if (isCode(error, 'BUSY')) return failed(unavailable('busy'));
    if (outer.aborted) return failed(unavailable('aborted'));
    if (passedLimit === null) return { kind: 'broken', reason: into.prover.encodedBytes === 0 ? 'empty' : 'cut' };
    breaker.failed();
    return passedLimit === 'idle' ? { kind: 'broken', reason: 'idle' } : failed(unavailable(passedLimit));
  } finally {
    watch.close();
    abort.abort();
  }
};

const receive = async (
  fetch: Fetch,
  request: { readonly validator: string | null; readonly isFresh: boolean; readonly signal: AbortSignal },
  into: TransferInto,
  watch: TransferWatch,
): Promise<TransferEnd> => {
  const { prover, spool } = into;
  const fromByte = prover.encodedBytes;
  const answer = await untilAborted(fetch({ ...request, fromByte }), request.signal);
  if (answer.kind !== 'body') return failed(answer);
  into.onValidator(answer.validator);
  const prefix = answer.fromByte === fromByte ? null : new Prefix(fromByte, prover.prefixHash());
  for await (const batch of batches(answer.bytes, watch)) {
    const news = prefix === null ? batch : prefix.strip(batch);
    if (news === 'changed') return { kind: 'changed' };
    if (news.length === 0) continue;
    const [failure] = await Promise.all([prover.take(news), spool.append(news)]);
    if (failure !== null) return failed(failure);
    into.onProgress();
  }
  return { kind: 'ended' };
};

/** A fetch that does not heed its signal must not hold the fill. */
const untilAborted = <T>(promise: Promise<T>, signal: AbortSignal): Promise<T> =>
  new Promise((resolve, reject) => {
    const onAbort = () => reject(new Error('aborted'));
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
