// Bytes and numbers that depend on a seed alone, so that every run of a test sees the same content.

import { createHash } from 'node:crypto';

export type Seed = string | number;

/** A source of whole numbers in [0, 2^32) (mulberry32). */
export const seededNumbers = (seed: Seed): (() => number) => {
  let state = createHash('sha256').update(String(seed)).digest().readUInt32LE(0);
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
};

const words = (
  'store path closure derivation output builder narinfo substituter glibc bash coreutils ' +
  'lib bin share include pkgconfig .text .rodata .symtab GLIBC_2.34 __libc_start_main\n'
)
  .split(' ')
  .map((word) => Buffer.from(`${word} `));

/** Runs of words and runs of noise, half of each: an encoder takes off about a third, as with real NARs. */
export const seededBytes = (seed: Seed, sizeBytes: number): Buffer => {
  const next = seededNumbers(seed);
  const bytes = Buffer.allocUnsafe(sizeBytes);
  let at = 0;
  while (at < sizeBytes) {
    const end = Math.min(sizeBytes, at + 512 + (next() % 3584));
    const isNoise = next() % 2 === 0;
    while (at < end) {
      if (isNoise && end - at >= 4) at = bytes.writeUInt32LE(next(), at);
      else at += words[next() % words.length]?.copy(bytes, at, 0, end - at) ?? 0;
    }
  }
  return bytes;
};
