// Walks zstd frames as their bytes arrive: bounds them, drops skippable ones, and knows where each begins and ends.

import { DecodeError } from '../core/errors.ts';
import { next, type Walk, Walker } from './walker.ts';
import { headerBytes, maxHeaderBytes, readHeader } from './zstd-header.ts';

/** Bytes of one frame. A frame's header is always a part of its own. */
export interface FramePart {
  readonly bytes: Uint8Array;
  /** The last byte of the frame is the last of `bytes`. */
  readonly endsFrame: boolean;
}

/** Where a whole frame lay, in encoded bytes from the start of the stream; `end` is the first byte after it. */
export interface FrameSpan {
  readonly start: number;
  readonly end: number;
  readonly windowBytes: number;
  /** False for a frame that decodes to nothing. */
  readonly hasContent: boolean;
}

export interface FrameOptions {
  /** At most, and by default, 2^27: what `zstd --long` writes and every `zstd -d` reads. */
  readonly maxWindowBytes?: number | undefined;
  /** Called for each frame but skippable ones, with its last byte. */
  readonly onFrame?: (frame: FrameSpan) => void;
}

const maxWindowBytes = 2 ** 27;
/** What carries no content, in all: skippable frames, empty frames, and the empty blocks a frame may end with. */
const maxIdleBytes = 1024 * 1024;
/** RFC 8878 §3.1.1.2.4: no block holds more, nor more than the window. */
const maxBlockBytes = 128 * 1024;
const blockType = { raw: 0, rle: 1, compressed: 2 } as const;
const frameMagic = [0x28, 0xb5, 0x2f, 0xfd];
/** RFC 8878 §3.1.2; the low half of the first byte is free. */
const skippableMagic = [0x50, 0x2a, 0x4d, 0x18];

export class ZstdFrames {
  readonly #maxWindowBytes: number;
  readonly #onFrame: FrameOptions['onFrame'];
  readonly #walker: Walker;
  readonly #header = Buffer.alloc(maxHeaderBytes);
  #parts: FramePart[] = [];
  /** Offset from which a frame's bytes are still to be handed on. */
  #from: number | undefined;
  #piece: Uint8Array = this.#header.subarray(0, 0);
  #pieceStart = 0;
  #boundary = 0;
  #frames = 0;
  #idleBytes = 0;
  #blockWindowBytes = 0;

  constructor(options: FrameOptions = {}) {
    this.#maxWindowBytes = Math.min(options.maxWindowBytes ?? maxWindowBytes, maxWindowBytes);
    this.#onFrame = options.onFrame;
    this.#walker = new Walker((walker) => this.#walk(walker));
  }

  /** Encoded bytes walked so far. */
  get offset(): number {
    return this.#walker.offset;
  }

  /** Encoded bytes up to the end of the last whole frame, skippable ones included. */
  get boundary(): number {
    return this.#boundary;
  }

  /** Whole frames so far, without skippable ones. */
  get frames(): number {
    return this.#frames;
  }

  /** The windows of all blocks so far, summed: what a decoder that moves its window for every block pays. */
  get blockWindowBytes(): number {
    return this.#blockWindowBytes;
  }

