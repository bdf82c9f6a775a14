// Encodes zstd as frames of one MiB: who follows such a body gets each as soon as it is whole, and none waits for the last.

import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { CleanmissError } from '../core/errors.ts';

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const frameBytes = 1024 * 1024;

export interface ZstdEncoding {
  readonly level?: number;
  /** Each frame is decoded again before it leaves: for what no prover will look at. */
  readonly isChecked?: boolean;
}

/** Frames with checksums, level 3 unless told; one that is empty of no bytes. Throws a CleanmissError with code CODEC where a check fails. */
export async function* encodeZstd(
  source: AsyncIterable<Buffer>,
  { level = 3, isChecked = false }: ZstdEncoding = {},
): AsyncGenerator<Buffer, void, void> {
  const params = { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 };
  const encode = async (bytes: Buffer): Promise<Buffer> => {
    const frame = await compress(bytes, { params });
    if (isChecked && !(await decompress(frame, { maxOutputLength: Math.max(1, bytes.length) })).equals(bytes))
      throw new CleanmissError('CODEC', 'self', 'a zstd frame does not decode to what it was made from');
    return frame;
  };
  // One is encoded while the one before it is taken.
  let ahead: Promise<Buffer> | null = null;
  for await (const bytes of inFrames(source)) {
    const before: Promise<Buffer> | null = ahead;
    ahead = encode(bytes);
    ahead.catch(() => undefined);
    if (before !== null) yield await before;
  }
  yield await (ahead ?? encode(Buffer.alloc(0)));
}

/** The same bytes in pieces of a frame each, the last as long as what is left. */
async function* inFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  let pieces: Buffer[] = [];
  let bytes = 0;
  for await (let piece of source) {
    while (bytes + piece.length >= frameBytes) {
      const rest = frameBytes - bytes;
      yield Buffer.concat([...pieces, piece.subarray(0, rest)]);
      piece = piece.subarray(rest);
      pieces = [];
      bytes = 0;
    }
    if (piece.length === 0) continue;
    pieces.push(piece);
    bytes += piece.length;
  }
  if (bytes > 0) yield Buffer.concat(pieces);
}
