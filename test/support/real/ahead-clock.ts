// A clock that goes as the world does, and jumps ahead when it is told to: ages pass in no time, and no limit is scaled.

import { type Clock, systemClock, type Timer } from '../../../src/core/clock.ts';

export class AheadClock implements Clock {
  #aheadMs = 0;

  now(): number {
    return systemClock.now() + this.#aheadMs;
  }

  monotonic(): number {
    return systemClock.monotonic() + this.#aheadMs;
  }

  /** A jump does not reach timers: jump while the house is idle. */
  after(ms: number, action: () => void): Timer {
    return systemClock.after(ms, action);
  }

  jump(ms: number): void {
    this.#aheadMs += ms;
  }
}
