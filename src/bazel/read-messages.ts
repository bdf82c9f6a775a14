// Cuts what is read into messages of a size that costs little and holds little, all of them written into one memory.

import { READ_RESPONSE_HEADROOM, type SealedReadResponse, sealReadResponse } from './envelope.ts';
import type { Send } from './handlers.ts';

/** Each has a cost of its own; and as many bytes wait for a stalled reader, here and in grpc-js. */
const MESSAGE_BYTES = 256 * 1024;
/** Below it a message is its own memory: most blobs are small, and read by a single one. */
const WORTH_SHARING_BYTES = 16 * 1024;

/** The piece is another's again when it resolves: grpc-js has copied each message by the time it was sent. */
export const inMessages = (send: Send<Buffer | SealedReadResponse>): Send<Buffer> => {
  let room: Buffer | null = null;
  return async (piece) => {
    for (let at = 0; at < piece.length; at += MESSAGE_BYTES) {
      const data = piece.subarray(at, at + MESSAGE_BYTES);
      if (data.length < WORTH_SHARING_BYTES) {
        await send(data);
        continue;
      }
      // Left to the collector, one for each message, they took as much time as all the rest of a read (bench, `--only bazel-read`).
      room ??= Buffer.allocUnsafeSlow(READ_RESPONSE_HEADROOM + MESSAGE_BYTES);
      data.copy(room, READ_RESPONSE_HEADROOM);
      await send(sealReadResponse(room, data.length));
    }
  };
};
