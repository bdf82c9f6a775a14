// Sends a fill's bytes before its verdict, and withholds the tail until the verdict is good.

import { createHash } from 'node:crypto';
import { CleanmissError, isCode } from '../core/errors.ts';
import { MIB } from '../store/form.ts';
import type { Fill } from './fill.ts';

/** A body on its way out of which nothing is proven yet. Only its private constructor's caller below makes one. */
export class Followed {
  readonly #fill: Fill;
  readonly #byFrame: boolean;
  readonly #leave: () => void;
  #isClosed = false;

  private constructor(fill: Fill, byFrame: boolean, leave: () => void) {
    this.#fill = fill;
    this.#byFrame = byFrame;
    this.#leave = leave;
    fill.join();
    fill.follow();
  }

  /**
   * From now on the fill may not start anew. Whoever asks for it closes it, on every path; `leave` is called then, once.
   * `byFrame` as in `Fill.releasableBytes`.
   */
  static of(fill: Fill, byFrame: boolean, leave: () => void): Followed {
    return new Followed(fill, byFrame, leave);
  }

  /**
   * Encoded bytes from the first on, in pieces of at most one MiB: what the decoder has taken, less a tail. The tail comes
   * after the verdict. Throws a CleanmissError with code NOT_PROVEN if that is not good: the response must not complete.
   */
  async *bytes(): AsyncGenerator<Buffer, void, void> {
    const fill = this.#fill;
    const sentHash = createHash('sha256');
    let sent = 0;
    while (!fill.hasEnded) {
      const end = Math.min(fill.releasableBytes(this.#byFrame), sent + MIB);
      if (end <= sent) {
        await fill.progressed();
        continue;
      }
      const piece = await this.#read(sent, end);
      if (piece === null) break;
      sentHash.update(piece);
      yield piece;
      sent = end;
    }
    const verdict = await fill.verdict;
    if (verdict.kind !== 'proven') throw notProven('upstream', `a followed body ended ${verdict.kind}`);
    const { form, fileHash } = verdict;
    // Another fill may have stored the same digest in other bytes meanwhile: those are no continuation of ours.
    if (fileHash !== form.fileHash) throw notProven('self', 'a followed body was stored in other bytes');
    // The spool's file has no hash of its own to be held against, and disks rot: what left must be what was proven.
    let last: Buffer | null = null;
    for await (const piece of form.read(sent, form.fileBytes)) {
      if (last !== null) yield last;
      sentHash.update(piece);
      last = piece;
    }
    if (sentHash.digest('hex') !== form.fileHash)
      throw notProven('self', 'a followed body was not read back as it was spooled');
    if (last !== null) yield last;
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
      return (await this.#fill.spool?.read(start, end)) ?? null;
    } catch (error) {
      if (this.#fill.hasEnded || isCode(error, 'DISCARDED')) return null;
      throw error;
    }
  }
}

const notProven = (blame: CleanmissError['blame'], message: string): CleanmissError =>
  new CleanmissError('NOT_PROVEN', blame, message);
