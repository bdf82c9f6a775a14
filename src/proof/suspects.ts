// Remembers what was refuted, where and when, so that it stays a miss until it is proven again.

import { type Claim, claimKey } from '../core/claim.ts';
import type { Clock } from '../core/clock.ts';
import type { Refuted } from '../core/verdict.ts';
import { Lru } from '../store/lru.ts';

export interface Suspect {
  readonly claim: Claim;
  readonly refuted: Refuted;
  /** Milliseconds since 1970. */
  readonly since: number;
}

/** All places together: about 1 KiB each. */
const MAX_SUSPECTS = 10_000;
/** The first retry comes after a minute; each further one waits twice as long, up to an hour. */
const FIRST_PAUSE_MS = 60_000;
const MAX_PAUSE_MS = 3_600_000;
/** Short at the same byte twice, this far apart, is no accident of the moment. */
const SHORT_AGAIN_MS = 60_000;
const MAX_SHORTS = 10_000;
const MAX_DOUBTED = 10_000;

interface Held extends Suspect {
  readonly retryAt: number;
  readonly pauseMs: number;
}

export class Suspects {
  readonly #clock: Clock;
  readonly #held = new Lru<Held>({ maxEntries: MAX_SUSPECTS, maxBytes: Number.POSITIVE_INFINITY });
  /** Refuted by one fetch, and fetched no second time yet. */
  readonly #doubted = new Lru<true>({ maxEntries: MAX_DOUBTED, maxBytes: Number.POSITIVE_INFINITY });
  readonly #shorts = new Lru<{ readonly atByte: number; readonly at: number }>({
    maxEntries: MAX_SHORTS,
    maxBytes: Number.POSITIVE_INFINITY,
  });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get open(): number {
    return this.#held.size;
  }

  /** The newest, at most so many. */
  list(limit: number): readonly Suspect[] {
    return [...this.#held.values()].sort((a, b) => b.since - a.since).slice(0, limit);
  }

  /** The suspect that answers this claim now; undefined where there is none, or where it is due to be tried again. */
  find(claim: Claim): Suspect | undefined {
    const held = this.#held.get(claimKey(claim));
    return held !== undefined && this.#clock.monotonic() < held.retryAt ? held : undefined;
  }

  /** Whether it is one, due to be tried again or not. */
  isSuspect(claim: Claim): boolean {
    return this.#held.has(claimKey(claim));
  }

  /** Refuted, twice over: missing from now on. */
  add(claim: Claim, refuted: Refuted): void {
    const key = claimKey(claim);
    const before = this.#held.get(key);
    const pauseMs = before === undefined ? FIRST_PAUSE_MS : Math.min(before.pauseMs * 2, MAX_PAUSE_MS);
    const since = before?.since ?? this.#clock.now();
    this.#held.set(key, { claim, refuted, since, pauseMs, retryAt: this.#clock.monotonic() + pauseMs });
    this.#doubted.delete(key);
  }

  /** Proven: no suspect any more. */
  clear(claim: Claim): void {
    const key = claimKey(claim);
    this.#held.delete(key);
    this.#doubted.delete(key);
    this.#shorts.delete(key);
  }

  /** Whether the last that was seen of it was refuted: bytes of the next fetch must not leave before its verdict. */
  isDoubted(claim: Claim): boolean {
    const key = claimKey(claim);
    return this.#doubted.has(key) || this.#held.has(key);
  }

  /** Notes a refutation that no second fetch bore out; true when there was one before, which does. */
  isRefutedAgain(claim: Claim): boolean {
    const key = claimKey(claim);
    if (this.isDoubted(claim)) return true;
    this.#doubted.set(key, true);
    return false;
  }

  /** Notes that a body ended short at a byte; true when that says something of the content, and not of the moment. */
  isShortAgain(claim: Claim, atByte: number): boolean {
    const key = claimKey(claim);
    const now = this.#clock.monotonic();
    const before = this.#shorts.get(key);
    if (before?.atByte === atByte) return now - before.at >= SHORT_AGAIN_MS;
    this.#shorts.set(key, { atByte, at: now });
    return false;
  }
}
