// Learns that an upstream hangs or refuses, so that what it can't deliver is a miss at once, and not after a wait.

import { type Clock, pause } from './clock.ts';

/** Time-outs or refused connections in a row that open it. */
const FAILURES_TO_OPEN = 3;
/** While open, so long after the last failure one request tries again. */
const TRIAL_EVERY_MS = 2_000;
/** Who asks while a trial is so young waits for its word: an upstream that is back answers sooner. */
const TRIAL_WAIT_MS = 500;
/** After the first time-out the others get this share of the first-byte limit, until one succeeds. */
const IMPATIENCE = 5;

export type BreakerState = 'closed' | 'open';

/**
 * Of bodies: what an upstream answers fast, be it absent, a 5xx or a short body, neither opens nor closes the breaker.
 * One breaker an upstream and kind of request: Attic's narinfos come from its database while its store hangs.
 */
export class Breaker {
  readonly #clock: Clock;
  readonly #firstByteMs: number;
  #failuresInARow = 0;
  #lastTrialAt = Number.NEGATIVE_INFINITY;
  #trial: { readonly youngUntil: number; readonly ended: AbortController } | null = null;

  constructor(clock: Clock, firstByteMs: number) {
    this.#clock = clock;
    this.#firstByteMs = firstByteMs;
  }

  get state(): BreakerState {
    return this.#failuresInARow < FAILURES_TO_OPEN ? 'closed' : 'open';
  }

  /** How long the first byte may take now. */
  get firstByteMs(): number {
    return this.#failuresInARow === 0 ? this.#firstByteMs : this.#firstByteMs / IMPATIENCE;
  }

  /** Whether a request may go out now. An open breaker lets one through every two seconds. */
  admits(): boolean {
    if (this.state === 'closed') return true;
    const now = this.#clock.monotonic();
    if (now - this.#lastTrialAt < TRIAL_EVERY_MS) return false;
    this.#lastTrialAt = now;
    this.#trial = { youngUntil: now + TRIAL_WAIT_MS, ended: new AbortController() };
    return true;
  }

  /** For who was not admitted: whether a trial that is under way closes the breaker, while it is young. */
  async closesSoon(): Promise<boolean> {
    if (this.#trial === null) return false;
    const { youngUntil, ended } = this.#trial;
    const leftMs = youngUntil - this.#clock.monotonic();
    if (leftMs > 0) await pause(this.#clock, leftMs, ended.signal);
    return this.state === 'closed';
  }

  succeeded(): void {
    this.#failuresInARow = 0;
    this.#endTrial();
  }

  /** A time-out or a refused connection. From here on the next trial waits: one that hangs lasts longer than the pause. */
  failed(): void {
    this.#failuresInARow += 1;
    if (this.state === 'open') this.#lastTrialAt = this.#clock.monotonic();
    this.#endTrial();
  }

  #endTrial(): void {
    this.#trial?.ended.abort();
    this.#trial = null;
  }
}
