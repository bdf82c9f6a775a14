// An upstream that answers over raw TCP with recorded or made-up bytes, and ends each connection exactly as told.

import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { atticWireNames, loadAtticWire, wireBytes } from './attic-wire.ts';
import { framingOf, type Head, readBody, readHead } from './http-message.ts';
import type { Scope } from './real/scope.ts';
import { SocketReader, WireError } from './socket-reader.ts';

export interface Reply {
  /** Of these, HEAD is answered with the head alone. */
  readonly bytes: Buffer;
  /** After the bytes. `open`: nothing; the next request on the connection is answered, and one that waits for more waits for ever. */
  readonly end: 'fin' | 'reset' | 'open';
}

export interface ReplayedRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Gives the name of a capture, or a reply. It may wait: nothing is sent before. */
export type Route = (
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
) => string | Reply | Promise<string | Reply>;

/**
 * A capture as a reply. `keepAlive`: without its `connection: close`, on a connection that stays. `leadTo`: the origin
 * (`http://host:port`) that a recorded redirect shall lead to; its path and query stay.
 */
export const replayed = (
  name: string,
  { keepAlive = false, leadTo }: { readonly keepAlive?: boolean; readonly leadTo?: string } = {},
): Reply => {
  const capture = loadAtticWire(name);
  const bytes = wireBytes(capture);
  let head = capture.head.toString('latin1');
  if (keepAlive) head = head.replace(/^connection: close\r\n/im, '');
  if (leadTo !== undefined) head = head.replace(/^(location: )https?:\/\/[^/]+/im, (_, name) => `${name}${leadTo}`);
  return {
    bytes: Buffer.concat([Buffer.from(head, 'latin1'), bytes.subarray(capture.head.length)]),
    end: keepAlive ? 'open' : 'fin',
  };
};

/** A made-up answer with a Content-Length, of its body or of a longer one, and `connection: close`. */
export const answer = (
  status: number,
  body: Buffer | string = '',
  { lengthBytes = Buffer.byteLength(body), end = 'fin' }: { lengthBytes?: number; end?: Reply['end'] } = {},
): Reply => {
  const head = `HTTP/1.1 ${status} x\r\ncontent-length: ${lengthBytes}\r\nconnection: close\r\n\r\n`;
  return { bytes: Buffer.concat([Buffer.from(head), Buffer.from(body)]), end };
};

/**
 * Every path that was recorded from a healthy cache `lab` of one compression; all else is absent. Redirects lead back here.
 * Each compression had its own atticd and key; only zstd's is on record, in `attic-cache-info`.
 */
export const healthyAttic = (compression: 'zstd' | 'xz' | 'none' | 'br'): Route => {
  const names = atticWireNames().filter((name) => name.startsWith('na') && name.includes(`-${compression}-`));
  const byRequest = new Map([...names, 'nix-cache-info-public'].map((name) => [loadAtticWire(name).request[0], name]));
  return (method, path, headers) => {
    const name = byRequest.get(`${method === 'HEAD' ? 'GET' : method} ${path} HTTP/1.1`);
    return replayed(name ?? 'e404-nosuchobject-narinfo', { leadTo: `http://${headers['host']}` });
  };
};

export interface AtticReplay {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  /** Every request whose head and body came, in order. */
  readonly requests: readonly ReplayedRequest[];
  /** Ends every connection at once, and listens no more. */
  close(): Promise<void>;
}

const bodyOf = async (socket: Socket, reader: SocketReader, head: Head): Promise<Buffer> => {
  if (head.headers['expect']?.toLowerCase() === '100-continue') socket.write('HTTP/1.1 100 Continue\r\n\r\n');
  return Buffer.concat(await Array.fromAsync(readBody(reader, framingOf(head, 'none'))));
};

const send = async (socket: Socket, { bytes, end }: Reply): Promise<void> => {
  await new Promise<void>((resolve) => {
    socket.once('close', resolve);
    socket.write(bytes, () => resolve());
  });
  if (end === 'fin') socket.end();
  if (end === 'reset') socket.resetAndDestroy();
};

/** One connection: request after request, until a reply ends it or the client does. */
const serve = async (socket: Socket, route: Route, requests: ReplayedRequest[]): Promise<void> => {
  const reader = new SocketReader(socket);
  for (let isOpen = true; isOpen; ) {
    const head = await readHead(reader);
    if (!head) return;
    const [method = '', path = ''] = head.start.split(' ');
    requests.push({ method, path, headers: head.headers, body: await bodyOf(socket, reader, head) });
    const chosen = await route(method, path, head.headers);
    const { bytes, end } = typeof chosen === 'string' ? replayed(chosen) : chosen;
    const headEnd = method === 'HEAD' ? bytes.indexOf('\r\n\r\n') : -1;
    await send(socket, { bytes: headEnd < 0 ? bytes : bytes.subarray(0, headEnd + 4), end });
    isOpen = end === 'open';
  }
};

/** Listens from the moment it resolves; gone when the scope ends. */
export const startAtticReplay = async (scope: Scope, route: Route): Promise<AtticReplay> => {
  const requests: ReplayedRequest[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.setNoDelay(true).once('close', () => sockets.delete(socket));
    serve(socket, route, requests).catch((error: unknown) => {
      socket.destroy();
      if (error instanceof WireError && error.fault === 'cut') return; // The client left in the middle.
      // A route that throws, or a request that is no HTTP, fails the test.
      setImmediate(() => {
        throw error;
      });
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has an address');
  const close = async () => {
    if (server.listening) server.close();
    for (const socket of sockets) socket.destroy();
  };
  scope.teardown(close);
  return { url: `http://127.0.0.1:${address.port}`, port: address.port, requests, close };
};
