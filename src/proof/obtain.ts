// The heart: looks in the store, joins a fill or starts one, and gives the verdict within the asker's time.

import { Breaker } from '../core/breaker.ts';
import { type Claim, claimKey } from '../core/claim.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { type Digest, isWhole } from '../core/digest.ts';
import type { RetryBudget } from '../core/retry-budget.ts';
import { type Failure, unavailable } from '../core/verdict.ts';
import type { ProvenForm } from '../store/form.ts';
import type { FormStore } from '../store/forms.ts';
import type { Ledger } from '../store/ledger.ts';
import { Lru } from '../store/lru.ts';
import type { Admission } from './admission.ts';
import type { Fetch } from './fetch.ts';
import { Fill, type FillStart, type Verdict } from './fill.ts';
import { Followed } from './follow.ts';
import { canRemake, remake } from './remake.ts';
import type { Suspects } from './suspects.ts';

export type Obtained =
  | { readonly kind: 'proven'; readonly form: ProvenForm; readonly source: 'hit' | 'fill' }
  | { readonly kind: 'followed'; readonly followed: Followed }
  | Failure;

/** Who asks, how long they wait, and how their upstream is asked. */
export interface Asker {
  /** Whose fills are counted together. */
  readonly client: string;
  /** Aborted when nobody waits for the answer any more. The fill goes on. */
  readonly signal: AbortSignal;
  /** Monotonic ms by which the answer must begin. */
  readonly deadline: number;
  /** Whether a body may leave before its verdict: at the deadline, or from the start above a size. */
  readonly follow: 'never' | 'late' | { readonly aboveBytes: number };
  readonly fetch: Fetch;
}

export interface ObtainPorts {
  readonly clock: Clock;
  readonly forms: FormStore;
  readonly ledger: Ledger;
  readonly suspects: Suspects;
  readonly admission: Admission;
  readonly breaker: Breaker;
  readonly retries: RetryBudget;
  readonly idleMs: number;
  /** Fills that nobody waits for; beyond, the least advanced is dropped. */
  readonly maxDetached: number;
  /** Whether a refutation may be believed now: the bucket index is green, or nobody watches it. */
  mayRefute(): boolean;
  onTransfer(): void;
  onVerdict(claim: Claim, verdict: Verdict): void;
}

/** How long a client may come back with a Range for the rest of a body that broke off. */
const RESUME_MS = 3_600_000;
const MAX_BROKEN_FOLLOWS = 10_000;
/** Shorter than anything that an upstream mends in. */
const LINGER_MS = 250;
/** For a form made from another on our own disk: it has no upstream that could hang, and slow decoders. */
const REMAKE_FIRST_BYTE_MS = 60_000;

export class Obtainer {
  readonly #ports: ObtainPorts;
  readonly #fills = new Map<string, Fill>();
  readonly #lingering = new Set<Timer>();
  /** Monotonic ms at which a followed body broke off under its readers. */
  readonly #brokenFollows = new Lru<number>({ maxEntries: MAX_BROKEN_FOLLOWS, maxBytes: Infinity });
  /** Counts ended fills, so that an ask that found nothing looks again when one ended meanwhile. */
  #ended = 0;
  #isClosed = false;

  constructor(ports: ObtainPorts) {
    this.#ports = ports;
  }

