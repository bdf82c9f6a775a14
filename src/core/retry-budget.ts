// Bounds how many second tries one upstream is given, so that an outage is not answered with a storm.

import type { Clock } from './clock.ts';

/** Tries in stock: a burst of unlucky transfers is hidden whole. */
const CAPACITY = 20;
/** Regained a second: a lasting outage costs the upstream two extra requests a second, whatever the load. */
const PER_SECOND = 2;

export class RetryBudget {
  readonly #clock: Clock;
  #stock = CAPACITY;
  #countedAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#countedAt = clock.monotonic();
  }

  /** Takes one try, if there is one. */
  take(): boolean {
    const now = this.#clock.monotonic();
    this.#stock = Math.min(CAPACITY, this.#stock + ((now - this.#countedAt) / 1_000) * PER_SECOND);
    this.#countedAt = now;
    if (this.#stock < 1) return false;
    this.#stock -= 1;
    return true;
  }
}
