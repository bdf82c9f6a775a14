// Says a fault once a minute, however often it comes: a broken disk fails every file.

import type { Clock } from '../core/clock.ts';
import type { Log } from './log.ts';

const EVERY_MS = 60_000;

export class SeldomLog implements Log {
  readonly #clock: Clock;
  readonly #log: Log;
  #saidAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  warn(fields: object, message: string): void {
    const now = this.#clock.monotonic();
    if (now - this.#saidAtMs < EVERY_MS) return;
    this.#saidAtMs = now;
    this.#log.warn(fields, message);
  }
}
