// Writes answers: a proven form, whole or a range of it, or a followed one; it takes nothing that is not proven.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Followed } from '../proof/follow.ts';
import { mended } from '../proof/mend.ts';
import type { Obtained } from '../proof/obtain.ts';
import type { ProvenForm } from '../store/form.ts';
import { type ByteRange, readRange } from './range.ts';

const NAR_HEADERS = { 'content-type': 'application/x-nix-nar', 'accept-ranges': 'bytes' };

export interface FormSend {
  readonly form: ProvenForm;
  /** False for a form that took another's place lately: a range would join what does not belong together. */
  readonly mayRange: boolean;
  refill(): Promise<Obtained>;
}

/** Resolves when the response has ended or its connection is gone. Rejects where no byte of it can be had: nothing has left then. */
export const sendForm = async (request: IncomingMessage, response: ServerResponse, send: FormSend): Promise<void> => {
  const { form } = send;
  const etag = `"${form.fileHash}"`;
  const ifRange = request.headers['if-range'];
  const wanted = ifRange !== undefined && ifRange !== etag ? undefined : request.headers.range;
  const answer = readRange(wanted, form.fileBytes);
  switch (answer.kind) {
    case 'malformed':
      return sendText(response, 400, 'Range must be one range of bytes, such as bytes=1024-\n');
    case 'outside':
      return sendMiss(response);
    case 'range':
      if (!send.mayRange) return sendMiss(response);
      return await sendBytes(request, response, send, answer.range, 206, {
        ...NAR_HEADERS,
        etag,
        'content-length': answer.range.end - answer.range.start,
        'content-range': `bytes ${answer.range.start}-${answer.range.end - 1}/${form.fileBytes}`,
      });
    case 'whole':
      return await sendBytes(request, response, send, { start: 0, end: form.fileBytes }, 200, {
        ...NAR_HEADERS,
        etag,
        'content-length': form.fileBytes,
      });
  }
};

/** Without a length: the last chunk is the only word that all was proven. */
export const sendFollowed = async (
  request: IncomingMessage,
  response: ServerResponse,
  followed: Followed,
): Promise<void> => {
  try {
    response.writeHead(200, NAR_HEADERS);
    if (request.method === 'HEAD') response.end();
    else await sendPieces(response, followed.bytes());
  } finally {
    followed.close();
  }
};

export const sendText = (
  response: ServerResponse,
  status: number,
  text: string | Buffer,
  headers: Record<string, string> = {},
): void => {
  response.writeHead(status, { 'content-type': 'text/plain', ...headers, 'content-length': Buffer.byteLength(text) });
  response.end(text);
};

/** The answer that every client takes for "this cache does not have it". */
export const sendMiss = (response: ServerResponse): void => sendText(response, 404, 'not in this cache\n');

const sendBytes = async (
  request: IncomingMessage,
  response: ServerResponse,
  { form, refill }: FormSend,
  { start, end }: ByteRange,
  status: number,
  headers: Headers,
): Promise<void> => {
  const isHead = request.method === 'HEAD';
  if (!isHead && form.body === undefined) {
    return await sendStream(response, status, headers, mended(form, start, end, refill));
  }
  response.writeHead(status, headers);
  response.end(isHead ? undefined : form.body?.subarray(start, end));
};

type Headers = Readonly<Record<string, string | number | string[]>>;

/** The head leaves with the first bytes: what fails before them rejects, and can be answered otherwise. Later, it cuts. */
export const sendStream = async (
  response: ServerResponse,
  status: number,
  headers: Headers,
  bytes: AsyncIterable<Buffer>,
): Promise<void> => {
  const pieces = bytes[Symbol.asyncIterator]();
  try {
    const first = await pieces.next();
    response.writeHead(status, headers);
    await sendPieces(response, begunWith(first, pieces));
  } finally {
    // Of a client that left before the second piece was asked for, nobody else ends the source.
    await pieces.return?.();
  }
};

async function* begunWith(
  first: IteratorResult<Buffer>,
  rest: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer, void, void> {
  if (first.done) return;
  yield first.value;
  yield* { [Symbol.asyncIterator]: () => rest };
}

/** Writes as fast as the client reads, and asks for no piece before the one before it is written. What the source throws destroys the connection, so that nothing looks complete. */
const sendPieces = async (response: ServerResponse, pieces: AsyncIterable<Buffer>): Promise<void> => {
  try {
    for await (const piece of pieces) {
      if (response.destroyed) return;
      if (!(await written(response, piece))) return;
    }
    response.end();
  } catch {
    cut(response);
  }
};

/** With a reset: to an HTTP/1.0 client a closed connection would be the end of a body. */
export const cut = (response: ServerResponse): void => {
  response.socket?.resetAndDestroy();
  response.destroy();
};

/** True once the kernel has it, and its memory is used no more; false when the connection went before. */
const written = (response: ServerResponse, piece: Buffer): Promise<boolean> =>
  new Promise((resolve) => {
    const onClose = () => resolve(false);
    response.once('close', onClose);
    response.write(piece, (error) => {
      response.off('close', onClose);
      resolve(!error);
    });
  });
