// The one transfer in flight for a claim, shared by all its readers: through breaks, to a verdict, into the store.

import type { Breaker } from '../core/breaker.ts';
import type { Claim } from '../core/claim.ts';
import { type Clock, pause } from '../core/clock.ts';
import type { Digest } from '../core/digest.ts';
import type { RetryBudget } from '../core/retry-budget.ts';
import { type Failure, unavailable } from '../core/verdict.ts';
import type { ProvenForm, Spool } from '../store/form.ts';
import { breaksAllowed, failureOf, isAnswer, pauseMs } from './breaks.ts';
import type { Fetch } from './fetch.ts';
import { type Proof, Prover } from './prover.ts';
import { ownFailure, transfer } from './transfer.ts';

export type Verdict =
  /** `fileHash` is that of the bytes that came, which are the form's unless another fill's were stored first. */
  { readonly kind: 'proven'; readonly form: ProvenForm; readonly fileHash: string } | Failure;

/** A body that arrived whole twice and never matched has said all it has to say. */
const MAX_COMPLETE_TRANSFERS = 2;
/** What a followed reader never gets before the verdict: more than a last frame's or block's header and checksum. */
const TAIL_BYTES = 64 * 1024;

export interface FillPorts {
  readonly clock: Clock;
  readonly retries: RetryBudget;
  readonly idleMs: number;
  readonly extraFirstByteMs: number;
  keep(spool: Spool, proven: { digest: Digest; encoding: Claim['encoding']; fileHash: string }): Promise<ProvenForm>;
}

/** What a fill works with once it has its place. */
export interface FillStart {
  readonly fetch: Fetch;
  readonly spool: Spool;
  readonly breaker: Breaker;
  /** Whether it is made from a form that we hold, and no upstream is asked. */
  readonly isRemade: boolean;
  onTransfer(): void;
  /** Gives the place back. */
  leave(): void;
}

interface Running extends FillStart {
  prover: Prover;
}

export class Fill {
  readonly claim: Claim;
  /** The client whose ask began it, and whose credentials it uses. */
  readonly startedBy: string;
  /** Never rejects. */
  readonly verdict: Promise<Verdict>;
  readonly #ports: FillPorts;
  readonly #abort = new AbortController();
  readonly #waiters = new Set<() => void>();
  #running: Running | null = null;
  #readers = 0;
  #completeTransfers = 0;
  #isFollowed = false;
  #isStuck = false;
  #isRefutedTwice = false;
  #hasEnded = false;
  #progressAt: number;

  /** `begin` resolves when the fill has its place; what it rejects with makes the verdict. */
  constructor(ports: FillPorts, claim: Claim, startedBy: string, begin: (signal: AbortSignal) => Promise<FillStart>) {
    this.claim = claim;
    this.startedBy = startedBy;
    this.#ports = ports;
    this.#progressAt = ports.clock.monotonic();
    this.verdict = this.#run(begin);
  }

  get readers(): number {
    return this.#readers;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get isFollowed(): boolean {
    return this.#isFollowed;
  }

  get isAborted(): boolean {
    return this.#abort.signal.aborted;
  }

  get isRemade(): boolean {
    return this.#running?.isRemade ?? false;
  }

  /** Whether what was refuted was fetched once more, past any cache, and refuted again. */
  get isRefutedTwice(): boolean {
    return this.#isRefutedTwice;
  }

  get spool(): Spool | null {
    return this.#running?.spool ?? null;
  }

  /** Encoded bytes that came and fitted so far. */
  get encodedBytes(): number {
    return this.#running?.prover.encodedBytes ?? 0;
  }

