// How long metadata is asked for again while the upstream fails: eight seconds from when it began to, not from each ask.

import { type Clock, pause } from '../core/clock.ts';
import type { TextAnswer } from './fetch-text.ts';

/** Longer than a restart takes; a client remembers a narinfo miss for an hour. */
const PATIENCE_MS = 8_000;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 1_000;
/** After so long a silence nothing is known any more of an outage, which may have ended with nobody asking. */
const FORGOTTEN_MS = 60_000;

/**
 * One a upstream. In a long outage nobody waits any more: the first eight seconds have shown that it is no restart, and
 * three hundred narinfos at eight seconds each would be a hang of their own.
 */
export class Patience {
  readonly #clock: Clock;
  /** Monotonic ms at which the first request began that failed, with no answer since; null while all is well. */
  #failingSince: number | null = null;
  #failedAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Asks until there is an answer or the time is up; `ask` gets the ms that are left. */
  async untilAnswered(ask: (withinMs: number) => Promise<TextAnswer>): Promise<TextAnswer> {
    const startedAt = this.#clock.monotonic();
    if (startedAt - this.#failedAt > FORGOTTEN_MS) this.#failingSince = null;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      const answer = await ask(Math.max(1, startedAt + PATIENCE_MS - this.#clock.monotonic()));
      if (answer.kind !== 'unavailable') {
        this.#failingSince = null;
        return answer;
      }
      this.#failedAt = this.#clock.monotonic();
      this.#failingSince = Math.min(this.#failingSince ?? startedAt, startedAt);
      if (this.#failedAt + pauseMs >= this.#failingSince + PATIENCE_MS) return answer;
      await pause(this.#clock, pauseMs);
    }
  }
}
