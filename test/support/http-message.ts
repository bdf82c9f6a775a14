// The parts of HTTP/1.1 that a test's server and client share: heads, and bodies by their framing (RFC 9112).

import { type SocketReader, WireError } from './socket-reader.ts';

export interface Head {
  /** Request line or status line. */
  readonly start: string;
  readonly rawHeaders: readonly (readonly [name: string, value: string])[];
  /** By lower-case name; repeated ones joined with ", ". */
  readonly headers: Readonly<Record<string, string>>;
}

export type BodyFraming =
  | { readonly kind: 'none' | 'chunked' | 'close' }
  | { readonly kind: 'length'; readonly sizeBytes: number };

const parseHead = (text: string): Head => {
  const [start = '', ...lines] = text.split('\r\n').filter((line) => line !== '');
  const headers: Record<string, string> = {};
  const rawHeaders = lines.map((line): readonly [string, string] => {
    const colon = line.indexOf(':');
    if (colon < 1) throw new WireError('malformed', `header line ${JSON.stringify(line)}`);
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).trim();
    const key = name.toLowerCase();
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value;
    return [name, value];
  });
  return { start, rawHeaders, headers };
};

/** Null if the connection ended before a head began. */
export const readHead = async (reader: SocketReader): Promise<Head | null> => {
  const text = await reader.until('\r\n\r\n');
  return text === null ? null : parseHead(text);
};

/** What the headers say. A `Transfer-Encoding` wins over a `Content-Length`; with neither, it is `otherwise`. */
export const framingOf = (head: Head, otherwise: 'none' | 'close'): BodyFraming => {
  const coding = head.headers['transfer-encoding'];
  if (coding !== undefined) {
    if (/(^|,)\s*chunked$/i.test(coding)) return { kind: 'chunked' };
    throw new WireError('malformed', `Transfer-Encoding: ${coding}`);
  }
  const length = head.headers['content-length'];
  if (length === undefined) return { kind: otherwise };
  if (!/^\d+$/.test(length)) throw new WireError('malformed', `Content-Length: ${length}`);
  return { kind: 'length', sizeBytes: Number(length) };
};

async function* exactly(reader: SocketReader, sizeBytes: number): AsyncGenerator<Buffer> {
  for (let left = sizeBytes; left > 0; ) {
    const piece = await reader.some(left);
    if (!piece) throw new WireError('cut', `${left} of ${sizeBytes} bytes did not come`);
    left -= piece.length;
    yield piece;
  }
}

async function* chunks(reader: SocketReader): AsyncGenerator<Buffer> {
  while (true) {
    const line = await reader.until('\r\n', 1024);
    if (line === null) throw new WireError('cut', 'no last chunk');
    const size = /^([0-9a-f]{1,12})[ \t]*(;.*)?\r\n$/i.exec(line)?.[1];
    if (size === undefined) throw new WireError('malformed', `chunk size ${JSON.stringify(line)}`);
    const sizeBytes = Number.parseInt(size, 16);
    if (sizeBytes === 0) break;
    yield* exactly(reader, sizeBytes);
    const end = await reader.until('\r\n', 2);
    if (end === null) throw new WireError('cut', 'no last chunk');
    if (end !== '\r\n') throw new WireError('malformed', `after a chunk: ${JSON.stringify(end)}`);
  }
  // Trailer lines, up to the empty one.
  while (true) {
    const line = await reader.until('\r\n');
    if (line === null) throw new WireError('cut', 'no end after the last chunk');
    if (line === '\r\n') return;
  }
}

/** The body's pieces. Returns only when the framing says that it is whole; throws a WireError otherwise. */
export async function* readBody(reader: SocketReader, framing: BodyFraming): AsyncGenerator<Buffer, void, void> {
  switch (framing.kind) {
    case 'none':
      return;
    case 'length':
      return yield* exactly(reader, framing.sizeBytes);
    case 'chunked':
      return yield* chunks(reader);
    case 'close': {
      let piece = await reader.some();
      while (piece) {
        yield piece;
        piece = await reader.some();
      }
    }
  }
}
