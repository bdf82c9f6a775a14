// Remembers which bytes stood under a name before: a client that resumes there must not get the tail of others.

import type { Clock } from '../core/clock.ts';
import { Lru } from './lru.ts';

interface Trace {
  readonly fileHash: string;
  /** When it left the store; undefined while it is held. */
  readonly leftAtMs: number | undefined;
  /** When other bytes were last held under the name. */
  readonly othersUntilMs: number | undefined;
}

export class ReplacedForms {
  readonly #clock: Clock;
  /** 16384 names at about 400 bytes are 6.5 MB; a name that fell out counts as never replaced. */
  readonly #traces = new Lru<Trace>({ maxEntries: 16_384, maxBytes: Number.POSITIVE_INFINITY });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  kept(name: string, fileHash: string): void {
    const before = this.#traces.get(name);
    const isOther = before !== undefined && before.fileHash !== fileHash;
    const othersUntilMs = isOther ? (before.leftAtMs ?? this.#clock.monotonic()) : before?.othersUntilMs;
    this.#traces.set(name, { fileHash, leftAtMs: undefined, othersUntilMs });
  }

  left(name: string, fileHash: string): void {
    const othersUntilMs = this.#traces.get(name)?.othersUntilMs;
    this.#traces.set(name, { fileHash, leftAtMs: this.#clock.monotonic(), othersUntilMs });
  }

  /** Whether other bytes than now were held under the name within the last `ms`. */
  within(name: string, ms: number): boolean {
    const othersUntilMs = this.#traces.get(name)?.othersUntilMs;
    return othersUntilMs !== undefined && this.#clock.monotonic() - othersUntilMs <= ms;
  }
}
