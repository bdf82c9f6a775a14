// Decodes xz with liblzma, on the thread pool, at most 2 MiB of output at a time.

import type { Stream } from 'lzma-native';
import { CleanmissError, DecodeError } from '../core/errors.ts';
import type { Engine, Sink } from './decoder.ts';
import { loadLzma } from './lzma.ts';
import { Rest } from './rest.ts';
import { XzCuts } from './xz-cuts.ts';

/** LZMA_CONCATENATED (lzma/container.h): streams may follow each other, zeros may lie between them. */
const concatenated = 0x08;
/** Largest dictionary: that of zstd's largest window, and twice that of `xz -9`. */
const maxDictionaryBytes = 2 ** 27;
/** liblzma needs some 64 KiB beside the dictionary. */
const overheadBytes = 1024 * 1024;
const outputBytes = 256 * 1024;
/** What this liblzma cannot decode, or may not spend the memory on (lzma_ret in lzma/base.h). */
const unprovable = new Set(['LZMA_MEM_ERROR', 'LZMA_MEMLIMIT_ERROR', 'LZMA_OPTIONS_ERROR']);

/**
 * Drives the addon's native stream itself: the Transform around it starts a job for each "YZ" in the input
 * (32 000 in a 64 KiB piece of nothing else), and keeps whatever a piece decodes to.
 */
export class XzEngine implements Engine {
  readonly #cuts = new XzCuts();
  readonly #rest = new Rest();
  readonly #deliver: Sink;
  readonly #stream: Stream;
  #isRunning = false;
  #isClosed = false;

  constructor(deliver: Sink, maxWindowBytes = maxDictionaryBytes) {
    const lzma = loadLzma();
    if (lzma === null) throw new CleanmissError('UNPROVABLE', 'self', 'there is no xz decoder on this machine');
    this.#deliver = deliver;
    this.#stream = new lzma.Stream();
    this.#stream.setBufsize(outputBytes);
    this.#stream.streamDecoder({
      memlimit: Math.min(maxWindowBytes, maxDictionaryBytes) + overheadBytes,
      flags: concatenated,
    });
  }

  async write(encoded: Uint8Array): Promise<void> {
    for (const piece of this.#cuts.take(encoded)) {
      await this.#rest.over;
      if (this.#isClosed) return;
      await this.#code(piece);
    }
    await this.#rest.over;
  }

  async end(): Promise<void> {
    this.#cuts.end();
    await this.#code(null);
  }

  /** A job that runs is let finish, 2 MiB of output at most, since freeing its memory would block the loop till then. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#isRunning) this.#stream.resetUnderlying();
  }

  pause(): void {
    this.#rest.begin();
  }

  resume(): void {
    this.#rest.finish();
  }

  #code(piece: Uint8Array | null): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.bufferHandler = (output, takenPieces, error) => {
        if (error) reject(faultOf(error));
        else if (output) this.#deliver(output);
        if (takenPieces === undefined) return;
        // The last call of this job.
        this.#isRunning = false;
        if (this.#isClosed) this.#stream.resetUnderlying();
        resolve();
      };
      this.#isRunning = true;
      this.#stream.code(piece, true);
    });
  }
}

const faultOf = (error: Error): DecodeError => {
  if (unprovable.has(error.name)) return new DecodeError('bound', `unprovable xz: ${error.message}`, error);
  return new DecodeError(error.name === 'LZMA_BUF_ERROR' ? 'incomplete' : 'damaged', error.message, error);
};
