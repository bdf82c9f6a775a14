// The body of an upload, apart from its request: dropping it half read leaves a connection on which an answer can still go out.

import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Clock } from '../core/clock.ts';
import { CleanmissError, isCode } from '../core/errors.ts';
import { batches } from '../proof/batches.ts';
import { TransferWatch } from '../proof/watch.ts';
import { undoContentCoding } from './content-coding.ts';

/** Fails when the client's connection breaks off. */
export const uploadBody = (request: IncomingMessage): Readable =>
  Readable.from(piecesOf(request), { objectMode: false });

/** Not the request's own iterator: an error thrown into that one destroys the request. */
async function* piecesOf(request: IncomingMessage): AsyncGenerator<Buffer, void, void> {
  for await (const piece of request.iterator({ destroyOnReturn: false })) yield piece;
}

export interface SmallUploadLimits {
  readonly clock: Clock;
  /** Between two bytes; then the connection goes. */
  readonly idleMs: number;
  readonly maxBytes: number;
}

const wrong = (message: string) => new CleanmissError('WRONG_UPLOAD', 'client', message);

/** Reads a small one whole, its Content-Encoding undone. Throws WRONG_UPLOAD, or what broke the connection off. */
export const readUpload = async (
  request: IncomingMessage,
  { clock, idleMs, maxBytes }: SmallUploadLimits,
): Promise<Buffer> => {
  const content = undoContentCoding({ headers: request.headers, body: uploadBody(request) });
  if (content === null) throw wrong('the Content-Encoding is none of gzip, br and zstd');
  const watch = new TransferWatch(clock, { firstByteMs: idleMs, idleMs }, () => request.destroy());
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of batches(content.bytes, watch)) {
      bytes += piece.length;
      if (bytes > maxBytes) throw wrong(`the body is longer than ${maxBytes} bytes`);
      pieces.push(Buffer.from(piece));
    }
  } catch (error) {
    throw isCode(error, 'DECODE') ? wrong('the body is not in its Content-Encoding') : error;
  } finally {
    watch.close();
  }
  return Buffer.concat(pieces, bytes);
};
