// Sends a blob: proven bytes, or a followed body whose tail waits for the verdict.

import { encodeZstd } from '../codec/encode-zstd.ts';
import { type Clock, within } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import type { Followed } from '../proof/follow.ts';
import type { ProvenForm } from '../store/form.ts';
import type { Send } from './handlers.ts';

/** Encoded bytes [start, end) of a form. */
export const sendForm = async (form: ProvenForm, start: number, end: number, send: Send<Buffer>): Promise<void> => {
  if (form.body !== undefined) return await send(form.body.subarray(start, end));
  for await (const piece of form.lend(start, end)) await send(piece);
};

/** Decoded bytes [start, end) of an identity form, as zstd frames of their own. */
export const sendRecoded = async (form: ProvenForm, start: number, end: number, send: Send<Buffer>): Promise<void> => {
  for await (const frame of encodeZstd(form.read(start, end), { level: 1, isChecked: true })) await send(frame);
};

/**
 * Throws a CleanmissError before the tail: with code NOT_PROVEN where the verdict is not good, with code LATE where it is
 * waited for at `endBy`, monotonic ms. Without one the fill's own limits end it.
 */
export const sendFollowed = async (
  followed: Followed,
  clock: Clock,
  endBy: number | null,
  send: Send<Buffer>,
): Promise<void> => {
  const pieces = followed.bytes();
  try {
    for (;;) {
      const next = endBy === null ? pieces.next() : within(clock, endBy - clock.monotonic(), pieces.next());
      const piece = await next;
      if (piece === undefined) throw new CleanmissError('LATE', 'upstream', 'a followed body stopped');
      if (piece.done) return;
      await send(piece.value);
    }
  } finally {
    // Where it waits for the fill, it ends with that.
    void pieces.return().catch(() => undefined);
    followed.close();
  }
};
