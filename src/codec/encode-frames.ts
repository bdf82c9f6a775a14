// Encodes zstd in frames of its own for each piece, every one of them looked at before it leaves.

import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { CleanmissError } from '../core/errors.ts';

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const params = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 };

/** One frame a piece. Throws a CleanmissError with code CODEC where a frame does not decode to its piece. */
export async function* encodeFrames(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  for await (const piece of pieces) {
    const frame = await compress(piece, { params });
    const decoded = await decompress(frame, { maxOutputLength: piece.length });
    if (!decoded.equals(piece))
      throw new CleanmissError('CODEC', 'self', 'a zstd frame does not decode to what went in');
    yield frame;
  }
}
