// zstd as bazel-remote stores it, one frame with a checksum for each MiB, and damaged.

import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

const chunkBytes = 1024 * 1024;
const params = { [constants.ZSTD_c_checksumFlag]: 1, [constants.ZSTD_c_compressionLevel]: 1 };
const noBytes = Buffer.from('28b52ffd2000010000', 'hex');

/** The last encodings: many readers of one blob cost one run. */
const encoded = new WeakMap<Buffer, Buffer>();

export const encodeLikeBazelRemote = (decoded: Buffer): Buffer => {
  if (decoded.length === 0) return noBytes;
  const known = encoded.get(decoded);
  if (known) return known;
  const frames: Buffer[] = [];
  for (let at = 0; at < decoded.length; at += chunkBytes) {
    frames.push(zstdCompressSync(decoded.subarray(at, at + chunkBytes), { params }));
  }
  const bytes = Buffer.concat(frames);
  encoded.set(decoded, bytes);
  return bytes;
};

/** Null where it is no zstd, whole and right. */
export const decodeZstd = (bytes: Buffer): Buffer | null => {
  try {
    return zstdDecompressSync(bytes);
  } catch {
    return null;
  }
};

/** One bit differs, as near to the middle as it takes for a decoder to notice. */
export const damaged = (bytes: Buffer): Buffer => {
  for (let distance = 0; distance <= bytes.length; distance += 1) {
    const at = (bytes.length >> 1) + (distance % 2 === 0 ? distance / 2 : -(distance + 1) / 2);
    const byte = bytes[at];
    if (byte === undefined) continue;
    const copy = Buffer.from(bytes);
    copy[at] = byte ^ 0x10;
    if (decodeZstd(copy) === null) return copy;
  }
  throw new Error('no flipped bit damages this body');
};
