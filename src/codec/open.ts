// Opens the decoder for an encoding.

import { createBrotliDecompress, createGunzip } from 'node:zlib';
import type { Encoding } from '../core/claim.ts';
import type { Engine, PacedDecoder, Sink } from './decoder.ts';
import { FzstdEngine } from './fzstd-engine.ts';
import { GuardedDecoder } from './guard.ts';
import { openIdentity } from './identity-engine.ts';
import { loadLzma } from './lzma.ts';
import { type CodecRuntime, hostRuntime } from './runtime.ts';
import { XzEngine } from './xz-engine.ts';
import { chunkSize, ZlibEngine } from './zlib-engine.ts';
import { ZstdEngine, ZstdFrameEngine } from './zstd-engine.ts';
import { type FrameSpan, ZstdFrames } from './zstd-frames.ts';

export interface DecoderOptions {
  /** Memory that a zstd frame or an xz dictionary may ask for: 128 MiB at most, and by default. */
  readonly maxWindowBytes?: number;
  readonly runtime?: CodecRuntime;
  /** Called for each zstd frame but skippable ones, before its last bytes are decoded. */
  readonly onFrame?: (frame: FrameSpan) => void;
  /** The sink keeps nothing of what it gets: the memory may be used again as soon as it returns. */
  readonly keepsNothing?: boolean;
}

/** Whether bodies in this encoding can be proven here. */
export const canDecode = (encoding: Encoding): boolean => encoding !== 'xz' || loadLzma() !== null;

/** Whoever opens it closes it. Throws `UNPROVABLE` for an encoding that `canDecode` denies. */
export const openDecoder = (encoding: Encoding, sink: Sink, options: DecoderOptions = {}): PacedDecoder =>
  new GuardedDecoder((deliver) => openEngine(encoding, deliver, options), sink);

const openEngine = (encoding: Encoding, deliver: Sink, options: DecoderOptions): Engine => {
  const { maxWindowBytes, onFrame, runtime = hostRuntime, keepsNothing = false } = options;
  const frames = () => new ZstdFrames({ maxWindowBytes, ...(onFrame && { onFrame }) });
  switch (encoding) {
    case 'identity':
      return openIdentity(deliver);
    case 'zstd':
      if (!runtime.nativeZstd) return new FzstdEngine(deliver, maxWindowBytes, {}, onFrame);
      return runtime.frameAtATime
        ? new ZstdFrameEngine(deliver, frames())
        : new ZstdEngine(deliver, frames(), keepsNothing);
    case 'xz':
      return new XzEngine(deliver, maxWindowBytes);
    case 'gzip':
      // Members may follow each other, so zlib must not reject what comes after the first; the engine sees to the rest.
      return new ZlibEngine(createGunzip({ chunkSize }), deliver, keepsNothing);
    case 'br':
      // A second brotli stream is a refutation, as in Nix.
      return new ZlibEngine(createBrotliDecompress({ chunkSize, rejectGarbageAfterEnd: true }), deliver, keepsNothing);
  }
};
