// A process that downloads URLs at once and tells how long it took: `node download-client.ts [--stall|--verify] URL…`

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';

/*
 * A bare socket that reads into one buffer of its own, up to 1 MiB at a time, and looks at nothing behind the head: what
 * is measured is the server. With --stall it sends the request and never reads; with --verify it hashes the body too.
 */
const BUFFER_BYTES = 1024 * 1024;

export interface Download {
  readonly bytes: number;
  /** From the request to the first byte of the head. */
  readonly firstByteMs: number;
  /** From the request to the last byte of the body. */
  readonly lastByteMs: number;
  /** SHA-256 of the body, with --verify. */
  readonly sha256?: string;
}

const requestFor = (url: URL): string => `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`;

/** The body that follows, or an error when the head is none that a whole NAR has. */
const bodyBytes = (head: string, url: URL): number => {
  const [, length] = /^content-length: (\d+)\r$/im.exec(head) ?? [];
  if (!head.startsWith('HTTP/1.1 200 ') || length === undefined) throw new Error(`${url}: ${head}`);
  return Number(length);
};

const download = async (url: URL, isVerified: boolean): Promise<Download> => {
  const hash = isVerified ? createHash('sha256') : undefined;
  const { promise, resolve, reject } = Promise.withResolvers<Download>();
  const startedAt = performance.now();
  let firstByteMs = 0;
  let head = '';
  let left: number | undefined;
  let bytes = 0;
  const onPiece = (piece: Uint8Array): void => {
    if (firstByteMs === 0) firstByteMs = performance.now() - startedAt;
    let body = piece;
    if (left === undefined) {
      head += Buffer.from(piece).toString('latin1');
      const end = head.indexOf('\r\n\r\n') + 4;
      if (end < 4) return;
      body = piece.subarray(piece.length - (head.length - end));
      left = bytes = bodyBytes(head.slice(0, end), url);
    }
    hash?.update(body);
    left -= body.length;
    if (left > 0) return;
    const lastByteMs = performance.now() - startedAt;
    resolve({ bytes, firstByteMs, lastByteMs, ...(hash && { sha256: hash.digest('hex') }) });
  };
  const socket = connect({
    host: url.hostname,
    port: Number(url.port),
    onread: {
      buffer: Buffer.alloc(BUFFER_BYTES),
      callback: (length, buffer) => {
        try {
          onPiece(buffer.subarray(0, length));
        } catch (error) {
          reject(error);
        }
        return true;
      },
    },
  });
  socket.on('error', reject).on('close', () => reject(new Error(`${url}: ended before its length`)));
  socket.write(requestFor(url));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
};

const stall = async (url: URL): Promise<void> => {
  const socket = connect({ host: url.hostname, port: Number(url.port) }).pause();
  socket.write(requestFor(url));
  await once(socket, 'close');
  throw new Error(`${url}: cut while nobody read`);
};

const options = process.argv.slice(2).filter((word) => word.startsWith('--'));
const urls = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const start = (url: string) =>
  options.includes('--stall') ? stall(new URL(url)) : download(new URL(url), options.includes('--verify'));
console.log(JSON.stringify(await Promise.all(urls.map(start))));
