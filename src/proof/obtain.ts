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
import { verdictInTime, type Waiting } from './in-time.ts';
import { canRemake, remake } from './remake.ts';
import type { Suspects } from './suspects.ts';

export type Obtained =
  | { readonly kind: 'proven'; readonly form: ProvenForm; readonly source: 'hit' | 'fill' }
  | { readonly kind: 'followed'; readonly followed: Followed }
  | Failure;

/** Who asks, how long they wait, and how their upstream is asked. */
export interface Asker extends Waiting {
  /** Whose fills are counted together. */
  readonly client: string;
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
  /** What the first byte of this claim may take beyond the breaker's limit. */
  extraFirstByteMs(claim: Claim): number;
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
  readonly #brokenFollows = new Lru<number>({ maxEntries: MAX_BROKEN_FOLLOWS, maxBytes: Number.POSITIVE_INFINITY });
  /** Counts ended fills, so that an ask that found nothing looks again when one ended meanwhile. */
  #ended = 0;
  #isClosed = false;

  constructor(ports: ObtainPorts) {
    this.#ports = ports;
  }

  /** Never rejects: what goes wrong is a failure, and so a miss. */
  async obtain(claim: Claim, asker: Asker): Promise<Obtained> {
    const key = claimKey(claim);
    for (;;) {
      let fill = this.#fills.get(key);
      if (fill === undefined) {
        const endedBefore = this.#ended;
        const form = await this.held(claim).catch(() => undefined);
        if (form !== undefined) return { kind: 'proven', form, source: 'hit' };
        if (this.#ended !== endedBefore || this.#fills.has(key)) continue;
        const suspect = this.#ports.suspects.find(claim);
        if (suspect !== undefined) return suspect.refuted;
        if (this.#isClosed || asker.signal.aborted) return unavailable('aborted');
        fill = this.#start(claim, asker);
      }
      const answer = await this.#answer(fill, asker);
      if (!(await this.#isToBeginAnew(fill, answer, asker))) return answer;
      this.#forget(fill);
    }
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
    const brokenAt = this.#brokenFollows.get(bodyKey(claim));
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
    const begin = async (signal: AbortSignal): Promise<FillStart> => {
      const leave = await this.#ports.admission.enter(asker.client, signal);
      try {
        const source = await this.#remakeSource(claim);
        const from =
          source === undefined
            ? { isRemade: false, fetch: asker.fetch, breaker: this.#ports.breaker, onTransfer: this.#ports.onTransfer }
            : { isRemade: true, fetch: remake(source, claim.encoding), breaker: remakeBreaker(clock), onTransfer() {} };
        return { ...from, leave, spool: forms.spool() };
      } catch (error) {
        leave();
        throw error;
      }
    };
    const keep: ConstructorParameters<typeof Fill>[0]['keep'] = async (spool, proven) => {
      // An upstream has it, or another form of ours.
      const form = await forms.keep(spool, proven, false);
      await ledger.add(claim.place.tenant, form.digest);
      return form;
    };
    const fill = new Fill(
      { clock, retries, idleMs, extraFirstByteMs: this.#ports.extraFirstByteMs(claim), keep },
      claim,
      asker.client,
      begin,
    );
    this.#fills.set(claimKey(claim), fill);
    void fill.verdict.then((verdict) => {
      if (!fill.isRemade) this.#judge(fill, verdict);
      if (fill.isFollowed && !(verdict.kind === 'proven' && verdict.form.fileHash === verdict.fileHash)) {
        this.#brokenFollows.set(bodyKey(claim), clock.monotonic());
      }
      this.#ports.onVerdict(claim, verdict);
      this.#ended += 1;
      if (verdict.kind === 'proven' || fill.isAborted || this.#isClosed) this.#forget(fill);
      else this.#linger(fill);
    });
    return fill;
  }

  /** Another fill may run under its key by now. */
  #forget(fill: Fill): void {
    const key = claimKey(fill.claim);
    if (this.#fills.get(key) === fill) this.#fills.delete(key);
  }

  /** Whether a fill failed for what is no matter of this asker's, nor of what is asked for. */
  async #isToBeginAnew(fill: Fill, answer: Obtained, asker: Asker): Promise<boolean> {
    if (this.#isClosed || asker.signal.aborted) return false;
    // Another client's credentials were refused.
    if (answer.kind === 'denied') return fill.startedBy !== asker.client;
    if (answer.kind !== 'unavailable') return false;
    // Dropped while nobody waited for it.
    if (answer.reason === 'aborted') return fill.isAborted;
    // The form that it was made from has rotted, and is gone.
    return answer.reason === 'disk' && fill.isRemade && (await this.#remakeSource(fill.claim)) === undefined;
  }

  /** A failure answers those too who asked at the same time and come a moment later: eight askers are no eight transfers. */
  #linger(fill: Fill): void {
    const timer = this.#ports.clock.after(LINGER_MS, () => {
      this.#lingering.delete(timer);
      this.#forget(fill);
    });
    this.#lingering.add(timer);
  }

  /**
   * Whether another place brought the same digest: that form stays, and its encoded bytes may be others than come now. A
   * REAPI client that follows those ends with a miss, and who waits for the verdict gets the form.
   */
  #isHeldElsewhere({ digest, encoding }: Claim): boolean {
    return encoding !== 'identity' && isWhole(digest) && this.#ports.forms.encodings(digest).includes(encoding);
  }

  /** A held form of the same digest in another encoding, from which the claim's own can be made. None if we can't look. */
  async #remakeSource(claim: Claim): Promise<ProvenForm | undefined> {
    const { forms } = this.#ports;
    const digest = canRemake(claim.encoding) ? await this.#provenDigest(claim).catch(() => undefined) : undefined;
    if (digest === undefined) return undefined;
    for (const encoding of forms.encodings(digest)) {
      const form = await forms.find(digest, encoding).catch(() => undefined);
      if (form !== undefined) return form;
    }
    return undefined;
  }

  #judge(fill: Fill, verdict: Verdict): void {
    const { suspects, mayRefute } = this.#ports;
    const { claim, encodedBytes: atByte } = fill;
    if (verdict.kind === 'proven') suspects.clear(claim);
    if (!isWhole(claim.digest) || !mayRefute()) return;
    // A size that nobody but the client named never makes a suspect: then only what has that size can.
    const isOfAnotherSize =
      verdict.kind === 'refuted' ? verdict.reason !== 'hash' && verdict.reason !== 'decode' : true;
    if (claim.isSizeHearsay && isOfAnotherSize) return;
    if (verdict.kind === 'refuted' && (fill.isRefutedTwice || suspects.isRefutedAgain(claim)))
      suspects.add(claim, verdict);
    if (verdict.kind !== 'unavailable' || verdict.reason !== 'short' || !suspects.isShortAgain(claim, atByte)) return;
    suspects.add(claim, { kind: 'refuted', reason: 'short', atByte, found: { sha256: null, sizeBytes: 0 } });
  }

  async #answer(fill: Fill, asker: Asker): Promise<Obtained> {
    fill.join();
    try {
      const { clock, suspects } = this.#ports;
      const byFrame = typeof asker.follow === 'object' && asker.follow.byFrame === true;
      const mayFollow = !suspects.isDoubted(fill.claim) && !(byFrame && this.#isHeldElsewhere(fill.claim));
      const follow = mayFollow ? asker.follow : 'never';
      const inTime = await verdictInTime(clock, fill, { ...asker, follow });
      // It may have come in the same moment: a miss is still a clean one then.
      const verdict = inTime === 'follow' && fill.hasEnded ? await fill.verdict : inTime;
      if (verdict === 'follow') {
        return { kind: 'followed', followed: Followed.of(fill, byFrame, () => this.#trimDetached()) };
      }
      if (verdict === 'late') return unavailable('late');
      return verdict.kind === 'proven' ? { kind: 'proven', form: verdict.form, source: 'fill' } : verdict;
    } finally {
      fill.leave();
      this.#trimDetached();
    }
  }

  #trimDetached(): void {
    const isDetached = (fill: Fill) => fill.readers === 0 && !fill.hasEnded && !fill.isAborted;
    const detached = [...this.#fills.values()].filter(isDetached);
    if (detached.length <= this.#ports.maxDetached) return;
    detached.sort((a, b) => a.encodedBytes - b.encodedBytes)[0]?.abort();
  }
}

/** Of its own: what our disk does says nothing of the upstream. */
const remakeBreaker = (clock: Clock): Breaker => new Breaker(clock, REMAKE_FIRST_BYTE_MS);

/** What a client has begun to receive, under whatever path its narinfo or its pin named it. */
const bodyKey = ({ place, digest, encoding }: Claim): string => `${place.tenant}\n${digest.sha256}\n${encoding}`;
