// Sends a fill's bytes before its verdict, and withholds the tail until the verdict is good.

import { CleanmissError, isCode } from '../core/errors.ts';
import { MIB } from '../store/form.ts';
import type { Fill } from './fill.ts';

/** A body on its way out of which nothing is proven yet. Only its private constructor's caller below makes one. */
export class Followed {
  readonly #fill: Fill;
  readonly #leave: () => void;
  #isClosed = false;

  private constructor(fill: Fill, leave: () => void) {
    this.#fill = fill;
    this.#leave = leave;
    fill.join();
    fill.follow();
  }

  /** From now on the fill may not start anew. Whoever asks for it closes it, on every path; `leave` is called then, once. */
  static of(fill: Fill, leave: () => void): Followed {
    return new Followed(fill, leave);
  }

  /**
   * Encoded bytes from the first on, in pieces of at most one MiB: what the decoder has taken, less a tail. The tail comes
   * after the verdict. Throws a CleanmissError with code NOT_PROVEN if that is not good: the response must not complete.
   */
  async *bytes(): AsyncGenerator<Buffer, void, void> {
    const fill = this.#fill;
    let sent = 0;
    while (!fill.hasEnded) {
      const end = Math.min(fill.releasableBytes, sent + MIB);
      if (end <= sent) {
        await fill.progressed();
        continue;
      }
      const piece = await this.#read(sent, end);
      if (piece === null) break;
      yield piece;
      sent = end;
    }
    const verdict = await fill.verdict;
    if (verdict.kind !== 'proven') {
      throw new CleanmissError('NOT_PROVEN', 'upstream', `a followed body ended ${verdict.kind}`);
    }
    // Another fill may have stored the same digest in other bytes meanwhile: those are no continuation of ours.
    if (verdict.fileHash !== verdict.form.fileHash) {
      throw new CleanmissError('NOT_PROVEN', 'self', 'a followed body was stored in other bytes');
    }
    yield* verdict.form.read(sent, verdict.form.fileBytes);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#fill.leave();
    this.#leave();
  }

  /** Null when the spool became the form under our hands. */
  async #read(start: number, end: number): Promise<Buffer | null> {
    try {
      return await this.#fill.spool?.read(start, end) ?? null;
    } catch (error) {
      if (this.#fill.hasEnded || isCode(error, 'DISCARDED')) return null;
      throw error;
    }
  }
}
