// A clock that stands still until a test moves it, and runs its timers in the order in which they are due.

import type { Clock, Timer } from '../../src/core/clock.ts';

interface Armed {
  readonly dueAt: number;
  readonly order: number;
  readonly action: () => void;
}

/** Lets promises and pending I/O callbacks run, so that what an action set off can arm the next timer. */
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
};

export class FakeClock implements Clock {
  #wall: number;
  #monotonic = 0;
  #order = 0;
  readonly #armed = new Set<Armed>();
  readonly #waiting = new Set<{ readonly count: number; readonly resolve: () => void }>();

  /** The wall starts here: milliseconds since 1970. */
  constructor(now = Date.UTC(2026, 4, 1)) {
    this.#wall = now;
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  after(ms: number, action: () => void): Timer {
    const one = { dueAt: this.#monotonic + Math.max(0, ms), order: this.#order++, action };
    this.#armed.add(one);
    for (const waiter of this.#waiting) {
      if (this.#armed.size < waiter.count) continue;
      this.#waiting.delete(waiter);
      waiter.resolve();
    }
    return { cancel: () => this.#armed.delete(one) };
  }

  /** Timers that have neither run nor been cancelled. */
  get armed(): number {
    return this.#armed.size;
  }

  /** How long until the next timer; null when there is none. */
  get nextInMs(): number | null {
    const next = this.#next();
    return next && next.dueAt - this.#monotonic;
  }

  /** Resolves as soon as that many timers are armed: the code under test has come to its wait. */
  untilArmed(count = 1): Promise<void> {
    if (this.#armed.size >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.add({ count, resolve }));
  }

  /** Moves time on, timer by timer; those armed on the way run as well, if they come due. */
  async advance(ms: number): Promise<void> {
    const target = this.#monotonic + ms;
    await settle();
    for (let next = this.#next(); next && next.dueAt <= target; next = this.#next()) {
      this.#run(next);
      await settle();
    }
    this.#moveTo(target);
  }

  /** As `advance`, but at once: nothing else runs in between. */
  advanceNow(ms: number): void {
    const target = this.#monotonic + ms;
    for (let next = this.#next(); next && next.dueAt <= target; next = this.#next()) {
      this.#run(next);
    }
    this.#moveTo(target);
  }

  /** The wall is put forward or back (NTP, an operator); no timer notices. */
  jumpWall(byMs: number): void {
    this.#wall += byMs;
  }

  #next(): Armed | null {
    let next: Armed | null = null;
    for (const one of this.#armed) {
      if (!next || one.dueAt < next.dueAt || (one.dueAt === next.dueAt && one.order < next.order)) {
        next = one;
      }
    }
    return next;
  }

  #run(one: Armed): void {
    this.#moveTo(one.dueAt);
    this.#armed.delete(one);
    one.action();
  }

  #moveTo(monotonic: number): void {
    const byMs = Math.max(0, monotonic - this.#monotonic);
    this.#monotonic += byMs;
    this.#wall += byMs;
  }
}
