// A client that reports exactly what came over the wire and how it ended, and sends whatever it is told.

import { type Answer, parseAnswers } from './http-answer.ts';
import { HttpConnection, type RequestOptions } from './http-connection.ts';

/** One request on a connection of its own. Never rejects for what a server does: that is in `ended`. */
export const get = async (url: string | URL, options: RequestOptions = {}): Promise<Answer> => {
  const connection = new HttpConnection(url);
  try {
    return await connection.request(options);
  } finally {
    connection.close();
  }
};

export const put = (
  url: string | URL,
  body: NonNullable<RequestOptions['body']>,
  options: RequestOptions = {},
): Promise<Answer> => get(url, { method: 'PUT', body, ...options });

export interface RawAnswer {
  /** Everything that the connection delivered. */
  readonly bytes: Buffer;
  readonly answers: readonly Answer[];
  /** `open`: the server said nothing more for `quietMs`, and kept the connection. */
  readonly ended: 'fin' | 'reset' | 'open';
}

/**
 * Sends bytes as they are and listens until the server ends the connection or says nothing for `quietMs`, or for `firstMs`
 * before its first byte.
 * `methods` are those of the requests within, so that an answer to HEAD is read as one.
 */
export const sendRaw = async (
  url: string | URL,
  bytes: Buffer | string,
  {
    quietMs = 150,
    firstMs = quietMs,
    methods = [],
  }: { quietMs?: number; firstMs?: number; methods?: readonly string[] } = {},
): Promise<RawAnswer> => {
  const connection = new HttpConnection(url);
  const pieces: Buffer[] = [];
  let isQuiet = false;
  const onQuiet = () => {
    isQuiet = true;
    connection.close();
  };
  let quiet = setTimeout(onQuiet, firstMs);
  try {
    await connection.opened();
    await connection.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    let piece = await connection.reader.some();
    while (piece) {
      pieces.push(piece);
      clearTimeout(quiet);
      quiet = setTimeout(onQuiet, quietMs);
      piece = await connection.reader.some();
    }
  } finally {
    clearTimeout(quiet);
    connection.close();
  }
  const all = Buffer.concat(pieces);
  const ended = isQuiet ? 'open' : (connection.reader.ended ?? 'reset');
  return { bytes: all, answers: await parseAnswers(all, methods), ended };
};
