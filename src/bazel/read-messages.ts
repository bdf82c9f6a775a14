// Cuts what is read into messages, each written straight into the frame that grpc-js sends, whose memory is given back after.

import { release } from '../core/release.ts';
import { LentReadResponse } from './envelope.ts';
import type { Send } from './handlers.ts';

/** Each has a cost of its own; and as many bytes wait for a stalled reader, here and in grpc-js. */
const MESSAGE_BYTES = 256 * 1024;
/** Smaller frames cost the collector little, and most blobs are read by a single one. */
const WORTH_RELEASING_BYTES = 32 * 1024;

/**
 * The piece is another's again when it resolves. Left to the collector, frames took as much time as all the rest of a read
 * (bench, `--only bazel-read`). One is released when the one after it was sent: only then is it sure to have been. A write that
 * failed calls back as one that did not, and may still be under way; but nothing comes back from one after it.
 */
export const inMessages = (send: Send<Buffer | LentReadResponse>): Send<Buffer> => {
  let before: Buffer | null = null;
  return async (piece) => {
    for (let at = 0; at < piece.length; at += MESSAGE_BYTES) {
      const message = new LentReadResponse(piece.subarray(at, at + MESSAGE_BYTES));
      await send(message);
      if (before !== null) release(before.buffer);
      before = releasable(message.frame);
    }
  };
};

/** Null for what is small, and for what lies with others in a slab of Node's. */
const releasable = (frame: Buffer | null): Buffer | null =>
  frame !== null && frame.length >= WORTH_RELEASING_BYTES && frame.length === frame.buffer.byteLength ? frame : null;
