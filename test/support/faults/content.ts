// Faults in what arrives: well framed, and wrong. Offsets are the object's, also in answers to ranges.

import { gzipSync } from 'node:zlib';
import { endlessEmptyFrames, endlessSkippable as skippableFrames } from '../bombs.ts';
import { bombOf, encodePlainly } from '../encodings.ts';
import { seededBytes } from '../seeded.ts';
import { type Content, collect, frameMiddle, inMemory, lazily } from '../upstream-plan.ts';
import type { Fault } from './when.ts';

const sizeOf = (content: Content): number => {
  if (content.sizeBytes === null) throw new Error('The fault needs content of a known size');
  return content.sizeBytes;
};

/** Flips one bit of one byte. */
export const flip =
  (at: 'first' | 'middle' | 'last' | number): Fault =>
  (plan) => {
    const { content } = plan;
    const offsets = { first: 0, middle: sizeOf(content) >> 1, last: sizeOf(content) - 1 };
    const offset = typeof at === 'number' ? at : offsets[at];
    const read: Content['read'] = async function* (start) {
      let position = start;
      for await (const piece of content.read(start)) {
        const index = offset - position;
        position += piece.length;
        if (index < 0 || index >= piece.length) yield piece;
        else {
          const damaged = Buffer.from(piece);
          damaged[index] = (piece[index] ?? 0) ^ 1;
          yield damaged;
        }
      }
    };
    return { ...plan, content: { ...content, read } };
  };

/** Flips a bit in the middle of frame `index`. */
export const damageFrame =
  (index: number): Fault =>
  (plan, request, origin) =>
    flip(frameMiddle(plan.content, index))(plan, request, origin);

/** Ends well after `bytes`, with a Content-Length that says so. */
export const cleanShort =
  (bytes: number): Fault =>
  (plan) => {
    const { content } = plan;
    const read: Content['read'] = async function* (start) {
      let left = bytes - start;
      for await (const piece of content.read(start)) {
        if (left <= 0) return;
        yield piece.subarray(0, left);
        left -= piece.length;
      }
    };
    return { ...plan, content: { ...content, sizeBytes: bytes, read } };
  };

/** Other bytes follow, counted in the framing. */
export const trailing =
  (bytes: Buffer): Fault =>
  (plan) => {
    const { content } = plan;
    const size = sizeOf(content);
    const read: Content['read'] = async function* (start) {
      if (start < size) yield* content.read(start);
      yield bytes.subarray(Math.max(0, start - size));
    };
    return { ...plan, content: { ...content, sizeBytes: size + bytes.length, read } };
  };

/** Decodes to `extraBytes` more than promised: another frame, stream or member follows. */
export const tooLong =
  (extraBytes: number): Fault =>
  async (plan, request, origin) => {
    const extra = await encodePlainly(seededBytes('extra', extraBytes), plan.content.compression);
    return trailing(extra)(plan, request, origin);
  };

/** Decodes, in its own compression, to that many zeros. */
export const bomb =
  (decodedBytes = 3 * 1024 ** 3): Fault =>
  async (plan) => {
    const { compression } = plan.content;
    const content = inMemory(await bombOf(compression, decodedBytes), { compression });
    return { ...plan, content };
  };

/** Skippable frames without end (with a Content-Length of 1 TiB where the framing wants one). */
export const endlessSkippable = (): Fault => (plan) => ({
  ...plan,
  content: lazily(() => skippableFrames(), 1024 ** 4, { compression: 'zstd' }),
});

export const endlessEmpty = (): Fault => (plan) => ({
  ...plan,
  content: lazily(() => endlessEmptyFrames(), 1024 ** 4, { compression: 'zstd' }),
});

/** The body is gzipped once more, and says so. */
export const contentEncodingGzip = (): Fault => async (plan) => ({
  ...plan,
  content: inMemory(gzipSync(await collect(plan.content))),
  ranges: false,
  headers: [...plan.headers, ['Content-Encoding', 'gzip']],
});
