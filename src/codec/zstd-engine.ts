// Decodes zstd natively: frames are walked and bounded by us, and only then seen by Node's zlib.

import { constants, createZstdDecompress } from 'node:zlib';
import type { Engine, Sink } from './decoder.ts';
import { chunkSize, ZlibEngine } from './zlib-engine.ts';
import type { FramePart, ZstdFrames } from './zstd-frames.ts';

const openZstdStream = () =>
  createZstdDecompress({ chunkSize, rejectGarbageAfterEnd: true, params: { [constants.ZSTD_d_windowLogMax]: 27 } });

/** One native stream for all frames, where zlib reads on after the first: 4500 frames cost as little as one. */
export class ZstdEngine implements Engine {
  readonly #frames: ZstdFrames;
  readonly #zlib: ZlibEngine;

  constructor(deliver: Sink, frames: ZstdFrames, keepsNothing = false) {
    this.#frames = frames;
    this.#zlib = new ZlibEngine(openZstdStream(), deliver, keepsNothing);
  }

  async write(encoded: Uint8Array): Promise<void> {
    const bytes = joined(this.#frames.take(encoded));
    if (bytes.length > 0) await this.#zlib.write(bytes);
  }

  /** zlib has taken every byte and checked every whole frame; to end it as well costs a third of a small body's time. */
  async end(): Promise<void> {
    this.#frames.end();
  }

  close(): void {
    this.#zlib.close();
  }

  pause(): void {
    this.#zlib.pause();
  }

  resume(): void {
    this.#zlib.resume();
  }
}

/** A native stream for each frame, where zlib stops silently after the first (Node 22 and 24; nodejs/node #64741). */
export class ZstdFrameEngine implements Engine {
  readonly #frames: ZstdFrames;
  readonly #deliver: Sink;
  #zlib: ZlibEngine | undefined;
  #isPaused = false;
  #isClosed = false;

  constructor(deliver: Sink, frames: ZstdFrames) {
    this.#frames = frames;
    this.#deliver = deliver;
  }

  async write(encoded: Uint8Array): Promise<void> {
    for (const { bytes, endsFrame } of this.#frames.take(encoded)) {
      if (this.#isClosed) return;
      const zlib = this.#open();
      await zlib.write(bytes);
      if (!endsFrame) continue;
      await zlib.end();
      zlib.close();
      this.#zlib = undefined;
    }
  }

  async end(): Promise<void> {
    this.#frames.end();
  }

  close(): void {
    this.#isClosed = true;
    this.#zlib?.close();
  }

  pause(): void {
    this.#isPaused = true;
    this.#zlib?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#zlib?.resume();
  }

  #open(): ZlibEngine {
    if (this.#zlib === undefined) {
      this.#zlib = new ZlibEngine(openZstdStream(), this.#deliver);
      if (this.#isPaused) this.#zlib.pause();
    }
    return this.#zlib;
  }
}

/**
 * One native call for a piece: as it came, where its parts follow each other in memory; copied, where a frame was skipped
 * or a header began in the piece before. A copy of each MiB would cost as much time again in garbage as in copying.
 */
const joined = (parts: readonly FramePart[]): Uint8Array => {
  const pieces = parts.map((part) => part.bytes);
  const [first] = pieces;
  if (first === undefined) return Buffer.alloc(0);
  let end = first.byteOffset;
  for (const piece of pieces) {
    if (piece.buffer !== first.buffer || piece.byteOffset !== end) return Buffer.concat(pieces);
    end += piece.length;
  }
  return Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset);
};
