// Undoes a Content-Encoding that a proxy put around a body: clients must never see one on a NAR.

import type { Readable } from 'node:stream';
import { decode } from '../codec/decode.ts';
import type { Encoding } from '../core/claim.ts';
import type { HttpAnswer } from './http-upstream.ts';

const CODINGS: Readonly<Record<string, Encoding>> = { gzip: 'gzip', 'x-gzip': 'gzip', br: 'br', zstd: 'zstd' };

/** The body as it was before, streamed and no faster than it is read; null for a coding, or two, that we can't undo. */
export const undoContentCoding = (
  answer: Pick<HttpAnswer, 'headers' | 'body'>,
): { readonly bytes: AsyncIterable<Buffer>; readonly isCoded: boolean } | null => {
  const named = answer.headers['content-encoding'];
  if (named === undefined || named === '' || named === 'identity') return { bytes: answer.body, isCoded: false };
  const coding = typeof named === 'string' ? named.toLowerCase() : '';
  const encoding = Object.hasOwn(CODINGS, coding) ? CODINGS[coding] : undefined;
  return encoding === undefined ? null : { bytes: decodedBody(answer.body, encoding), isCoded: true };
};

async function* decodedBody(body: Readable, encoding: Encoding): AsyncGenerator<Buffer, void, void> {
  try {
    yield* decode(body, encoding);
  } finally {
    body.destroy();
  }
}
