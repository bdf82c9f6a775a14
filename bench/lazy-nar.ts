// A NAR in many zstd frames, as Attic sends one, of any size and never held: a seeded MiB repeats, encoded once.

import type { Digest } from '../src/core/digest.ts';
import { encodeBody } from '../test/support/encodings.ts';
import { lazyNar } from '../test/support/nar.ts';
import { hashText, narinfoText, storeDir, storeHash } from '../test/support/narinfo.ts';

const MIB = 1024 * 1024;

export interface LazyObject {
  /** Below the cache's root. */
  readonly narinfoPath: string;
  readonly narinfo: string;
  readonly narPath: string;
  readonly digest: Digest;
  readonly encodedBytes: number;
  encoded(): Generator<Buffer, void, void>;
}

/** Frames of 16 to 64 KiB of content; no frame refers to another, so that a MiB has the same frames wherever it lies. */
export const lazyObject = async (seed: string, sizeBytes: number): Promise<LazyObject> => {
  const nar = lazyNar({ seed, sizeBytes });
  const digest = nar.digest();
  const encodeChunk = async (chunk: Buffer) => (await encodeBody(chunk, 'zstd-many', { seed })).bytes;
  let whole: Buffer | undefined;
  const pieces: Buffer[] = [];
  for (const chunk of nar.chunks()) {
    if (chunk.length === MIB) whole ??= await encodeChunk(chunk);
    pieces.push(chunk.length === MIB && whole !== undefined ? whole : await encodeChunk(chunk));
  }
  const hash = storeHash(seed);
  const narPath = `nar/${hash}.nar`;
  return {
    narinfoPath: `${hash}.narinfo`,
    narinfo: narinfoText({
      storePath: `${storeDir}/${hash}-${seed}`,
      url: narPath,
      compression: 'zstd',
      narHash: hashText(digest.sha256, 'hex'),
      narSize: sizeBytes,
    }),
    narPath,
    digest,
    encodedBytes: pieces.reduce((sum, piece) => sum + piece.length, 0),
    *encoded() {
      yield* pieces;
    },
  };
};
