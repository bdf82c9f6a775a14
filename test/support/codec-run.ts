// Runs a decoder over pieces and tells what came of it, so that a test is a row of a table.

import type { Decoder } from '../../src/codec/decoder.ts';
import { type DecoderOptions, openDecoder } from '../../src/codec/open.ts';
import type { Encoding } from '../../src/core/claim.ts';
import { DecodeError } from '../../src/core/errors.ts';
import { seededNumbers } from './seeded.ts';

export interface Outcome {
  readonly decoded: Buffer;
  /** `DecodeError.fault`, or null when `end` resolved. */
  readonly fault: DecodeError['fault'] | null;
}

/** Writes the pieces and ends. Whatever is thrown but a DecodeError is thrown on. */
export const run = async (
  encoding: Encoding,
  pieces: readonly Uint8Array[],
  options: DecoderOptions = {},
): Promise<Outcome> => {
  const output: Buffer[] = [];
  const decoder = openDecoder(encoding, (piece) => output.push(piece), options);
  const fault = await faultOf(feed(decoder, pieces));
  decoder.close();
  return { decoded: Buffer.concat(output), fault };
};

export const feed = async (decoder: Decoder, pieces: readonly Uint8Array[]): Promise<void> => {
  for (const piece of pieces) await decoder.write(piece);
  await decoder.end();
};

export const faultOf = async (work: Promise<unknown>): Promise<DecodeError['fault'] | null> => {
  try {
    await work;
    return null;
  } catch (error) {
    if (error instanceof DecodeError) return error.fault;
    throw error;
  }
};

/** What `work` rejects with; fails when it does not. */
export const rejection = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => {
      throw new Error('it was to reject');
    },
    (reason) => reason,
  );

export const bytewise = (bytes: Uint8Array): Uint8Array[] => Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));

/** Cuts at places that depend on the seed; pieces of 0 to `maxBytes`. */
export const chopped = (bytes: Uint8Array, seed: string, maxBytes = 5000): Uint8Array[] => {
  const next = seededNumbers(seed);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + (next() % (maxBytes + 1)));
    pieces.push(bytes.subarray(at, end));
    at = end;
  }
  return pieces;
};

export async function* from(pieces: Iterable<Uint8Array>): AsyncGenerator<Buffer> {
  for (const piece of pieces) yield Buffer.from(piece);
}

/** Every decoder there is: the encodings, and zstd's two other ways. */
export const decoders: readonly {
  readonly name: string;
  readonly encoding: Encoding;
  readonly options: DecoderOptions;
}[] = [
  { name: 'identity', encoding: 'identity', options: {} },
  { name: 'zstd', encoding: 'zstd', options: {} },
  { name: 'zstd, a frame at a time', encoding: 'zstd', options: { runtime: { nativeZstd: true, frameAtATime: true } } },
  { name: 'zstd in a worker', encoding: 'zstd', options: { runtime: { nativeZstd: false } } },
  { name: 'xz', encoding: 'xz', options: {} },
  { name: 'gzip', encoding: 'gzip', options: {} },
  { name: 'br', encoding: 'br', options: {} },
];

/** As `test/support/encodings.ts` spells it. */
export const compressionOf = (encoding: Encoding) => (encoding === 'identity' ? 'none' : encoding);