  /** Walks one piece and returns what of it a decoder may see; but for headers that began before it, the parts alias it. Throws a DecodeError. */
  take(piece: Uint8Array): FramePart[] {
    this.#parts = [];
    this.#piece = piece;
    this.#pieceStart = this.offset;
    if (this.#from !== undefined) this.#from = this.offset;
    this.#walker.run(piece);
    if (this.#from !== undefined && this.#from < this.offset) this.#handOn(this.#from, false);
    return this.#parts;
  }

  /** Says that no more will come. Skippable frames alone are no body: something was to follow them. */
  end(): void {
    if (this.#boundary < this.offset) throw new DecodeError('incomplete', 'a zstd frame was cut short');
    if (this.#frames === 0) throw new DecodeError('incomplete', 'there is no zstd frame');
  }

  *#walk(walker: Walker): Walk {
    for (;;) {
      const start = walker.offset;
      if (yield* this.#isSkippable()) yield* this.#skippable();
      else {
        const { windowBytes, hasContent } = yield* this.#frame();
        this.#frames += 1;
        this.#onFrame?.({ start, end: walker.offset, windowBytes, hasContent });
      }
      this.#boundary = walker.offset;
    }
  }

  *#isSkippable(): Walk<boolean> {
    let isSkippable = false;
    for (let i = 0; i < 4; i += 1) {
      const byte = yield next(1);
      if (i === 0) isSkippable = (byte & 0xf0) === 0x50;
      const expected = (isSkippable ? skippableMagic : frameMagic)[i];
      if (byte !== expected && !(isSkippable && i === 0)) {
        throw new DecodeError(
          this.#frames > 0 ? 'trailing' : 'damaged',
          'there is no zstd frame where one should begin',
        );
      }
      this.#header[i] = byte;
    }
    return isSkippable;
  }

  *#skippable(): Walk<void> {
    const size = yield next(4);
    this.#idleBytes += 8 + size;
    this.#boundIdle(0);
    if (size > 0) yield size;
  }

  /** Walks one frame and returns its window, and whether anything is in it. */
  *#frame(): Walk<Pick<FrameSpan, 'windowBytes' | 'hasContent'>> {
    const descriptor = yield next(1);
    this.#header[4] = descriptor;
    const length = headerBytes(descriptor);
    for (let i = 5; i < length; i += 1) this.#header[i] = yield next(1);
    const { windowBytes, hasChecksum } = readHeader(this.#header);
    if (windowBytes > this.#maxWindowBytes) {
      throw new DecodeError(
        'bound',
        `unprovable window: a zstd frame asks for ${windowBytes} bytes of at most ${this.#maxWindowBytes}`,
      );
    }
    this.#parts.push({ bytes: this.#wholeHeader(length), endsFrame: false });
    this.#from = this.offset;

    const emptyBytes = yield* this.#blocks(windowBytes, length);
    if (hasChecksum) yield 4;
    this.#idleBytes += emptyBytes;
    this.#handOn(this.#from, true);
    this.#from = undefined;
    return { windowBytes, hasContent: emptyBytes === 0 };
  }

  /** Walks the blocks of a frame and returns how long it was if it held nothing, else 0. */
  *#blocks(windowBytes: number, headerLength: number): Walk<number> {
    let hasContent = false;
    let idleRun = headerLength;
    for (let isLast = false; !isLast; ) {
      const header = yield next(3);
      const type = (header >> 1) & 0x03;
      const size = header >> 3;
      isLast = (header & 1) === 1;
      if (type > blockType.compressed) throw new DecodeError('damaged', 'a zstd block is of the reserved type');
      if (size > Math.min(windowBytes, maxBlockBytes))
        throw new DecodeError('damaged', `a zstd block of ${size} bytes is too long`);
      this.#blockWindowBytes += windowBytes;
      const body = type === blockType.rle ? 1 : size;
      // Two bytes of a compressed block are the headers of no literals and no sequences.
      const isEmpty = type === blockType.compressed ? size <= 2 : size === 0;
      idleRun = isEmpty ? idleRun + 3 + body : 0;
      hasContent ||= !isEmpty;
      this.#boundIdle(idleRun);
      if (body > 0) yield body;
    }
    return hasContent ? 0 : idleRun;
  }

  #boundIdle(run: number): void {
    if (this.#idleBytes + run > maxIdleBytes)
      throw new DecodeError('bound', 'endless skippable frames: more than 1 MiB without content');
  }

  /** Out of the piece itself where it lies there whole: then what follows continues it in memory too. */
  #wholeHeader(length: number): Uint8Array {
    const at = this.offset - length - this.#pieceStart;
    return at >= 0 ? this.#piece.subarray(at, at + length) : Buffer.from(this.#header.subarray(0, length));
  }

  #handOn(from: number, endsFrame: boolean): void {
    this.#parts.push({
      bytes: this.#piece.subarray(from - this.#pieceStart, this.offset - this.#pieceStart),
      endsFrame,
    });
  }
}
