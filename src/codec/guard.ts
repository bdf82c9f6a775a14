// Keeps every engine to the decoder's contract: what the sink throws is final, a failure sticks, `close` ends a wait.

import { CleanmissError } from '../core/errors.ts';
import type { Engine, PacedDecoder, Sink } from './decoder.ts';

type Reject = (reason: unknown) => void;

export class GuardedDecoder implements PacedDecoder {
  readonly #engine: Engine;
  /** Boxed, because a sink may throw anything, `undefined` too. */
  #failure: { readonly reason: unknown } | undefined;
  #reject: Reject | undefined;

  constructor(openEngine: (deliver: Sink) => Engine, sink: Sink) {
    this.#engine = openEngine((decoded) => {
      if (this.#failure !== undefined) return;
      try {
        sink(decoded);
      } catch (thrown) {
        this.#fail(thrown);
      }
    });
  }

  write(encoded: Uint8Array): Promise<void> {
    return this.#run(async () => {
      if (encoded.length > 0) await this.#engine.write(encoded);
    });
  }

  async end(): Promise<void> {
    await this.#run(() => this.#engine.end());
    this.#fail(new CleanmissError('ENDED', 'self', 'the decoder has ended'));
  }

  close(): void {
    this.#fail(new CleanmissError('CLOSED', 'self', 'the decoder was closed'));
  }

  pause(): void {
    this.#engine.pause();
  }

  resume(): void {
    this.#engine.resume();
  }

  #run(step: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure.reason);
      if (this.#reject !== undefined) {
        return reject(new CleanmissError('BUSY', 'self', 'a decoder takes one write or end at a time'));
      }
      this.#reject = reject;
      step().then(
        () => {
          this.#reject = undefined;
          resolve();
        },
        (reason) => this.#fail(reason),
      );
    });
  }

  /** The first reason wins, an end among them. The engine is closed before the waiting caller hears of it. */
  #fail(reason: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { reason };
    this.#engine.close();
    this.#reject?.(reason);
    this.#reject = undefined;
  }
}
