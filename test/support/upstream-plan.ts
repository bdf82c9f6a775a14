// What the scripted upstream is about to answer: a plain value, which faults change before it is carried out.

import type { Compression } from './encodings.ts';

export interface Content {
  /** Null when it is endless or not known beforehand. */
  readonly sizeBytes: number | null;
  /** Where its frames start. */
  readonly frames: readonly number[];
  readonly compression: Compression;
  /** From `start` on. */
  read(start: number): AsyncGenerator<Buffer, void, void>;
}

export type Source = Iterable<Buffer> | AsyncIterable<Buffer>;

type Described = Partial<Pick<Content, 'frames' | 'compression'>>;

/** Content that is never held: `open` begins it anew for every transfer. */
export const lazily = (
  open: () => Source,
  sizeBytes: number | null,
  { frames = [0], compression = 'none' }: Described = {},
): Content => ({
  sizeBytes,
  frames,
  compression,
  async *read(start) {
    let skip = start;
    for await (const piece of open()) {
      if (piece.length > skip) yield piece.subarray(skip);
      skip = Math.max(0, skip - piece.length);
    }
  },
});

export const inMemory = (bytes: Buffer | string, described: Described = {}): Content => {
  const buffer = Buffer.from(bytes as Buffer); // Both types of the union are taken; no overload says so.
  return {
    frames: [0],
    compression: 'none',
    ...described,
    sizeBytes: buffer.length,
    async *read(start) {
      if (start < buffer.length) yield buffer.subarray(start);
    },
  };
};

export const collect = async (content: Content): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(content.read(0)));

/** Counted from 0; the frame after the last starts at the end. */
export const frameStart = ({ frames, sizeBytes }: Content, index: number): number => {
  const start = frames[index] ?? (index === frames.length ? sizeBytes : null);
  if (start === null) throw new Error(`The content has no frame ${index}`);
  return start;
};
export const frameMiddle = (content: Content, index: number): number =>
  Math.floor((frameStart(content, index) + frameStart(content, index + 1)) / 2);

export type Framing = 'chunked' | 'length' | 'close';

/** Where and how an answer stops before its end. Offsets count body bytes of this answer, or of the whole object. */
export interface Stop {
  readonly at: 'before-head' | { readonly byte: number; readonly of: 'answer' | 'object' };
  readonly how: 'fin' | 'reset' | 'silence';
}

export interface Plan {
  readonly status: number;
  /** Besides those that framing, ranges and date bring. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly content: Content;
  readonly framing: Framing;
  /** Answers single ranges, with If-Range against `etag`. */
  readonly ranges: boolean;
  readonly etag: string | null;
  /** Added to where a 206 really starts: a server that sends other bytes than it says. */
  readonly rangeShift: number;
  /** What Content-Length claims, where it is not the truth. */
  readonly declaredBytes: number | null;
  /** Answers before the request's body was read, and reads no more. */
  readonly isEarly: boolean;
  readonly delayMs: number;
  readonly pace: { readonly bytesPerSecond: number; readonly pieceBytes: number } | null;
  /** Waits for a promise: before the head, or after so many body bytes. */
  readonly holds: readonly { readonly at: 'head' | number; readonly until: Promise<unknown> }[];
  readonly stop: Stop | null;
  /** The chunk that starts at or after this body byte gets a size line that is none. */
  readonly badChunkAt: number | null;
  /** Sent instead of everything, then the connection is closed. */
  readonly raw: Buffer | null;
}

export const plainPlan = (content: Content, status = 200, framing: Framing = 'length'): Plan => ({
  status,
  headers: [],
  content,
  framing,
  ranges: false,
  etag: null,
  rangeShift: 0,
  declaredBytes: null,
  isEarly: false,
  delayMs: 0,
  pace: null,
  holds: [],
  stop: null,
  badChunkAt: null,
  raw: null,
});