  /**
   * Encoded bytes that a follower may have now: our decoder has taken them, and a tail waits for the verdict. `byFrame`: the
   * whole last zstd frame does, for a client that takes what it has for complete once every decoded byte is there.
   */
  releasableBytes(byFrame: boolean): number {
    const taken = Math.max(0, Math.min(this.encodedBytes, this.spool?.bytes ?? 0) - TAIL_BYTES);
    return byFrame ? Math.min(taken, this.#running?.prover.bytesBeforeLastFrame ?? 0) : taken;
  }

  /** Whether bytes came lately, so that waiting longer is worth a reader's while. */
  get isMoving(): boolean {
    const { clock, idleMs } = this.#ports;
    return !this.#hasEnded && this.encodedBytes > 0 && clock.monotonic() - this.#progressAt < idleMs;
  }

  join(): void {
    this.#readers += 1;
  }

  leave(): void {
    this.#readers -= 1;
  }

  /** From now on bytes leave before the verdict: nothing may be fetched anew in their place. */
  follow(): void {
    this.#isFollowed = true;
  }

  /** Resolves at the next progress, or at the end. */
  progressed(): Promise<void> {
    if (this.#hasEnded) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.add(resolve));
  }

  abort(): void {
    this.#abort.abort();
  }

  async #run(begin: (signal: AbortSignal) => Promise<FillStart>): Promise<Verdict> {
    let start: FillStart | null = null;
    try {
      start = await begin(this.#abort.signal);
      this.#running = { ...start, prover: new Prover(this.claim.digest, this.claim.encoding) };
      return await this.#keep(this.#running);
    } catch (error) {
      return this.isAborted ? unavailable('aborted') : ownFailure(error);
    } finally {
      // Before anything that takes time: what is decided is waited for, and not followed any more.
      this.#hasEnded = true;
      this.#wake();
      this.#running?.prover.close();
      // A disk that fails at this too changes no verdict, and keeps no place.
      await start?.spool.discard().catch(() => undefined);
      start?.leave();
    }
  }

  async #keep(running: Running): Promise<Verdict> {
    const proof = await this.#prove(running);
    if (proof.kind !== 'proven') return proof;
    const { digest, fileHash } = proof;
    const form = await this.#ports.keep(running.spool, { digest, encoding: this.claim.encoding, fileHash });
    return { kind: 'proven', form, fileHash };
  }

  /** Twice at most: what was refuted, or can't be gone on with, is fetched once more from its first byte. */
  async #prove(running: Running): Promise<Proof> {
    const first = await this.#body(running, false);
    if (first.kind === 'proven' || !(first.kind === 'refuted' || this.#isStuck)) return first;
    if (this.#isFollowed || !this.#mayGoOn()) return first;
    // Before the pause: whoever follows from here on gets no byte of what was refuted.
    running.prover.close();
    running.prover = new Prover(this.claim.digest, this.claim.encoding);
    await running.spool.reset();
    await pause(this.#ports.clock, pauseMs(0), this.#abort.signal);
    const second = await this.#body(running, true);
    this.#isRefutedTwice = first.kind === 'refuted' && second.kind === 'refuted';
    return second;
  }

  /** One body, through as many transfers as it takes. */
  async #body({ fetch, spool, breaker, prover, onTransfer }: Running, isFresh: boolean): Promise<Proof> {
    const { clock, extraFirstByteMs, idleMs } = this.#ports;
    let validator: string | null = null;
    const into = {
      prover,
      spool,
      onProgress: () => this.#progress(),
      onValidator: (value: string | null) => {
        validator = value;
      },
    };
    const ports = { clock, breaker, idleMs, extraFirstByteMs, onTransfer };
    for (let breaks = 0; ; breaks += 1) {
      const end = await transfer(ports, fetch, { validator, isFresh }, into, this.#abort.signal);
      if (end.kind === 'changed') return this.#stuck(unavailable('cut', 'the body changed between two transfers'));
      if (end.kind === 'ended') this.#completeTransfers += 1;
      if (end.kind !== 'failed' && prover.isFull(end.kind === 'ended'))
        return await this.#verdictOf(prover, end.kind === 'ended');
      const failure = failureOf(end, prover);
      if (breaks >= breaksAllowed(failure, prover) || !this.#mayGoOn()) return failure;
      // Perhaps it is only the range that it has no answer to.
      if (isAnswer(failure)) validator = null;
      await pause(clock, pauseMs(breaks), this.#abort.signal);
    }
  }

  /** All decoded bytes are here: whether the transfer's framing ended well says nothing more. */
  async #verdictOf(prover: Prover, hasEnded: boolean): Promise<Proof> {
    const proof = await prover.finish();
    if (proof.kind !== 'unavailable' || proof.reason !== 'short') return proof;
    return this.#stuck(hasEnded ? proof : unavailable('cut', 'cut behind the last decoded byte'));
  }

  /** The decoder can't take another transfer from here: only a fetch from the first byte can mend it. */
  #stuck(failure: Failure): Failure {
    this.#isStuck = true;
    return failure;
  }

  #mayGoOn(): boolean {
    const { aborted } = this.#abort.signal;
    return !aborted && this.#completeTransfers < MAX_COMPLETE_TRANSFERS && this.#ports.retries.take();
  }

  #progress(): void {
    this.#progressAt = this.#ports.clock.monotonic();
    this.#wake();
  }

  #wake(): void {
    for (const waiter of this.#waiters) waiter();
    this.#waiters.clear();
  }
}