  /** Never rejects: what goes wrong is a failure, and so a miss. */
  async obtain(claim: Claim, asker: Asker): Promise<Obtained> {
    const key = claimKey(claim);
    for (let endedBefore = -1; endedBefore !== this.#ended; ) {
      endedBefore = this.#ended;
      const form = this.#fills.has(key) ? undefined : await this.held(claim).catch(() => undefined);
      if (form !== undefined) return { kind: 'proven', form, source: 'hit' };
      const running = this.#fills.get(key);
      if (running === undefined) continue;
      const answer = await this.#answer(running, asker);
      if (answer.kind !== 'denied' || running.startedBy === asker.client) return answer;
      // Another client's credentials were refused, not this one's.
      if (this.#fills.get(key) === running) this.#fills.delete(key);
    }
    const suspect = this.#ports.suspects.find(claim);
    if (suspect !== undefined) return suspect.refuted;
    if (this.#isClosed) return unavailable('aborted');
    return await this.#answer(this.#start(claim, asker), asker);
  }

  /** The form that answers the claim, if it was proven for its tenant and our store holds it. */
  async held(claim: Claim): Promise<ProvenForm | undefined> {
    const digest = await this.#provenDigest(claim);
    return digest === undefined ? undefined : await this.#ports.forms.find(digest, claim.encoding);
  }

  /**
   * Whether a range of what was obtained continues what earlier answers to this claim sent: not within an hour of a
   * followed body that broke off, nor of another form under the same digest and encoding.
   */
  mayResume(claim: Claim, obtained: Obtained): boolean {
    if (obtained.kind !== 'proven') return false;
    const brokenAt = this.#brokenFollows.get(claimKey(claim));
    if (brokenAt !== undefined && this.#ports.clock.monotonic() - brokenAt < RESUME_MS) return false;
    return !this.#ports.forms.replacedWithin(obtained.form.digest, claim.encoding, RESUME_MS);
  }

  /** Ends every fill, and waits for them. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const fills = [...this.#fills.values()];
    for (const fill of fills) fill.abort();
    await Promise.all(fills.map((fill) => fill.verdict));
    for (const timer of this.#lingering) timer.cancel();
  }

  async #provenDigest(claim: Claim): Promise<Digest | undefined> {
    const { sha256, sizeBytes } = claim.digest;
    const digest = await this.#ports.ledger.find(claim.place.tenant, sha256);
    return sizeBytes === null || digest?.sizeBytes === sizeBytes ? digest : undefined;
  }

  #start(claim: Claim, asker: Asker): Fill {
    const { clock, retries, idleMs, forms, ledger } = this.#ports;
    let isRemade = false;
    const begin = async (signal: AbortSignal): Promise<FillStart> => {
      const leave = await this.#ports.admission.enter(asker.client, signal);
      try {
        const source = await this.#remakeSource(claim);
        isRemade = source !== undefined;
        const from = isRemade
          ? { breaker: new Breaker(clock, REMAKE_FIRST_BYTE_MS), onTransfer: () => {} }
          : { breaker: this.#ports.breaker, onTransfer: this.#ports.onTransfer };
        return { ...from, leave, spool: forms.spool(), fetch: source ? remake(source, claim.encoding) : asker.fetch };
      } catch (error) {
        leave();
        throw error;
      }
    };
    const keep: ConstructorParameters<typeof Fill>[0]['keep'] = async (spool, proven) => {
      const form = await forms.keep(spool, proven);
      await ledger.add(claim.place.tenant, form.digest);
      return form;
    };
    const fill = new Fill({ clock, retries, idleMs, keep }, claim, asker.client, begin);
    this.#fills.set(claimKey(claim), fill);
    void fill.verdict.then((verdict) => {
      if (!isRemade) this.#judge(fill, verdict);
      if (fill.isFollowed && !(verdict.kind === 'proven' && verdict.form.fileHash === verdict.fileHash)) {
        this.#brokenFollows.set(claimKey(claim), clock.monotonic());
      }
      this.#ports.onVerdict(claim, verdict);
      this.#ended += 1;
      if (verdict.kind === 'proven' || this.#isClosed) this.#fills.delete(claimKey(claim));
      else this.#linger(fill);
    });
    return fill;
  }

  /** A failure answers those too who asked at the same time and come a moment later: eight askers are no eight transfers. */
  #linger(fill: Fill): void {
    const key = claimKey(fill.claim);
    const timer = this.#ports.clock.after(LINGER_MS, () => {
      this.#lingering.delete(timer);
      if (this.#fills.get(key) === fill) this.#fills.delete(key);
    });
    this.#lingering.add(timer);
  }

  /** A held form of the same digest in another encoding, from which the claim's own can be made. */
  async #remakeSource(claim: Claim): Promise<ProvenForm | undefined> {
    const digest = canRemake(claim.encoding) ? await this.#provenDigest(claim) : undefined;
    if (digest === undefined) return undefined;
    for (const encoding of this.#ports.forms.encodings(digest)) {
      const form = await this.#ports.forms.find(digest, encoding);
      if (form !== undefined) return form;
    }
    return undefined;
  }

  #judge(fill: Fill, verdict: Verdict): void {
    const { suspects, mayRefute } = this.#ports;
    const { claim, encodedBytes: atByte } = fill;
    if (verdict.kind === 'proven') suspects.clear(claim);
    // A size that nobody but the client named never makes a suspect.
    if (!isWhole(claim.digest) || !mayRefute()) return;
    if (verdict.kind === 'refuted') suspects.add(claim, verdict);
    if (verdict.kind !== 'unavailable' || verdict.reason !== 'short' || !suspects.isShortAgain(claim, atByte)) return;
    suspects.add(claim, { kind: 'refuted', reason: 'short', atByte, found: { sha256: null, sizeBytes: 0 } });
  }

  async #answer(fill: Fill, asker: Asker): Promise<Obtained> {
    fill.join();
    try {
      const verdict = await this.#verdictInTime(fill, asker);
      if (verdict === 'follow') return { kind: 'followed', followed: Followed.of(fill, () => this.#trimDetached()) };
      if (verdict === 'late') return unavailable('late');
      return verdict.kind === 'proven' ? { kind: 'proven', form: verdict.form, source: 'fill' } : verdict;
    } finally {
      fill.leave();
      this.#trimDetached();
    }
  }

  #verdictInTime(fill: Fill, asker: Asker): Promise<Verdict | 'follow' | 'late'> {
    const { clock } = this.#ports;
    return new Promise((resolve) => {
      const settle = (value: Verdict | 'follow' | 'late') => {
        timer.cancel();
        asker.signal.removeEventListener('abort', onAbort);
        resolve(value);
      };
      const onAbort = () => settle(unavailable('aborted'));
      const onDeadline = () => settle(asker.follow !== 'never' && fill.isMoving ? 'follow' : 'late');
      const timer = clock.after(Math.max(0, asker.deadline - clock.monotonic()), onDeadline);
      asker.signal.addEventListener('abort', onAbort, { once: true });
      if (asker.signal.aborted) onAbort();
      void fill.verdict.then(settle);
      void followsEarly(fill, asker).then((isEarly) => isEarly && settle('follow'));
    });
  }

  #trimDetached(): void {
    const detached = [...this.#fills.values()].filter((fill) => fill.readers === 0 && !fill.hasEnded);
    if (detached.length <= this.#ports.maxDetached) return;
    detached.sort((a, b) => a.encodedBytes - b.encodedBytes)[0]?.abort();
  }
}

/** Whether the body is of a size that is followed from the start, once enough of it is here to be worth a head. */
const followsEarly = async (fill: Fill, asker: Asker): Promise<boolean> => {
  if (typeof asker.follow !== 'object' || (fill.claim.digest.sizeBytes ?? 0) <= asker.follow.aboveBytes) return false;
  while (!fill.hasEnded && !asker.signal.aborted) {
    if (fill.releasableBytes > 0) return true;
    await fill.progressed();
  }
  return false;
};
