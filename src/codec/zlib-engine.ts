// Drives one of Node's zlib streams as an engine: a piece counts as taken when zlib has read it and its output has left.

import type { Transform } from 'node:stream';
import type { Zlib } from 'node:zlib';
import { DecodeError, isCode } from '../core/errors.ts';
import { release } from '../core/release.ts';
import type { Engine, Sink } from './decoder.ts';

/**
 * zlib's own 16 KiB halve the speed (a trip to the thread pool for each); 256 KiB are within 3 % of 1 MiB, and a
 * small body need not pay for more. A bomb holds two of these when its sink stops it.
 */
export const chunkSize = 256 * 1024;

interface Waiting {
  resolve(): void;
  reject(reason: unknown): void;
}

export class ZlibEngine implements Engine {
  readonly #stream: Transform & Zlib;
  #given = 0;
  #isTaken = false;
  #writing: Waiting | undefined;
  #ending: Waiting | undefined;
  #failure: unknown;

  constructor(stream: Transform & Zlib, deliver: Sink, keepsNothing = false) {
    this.#stream = stream;
    stream.on('data', (decoded: Buffer) => {
      deliver(decoded);
      if (keepsNothing && endsChunk(decoded)) release(decoded.buffer);
      this.#settleWrite();
    });
    stream.on('end', () => this.#ending?.resolve());
    // Stays on after `close`: zlib reports some errors late, and none may become an uncaught exception.
    stream.on('error', (error) => {
      this.#failure ??= faultOf(error);
      this.#writing?.reject(this.#failure);
      this.#ending?.reject(this.#failure);
    });
  }

  write(encoded: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#writing = { resolve, reject };
      this.#isTaken = false;
      this.#given += encoded.length;
      this.#stream.write(encoded, (error) => {
        if (error) return; // The error event tells it.
        this.#isTaken = true;
        this.#settleWrite();
      });
    });
  }

  end(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#ending = { resolve, reject };
      this.#stream.end();
    });
  }

  close(): void {
    this.#stream.destroy();
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  #settleWrite(): void {
    if (!this.#isTaken || this.#stream.readableLength > 0) return;
    // Gunzip ends at a zero byte after a member, and calls that and what follows taken. test: "zeros after gzip"
    if (this.#stream.bytesWritten === this.#given) this.#writing?.resolve();
    else this.#writing?.reject(new DecodeError('trailing', 'bytes follow the end of the stream'));
  }
}

/** zlib goes on behind a piece in the same memory, and takes new memory where that is full. */
const endsChunk = ({ buffer, byteOffset, length }: Buffer): boolean =>
  buffer.byteLength === chunkSize && byteOffset + length === chunkSize;

const faultOf = (error: Error): DecodeError => {
  if (isCode(error, 'Z_BUF_ERROR')) return new DecodeError('incomplete', 'the stream was cut short', error);
  if (isCode(error, 'ERR_TRAILING_JUNK_AFTER_STREAM_END')) {
    return new DecodeError('trailing', 'bytes follow the end of the stream', error);
  }
  return new DecodeError('damaged', error.message, error);
};
