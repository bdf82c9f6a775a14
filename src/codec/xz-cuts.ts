// Walks .xz files as their bytes arrive, and cuts them where the next piece would decode to more than 2 MiB.

import { DecodeError } from '../core/errors.ts';
import { next, type Walk, Walker } from './walker.ts';

/**
 * liblzma keeps all that a piece decodes to, 7000 times its size at worst. Each LZMA2 chunk says what it decodes
 * to, 2 MiB at most, so a cut before a chunk that would exceed this keeps every piece within it.
 */
const maxPieceBytes = 2 * 1024 * 1024;
const streamMagic = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const footerMagic = [0x59, 0x5a];
/** By the check's id (the .xz file format 1.2.1, §2.1.1.2). */
const checkBytes = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

export class XzCuts {
  readonly #walker: Walker;
  #cuts: number[] = [];
  /** What the current piece decodes to so far, and the LZMA2 chunk that it ends in. */
  #pieceBytes = 0;
  #chunkBytes = 0;
  #streams = 0;
  /** Bytes up to the end of the last whole stream, or of four bytes of padding after it. */
  #boundary = 0;

  constructor() {
    this.#walker = new Walker((walker) => this.#walk(walker));
  }

  /** The parts of one piece, none empty, to be decoded one by one. Throws a DecodeError. */
  take(piece: Uint8Array): Uint8Array[] {
    const start = this.#walker.offset;
    this.#cuts = [];
    this.#pieceBytes = this.#chunkBytes;
    this.#walker.run(piece);
    if (this.#cuts.at(-1) !== this.#walker.offset) this.#cuts.push(this.#walker.offset);
    const ends = this.#cuts;
    return ends.map((end, i) => piece.subarray((ends[i - 1] ?? start) - start, end - start));
  }

  /** Says that no more will come. */
  end(): void {
    if (this.#boundary < this.#walker.offset || this.#streams === 0) {
      throw new DecodeError('incomplete', 'an xz stream was cut short');
    }
  }

  *#walk(walker: Walker): Walk {
    for (;;) {
      const isStream = yield* this.#isStream();
      if (isStream) {
        yield* this.#stream(walker);
        this.#streams += 1;
      }
      this.#boundary = walker.offset;
    }
  }

  /** False for four bytes of padding, which only a whole stream may precede. */
  *#isStream(): Walk<boolean> {
    const first = yield next(1);
    const isPadding = first === 0 && this.#streams > 0;
    const expected = isPadding ? [0, 0, 0, 0] : streamMagic;
    for (let i = 0; i < expected.length; i += 1) {
      const byte = i === 0 ? first : yield next(1);
      if (byte !== expected[i]) {
        throw new DecodeError(
          this.#streams > 0 ? 'trailing' : 'damaged',
          'there is no xz stream where one should begin',
        );
      }
    }
    return !isPadding;
  }

  *#stream(walker: Walker): Walk<void> {
    yield 1;
    const check = checkBytes[(yield next(1)) & 0x0f] ?? 0;
    yield 4;
    for (;;) {
      const headerSize = yield next(1);
      if (headerSize === 0) break;
      yield (headerSize + 1) * 4 - 1;
      const start = walker.offset;
      yield* this.#chunks(walker);
      yield* padding(walker.offset - start);
      if (check > 0) yield check;
    }
    yield* index(walker);
    yield 10;
    for (const expected of footerMagic) {
      if ((yield next(1)) !== expected) throw new DecodeError('damaged', 'an xz stream does not end as one');
    }
  }

  /** The LZMA2 chunks of a block. Filters before LZMA2 keep the length of what they filter. */
  *#chunks(walker: Walker): Walk<void> {
    for (;;) {
      const control = yield next(1);
      if (control === 0) break;
      if (control > 2 && control < 0x80) throw new DecodeError('damaged', 'an LZMA2 chunk is of no known kind');
      const isPacked = control >= 0x80;
      const low = (yield next(1)) * 256 + (yield next(1)) + 1;
      const size = isPacked ? (control & 0x1f) * 65536 + low : low;
      const packedSize = isPacked ? (yield next(1)) * 256 + (yield next(1)) + 1 : size;
      const hasProperties = control >= 0xc0;
      this.#meet(size, walker.offset);
      yield packedSize + (hasProperties ? 1 : 0);
    }
    this.#chunkBytes = 0;
  }

  #meet(chunkBytes: number, offset: number): void {
    if (this.#pieceBytes > 0 && this.#pieceBytes + chunkBytes > maxPieceBytes) {
      this.#cuts.push(offset);
      this.#pieceBytes = 0;
    }
    this.#pieceBytes += chunkBytes;
    this.#chunkBytes = chunkBytes;
  }
}

const padding = function* (length: number): Walk<void> {
  if (length % 4 > 0) yield 4 - (length % 4);
};

const index = function* (walker: Walker): Walk<void> {
  const start = walker.offset - 1; // Its first byte told it from a block.
  const records = yield* variableInteger();
  for (let i = 0; i < records * 2; i += 1) yield* variableInteger();
  yield* padding(walker.offset - start);
  yield 4;
};

/** Seven bits a byte, lowest first, nine bytes at most. Beyond 2^53 inexact, and beyond any index. */
const variableInteger = function* (): Walk<number> {
  let value = 0;
  for (let i = 0; i < 9; i += 1) {
    const byte = yield next(1);
    value += (byte & 0x7f) * 128 ** i;
    if (byte < 0x80) return value;
  }
  throw new DecodeError('damaged', 'an xz index holds an endless number');
};
