// Sends a blob in messages of a size that costs little and holds little: proven bytes, or a followed body whose tail waits.

import { encodeZstd } from '../codec/encode-zstd.ts';
import { type Clock, within } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import type { Followed } from '../proof/follow.ts';
import type { ProvenForm } from '../store/form.ts';
import type { Send } from './handlers.ts';

/** Sixteen of them may be queued for one stalled reader inside of grpc-js; each has a cost of its own besides. */
const MESSAGE_BYTES = 256 * 1024;

/** Encoded bytes [start, end) of a form. */
export const sendForm = async (form: ProvenForm, start: number, end: number, send: Send<Buffer>): Promise<void> => {
  if (form.body !== undefined) return await sendPiece(form.body.subarray(start, end), send);
  for await (const piece of form.lend(start, end)) await sendPiece(piece, send);
};

/** Decoded bytes [start, end) of an identity form, as zstd frames of their own. */
export const sendRecoded = async (form: ProvenForm, start: number, end: number, send: Send<Buffer>): Promise<void> => {
  for await (const frame of encodeZstd(form.read(start, end), { level: 1, isChecked: true }))
    await sendPiece(frame, send);
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
      await sendPiece(piece.value, send);
    }
  } finally {
    // Where it waits for the fill, it ends with that.
    void pieces.return().catch(() => undefined);
    followed.close();
  }
};

const sendPiece = async (piece: Buffer, send: Send<Buffer>): Promise<void> => {
  for (let at = 0; at < piece.length; at += MESSAGE_BYTES) await send(piece.subarray(at, at + MESSAGE_BYTES));
};
