// Decodes zstd without a native decoder: fzstd in a worker, fenced in memory, work and time.

import { Worker } from 'node:worker_threads';
import { type Clock, systemClock, type Timer } from '../core/clock.ts';
import { CleanmissError, DecodeError } from '../core/errors.ts';
import type { Engine, Sink } from './decoder.ts';
import type { FromWorker, ToWorker, WorkerData } from './fzstd-worker.ts';
import { type FrameOptions, type FramePart, ZstdFrames } from './zstd-frames.ts';

/** fzstd returns wrong bytes from distances of 96 MiB on (101arrowz/fzstd #19) and moves its window for every block. */
const maxWindowBytes = 8 * 1024 * 1024;
/** Walked at a time: 4096 of the shortest blocks, 34 GB of moves at the largest window, within the allowance below. */
const sliceBytes = 16 * 1024;
/**
 * Bytes of window moved: 64 GiB to begin with, 3 s where 8 MiB take 0.38 ms, then 512 for each decoded byte. Blocks of
 * 128 KiB, as encoders make them, need 64 in an 8 MiB window; blocks of 16 KiB need all. So hostile input ends after
 * 3 s if it decodes to nothing, and otherwise decodes at 40 MB/s or better.
 */
const moveBytesPerDecoded = 512;

export interface FzstdLimits {
  /** Without a sign of life from the worker for so long, it is given up. */
  readonly deadlineMs: number;
  readonly moveAllowanceBytes: number;
  readonly clock: Clock;
}

const defaultLimits: FzstdLimits = { deadlineMs: 10_000, moveAllowanceBytes: 64 * 1024 ** 3, clock: systemClock };

/** fzstd checks no content checksum: only the digest tells. Truncation is found by the frames. */
export class FzstdEngine implements Engine {
  readonly #frames: ZstdFrames;
  readonly #deliver: Sink;
  readonly #limits: FzstdLimits;
  /** Bytes that the worker has sent and the sink has not taken; the worker sleeps on it. */
  readonly #owed = new Int32Array(new SharedArrayBuffer(4));
  #worker: Worker | undefined;
  #decodedBytes = 0;
  #unacknowledged = 0;
  #isPaused = false;
  #isClosed = false;
  #deadline: Timer | undefined;
  #waiting: { resolve(): void; reject(reason: unknown): void } | undefined;

  constructor(
    deliver: Sink,
    windowBytes = maxWindowBytes,
    limits: Partial<FzstdLimits> = {},
    onFrame: FrameOptions['onFrame'] = () => {},
  ) {
    this.#frames = new ZstdFrames({ maxWindowBytes: Math.min(windowBytes, maxWindowBytes), onFrame });
    this.#deliver = deliver;
    this.#limits = { ...defaultLimits, ...limits };
  }

  async write(encoded: Uint8Array): Promise<void> {
    for (let at = 0; at < encoded.length; at += sliceBytes) {
      const parts = this.#frames.take(encoded.subarray(at, at + sliceBytes));
      if (this.#frames.blockWindowBytes > this.#limits.moveAllowanceBytes + this.#decodedBytes * moveBytesPerDecoded) {
        throw new DecodeError('bound', 'zstd blocks too small for their window to be decoded in time');
      }
      for (const part of parts) {
        if (this.#isClosed) return;
        await this.#send(part);
      }
    }
  }

  async end(): Promise<void> {
    this.#frames.end();
  }

  close(): void {
    this.#isClosed = true;
    this.#deadline?.cancel();
    void this.#worker?.terminate();
  }

  /** The worker sleeps once it is owed for too much. */
  pause(): void {
    this.#isPaused = true;
    this.#deadline?.cancel();
  }

  resume(): void {
    this.#isPaused = false;
    this.#acknowledge();
    this.#watch();
  }

  #send(part: FramePart): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      const bytes = new Uint8Array(part.bytes);
      this.#worker ??= this.#open();
      this.#worker.postMessage({ bytes, endsFrame: part.endsFrame } satisfies ToWorker, [bytes.buffer]);
      this.#watch();
    });
  }

  #open(): Worker {
    // The published package holds .js beside .js, a checkout .ts beside .ts; the compiler does not rewrite URLs.
    const file = import.meta.url.endsWith('.ts') ? './fzstd-worker.ts' : './fzstd-worker.js';
    const worker = new Worker(new URL(file, import.meta.url), {
      workerData: { owed: this.#owed } satisfies WorkerData,
      execArgv: [], // Loaders and flags of the main thread are not the worker's.
    });
    worker.on('message', (message: FromWorker) => this.#hear(message));
    worker.on('error', (error) =>
      this.#settle(new CleanmissError('CODEC_WORKER', 'self', 'the zstd worker died', error)),
    );
    return worker;
  }

  #hear(message: FromWorker): void {
    if (this.#isClosed) return;
    switch (message.kind) {
      case 'decoded':
        this.#decodedBytes += message.bytes.length;
        this.#unacknowledged += message.bytes.length;
        this.#deliver(Buffer.from(message.bytes.buffer));
        if (!this.#isPaused) this.#acknowledge();
        this.#watch();
        break;
      case 'taken':
        this.#settle();
        break;
      case 'fault':
        this.#settle(new DecodeError('damaged', message.message));
        break;
    }
  }

  #acknowledge(): void {
    Atomics.sub(this.#owed, 0, this.#unacknowledged);
    Atomics.notify(this.#owed, 0);
    this.#unacknowledged = 0;
  }

  #watch(): void {
    this.#deadline?.cancel();
    if (this.#waiting === undefined || this.#isPaused || this.#isClosed) return;
    const { clock, deadlineMs } = this.#limits;
    this.#deadline = clock.after(deadlineMs, () => {
      this.#settle(new DecodeError('bound', `the zstd worker decoded nothing for ${deadlineMs} ms`));
    });
  }

  #settle(failure?: unknown): void {
    this.#deadline?.cancel();
    if (failure === undefined) this.#waiting?.resolve();
    else this.#waiting?.reject(failure);
    this.#waiting = undefined;
  }
}
