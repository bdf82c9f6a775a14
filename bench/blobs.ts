// Blobs as a remote cache has them: of published sizes, half of each compressible.

import { createHash } from 'node:crypto';
import type { BlobDigest } from '../src/bazel/batch-envelope.ts';
import { seededBytes, seededNumbers } from '../test/support/seeded.ts';

export const digestOf = (bytes: Uint8Array): BlobDigest => ({
  hash: createHash('sha256').update(bytes).digest('hex'),
  sizeBytes: bytes.length,
});

const MIB = 1024 * 1024;

/** A seeded MiB again and again, with a head of its own in each: as quick to make as to hash. */
export const seededBlob = (seed: string, sizeBytes: number): Buffer => {
  if (sizeBytes <= MIB) return seededBytes(seed, sizeBytes);
  const bytes = Buffer.allocUnsafe(sizeBytes);
  const one = seededBytes(seed, MIB);
  for (let at = 0; at < sizeBytes; at += MIB) {
    one.copy(bytes, at);
    bytes.writeUInt32LE(at / MIB, at);
  }
  return bytes;
};

/** BuildBuddy's tools/cacheload: how many of 101,472 blobs are of up to ten times 1 B, 10 B, 100 B … */
const HISTOGRAM = [23, 33_611, 33_498, 20_473, 10_036, 3_265, 504, 62];
const TOTAL = HISTOGRAM.reduce((sum, count) => sum + count, 0);

/** Sizes of that histogram, evenly spread within each power of ten by its logarithm. */
export const publishedSizes = (seed: string, count: number): number[] => {
  const next = seededNumbers(seed);
  return Array.from({ length: count }, (_, index) => {
    let rank = ((index + 0.5) / count) * TOTAL;
    let power = 0;
    while (rank > (HISTOGRAM[power] ?? TOTAL)) rank -= HISTOGRAM[power++] ?? 0;
    return Math.floor(10 ** (power + next() / 2 ** 32)) + 1;
  });
};
