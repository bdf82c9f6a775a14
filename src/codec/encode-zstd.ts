// Encodes zstd as a stream, never ahead of whoever takes it.

import { constants, createZstdCompress } from 'node:zlib';
import { GuardedDecoder } from './guard.ts';
import { pull } from './pull.ts';
import { chunkSize, ZlibEngine } from './zlib-engine.ts';

/** One frame with a checksum, level 3 unless told. Releases the native encoder and `source` on an early return. */
export const encodeZstd = (
  source: AsyncIterable<Buffer>,
  options: { readonly level?: number } = {},
): AsyncGenerator<Buffer> => {
  const params = {
    [constants.ZSTD_c_compressionLevel]: options.level ?? 3,
    [constants.ZSTD_c_checksumFlag]: 1,
  };
  return pull(
    source,
    (sink) => new GuardedDecoder((deliver) => new ZlibEngine(createZstdCompress({ chunkSize, params }), deliver), sink),
  );
};
