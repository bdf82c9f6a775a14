// What a client may be given of a blob: all of it, right; or NOT_FOUND with at least one decoded byte missing.

import { constants, createZstdDecompress } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import type { Test } from 'tap';
import type { ReadAnswer } from './reapi-client.ts';

export type Encoding = 'identity' | 'zstd';

/** `either`: what arrived may do, and may not. A code: the upstream's own refusal. */
export type Expected = 'bytes' | 'miss' | 'either' | number;

export const ENCODINGS: readonly Encoding[] = ['identity', 'zstd'];

/** As far as any decoder gets: what is broken or cut behind it is not its matter. */
export const decodable = async (bytes: Buffer, encoding: Encoding): Promise<Buffer> => {
  if (encoding === 'identity') return bytes;
  const pieces: Buffer[] = [];
  const decoder = createZstdDecompress({ finishFlush: constants.ZSTD_e_flush });
  decoder.end(bytes);
  try {
    for await (const piece of decoder) pieces.push(piece as Buffer);
  } catch {
    // So far, and no further.
  }
  return Buffer.concat(pieces);
};

export const checkRead = async (
  t: Test,
  answer: ReadAnswer,
  blob: Buffer,
  { encoding, expected, name }: { readonly encoding: Encoding; readonly expected: Expected; readonly name: string },
): Promise<void> => {
  const { code, details } = answer;
  const decoded = await decodable(answer.bytes, encoding);
  if (expected === 'bytes' || (expected === 'either' && code === status.OK)) {
    t.equal(code, status.OK, `${name}: OK, ${details}`);
    t.ok(decoded.equals(blob), `${name}: the bytes`);
    return;
  }
  const expectedCode = typeof expected === 'number' ? expected : status.NOT_FOUND;
  t.equal(code, expectedCode, `${name}: ${status[expectedCode]}, ${details}`);
  t.ok(decoded.length < blob.length, `${name}: ${decoded.length} of ${blob.length} bytes can be had`);
  t.ok(
    answer.messages.every((bytes) => bytes <= 2 * 1024 * 1024),
    `${name}: no message beyond 2 MiB`,
  );
};
