// Identity: what comes is what was meant.

import type { Engine, Sink } from './decoder.ts';

export const openIdentity = (deliver: Sink): Engine => ({
  async write(bytes) {
    deliver(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  },
  async end() {},
  close() {},
  pause() {},
  resume() {},
});
