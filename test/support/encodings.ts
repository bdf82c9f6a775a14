// Encodes bodies in every form that a binary cache stores, and tells where their frames start.

import { createRequire } from 'node:module';
import { brotliCompressSync, constants, createZstdCompress, gzipSync, zstdCompressSync } from 'node:zlib';
import { skippableFrame, zstdBomb } from './bombs.ts';
import { type Seed, seededNumbers } from './seeded.ts';

/** Nix's spelling, as in a narinfo. */
export type Compression = 'none' | 'zstd' | 'xz' | 'gzip' | 'br';

export type BodyKind =
  | 'none'
  | 'zstd-one'
  | 'zstd-many'
  | 'zstd-skippable'
  | 'zstd-long'
  | 'xz'
  | 'xz-many'
  | 'gzip'
  | 'gzip-many'
  | 'br'
  | 'br-many';

export interface Body {
  readonly bytes: Buffer;
  /** Where each frame, stream or member starts that holds content. */
  readonly frames: readonly number[];
  readonly compression: Compression;
  /** What follows `.nar` in a file name, e.g. `.zst`. */
  readonly extension: '' | '.zst' | '.xz' | '.gz' | '.br';
}

const zstdBare = { [constants.ZSTD_c_contentSizeFlag]: 0, [constants.ZSTD_c_checksumFlag]: 0 };

/** As Attic writes it, a streaming encoder that knows no length: header byte 0x00, and a window of 2 MiB declared. */
const zstdLikeAttic = (piece: Buffer): Buffer => {
  const frame = zstdCompressSync(piece, { params: zstdBare });
  // The encoder knew the length and declared a smaller window; a larger one is as true.
  frame[5] = 0x58;
  return frame;
};

/** One frame with a window of 2^`windowLog` bytes, and matches from that far back where the content has some. */
const zstdLong = async (nar: Buffer, windowLog: number): Promise<Buffer> => {
  const params = {
    ...zstdBare,
    [constants.ZSTD_c_windowLog]: windowLog,
    [constants.ZSTD_c_enableLongDistanceMatching]: 1,
  };
  // A stream, since an encoder that knows the length shrinks the window to it.
  const encoder = createZstdCompress({ params });
  encoder.write(nar.subarray(0, 1));
  encoder.end(nar.subarray(1));
  return Buffer.concat(await encoder.toArray());
};

interface Lzma {
  compress(input: Buffer, options: { preset: number }, done: (output: Buffer) => void): void;
}
// The package has no types; this is the one call that we make, from its README.
const lzma = createRequire(import.meta.url)('lzma-native') as Lzma;
const xz = (piece: Buffer): Promise<Buffer> => new Promise((resolve) => lzma.compress(piece, { preset: 1 }, resolve));

/** Pieces of 16 to 64 KiB, cut where the seed says: sizes as Attic's chunking gives. */
const pieces = (nar: Buffer, seed: Seed): Buffer[] => {
  const next = seededNumbers(`cuts ${seed}`);
  const cut: Buffer[] = [];
  for (let at = 0; at < nar.length; at += cut.at(-1)?.length ?? 0) {
    cut.push(nar.subarray(at, at + 16_384 + (next() % 49_152)));
  }
  return cut;
};

/** Joins parts; those that are not content (skippable frames) do not count as frames. */
const join = (parts: readonly (Buffer | { readonly aside: Buffer })[]): Pick<Body, 'bytes' | 'frames'> => {
  const frames: number[] = [];
  const buffers: Buffer[] = [];
  let at = 0;
  for (const part of parts) {
    const bytes = Buffer.isBuffer(part) ? part : part.aside;
    if (Buffer.isBuffer(part)) frames.push(at);
    buffers.push(bytes);
    at += bytes.length;
  }
  return { bytes: Buffer.concat(buffers), frames };
};

const zstd = { compression: 'zstd', extension: '.zst' } as const;
const xzBody = { compression: 'xz', extension: '.xz' } as const;
const gzip = { compression: 'gzip', extension: '.gz' } as const;
const br = { compression: 'br', extension: '.br' } as const;

/** `zstd-skippable` is bazel-remote's way and more: skippable frames before, between (one of them empty) and after. */
export const encodeBody = async (
  nar: Buffer,
  kind: BodyKind,
  { seed = 0, windowLog = 27 }: { seed?: Seed; windowLog?: number } = {},
): Promise<Body> => {
  switch (kind) {
    case 'none':
      return { ...join([nar]), compression: 'none', extension: '' };
    case 'zstd-one':
      return {
        ...join([zstdCompressSync(nar, { params: { [constants.ZSTD_c_checksumFlag]: 1 } })]),
        ...zstd,
      };
    case 'zstd-many':
      return { ...join(pieces(nar, seed).map(zstdLikeAttic)), ...zstd };
    case 'zstd-skippable': {
      const between = (kind: number, size: number) => ({
        aside: skippableFrame(Buffer.alloc(size, kind), kind),
      });
      const parts = pieces(nar, seed).flatMap((piece, index) => [
        between(index % 16, index === 1 ? 0 : 40),
        zstdLikeAttic(piece),
      ]);
      return { ...join([...parts, between(15, 100)]), ...zstd };
    }
    case 'zstd-long':
      return { ...join([await zstdLong(nar, windowLog)]), ...zstd };
    case 'xz':
      return { ...join([await xz(nar)]), ...xzBody };
    case 'xz-many':
      return { ...join(await Promise.all(pieces(nar, seed).map(xz))), ...xzBody };
    case 'gzip':
      return { ...join([gzipSync(nar)]), ...gzip };
    case 'gzip-many':
      return { ...join(pieces(nar, seed).map((piece) => gzipSync(piece))), ...gzip };
    case 'br':
      return { ...join([brotli(nar)]), ...br };
    case 'br-many':
      return { ...join(pieces(nar, seed).map(brotli)), ...br };
  }
};

/** Quality 5 is Attic's, and two orders faster than the default. */
const brotli = (piece: Buffer): Buffer =>
  brotliCompressSync(piece, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } });

/** The plainest body of a compression, from one encoder run. */
export const encodePlainly = async (bytes: Buffer, compression: Compression): Promise<Buffer> =>
  (await encodeBody(bytes, compression === 'zstd' ? 'zstd-one' : compression)).bytes;

/** At least `decodedBytes` zeros. Beyond 4 MiB it is several members or streams, but for zstd and br, which are one. */
export const bombOf = async (compression: Compression, decodedBytes: number): Promise<Buffer> => {
  if (compression === 'zstd') return zstdBomb(decodedBytes);
  const unitBytes = compression === 'br' ? decodedBytes : Math.min(decodedBytes, 4 * 1024 * 1024);
  const unit = await encodePlainly(Buffer.alloc(unitBytes), compression);
  return Buffer.concat(Array<Buffer>(Math.ceil(decodedBytes / unitBytes)).fill(unit));
};
