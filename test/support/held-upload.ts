// A server that takes the head of one upload, and its body only when it is told to: what waits between is the proxy's.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { framingOf, readBody, readHead } from './http-message.ts';
import type { Scope } from './real/scope.ts';
import { SocketReader } from './socket-reader.ts';

export interface HeldUpload {
  readonly url: string;
  readonly headCame: Promise<void>;
  /** The request's head as it came, and its body. */
  readonly received: Promise<{
    readonly headers: Readonly<Record<string, string>>;
    readonly bytes: number;
    readonly sha256: string;
  }>;
}

/** Answers 200 with `json` once the body is whole. Gone when the scope ends. */
export const startHeldUpload = async (scope: Scope, mayRead: Promise<void>, json: string): Promise<HeldUpload> => {
  const { promise: headCame, resolve: announceHead } = Promise.withResolvers<void>();
  const { promise: received, resolve: report } = Promise.withResolvers<Awaited<HeldUpload['received']>>();
  const take = async (socket: Socket): Promise<void> => {
    const reader = new SocketReader(socket);
    const head = await readHead(reader);
    if (head === null) return;
    reader.hold(true);
    announceHead();
    await mayRead;
    reader.hold(false);
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const piece of readBody(reader, framingOf(head, 'none'))) {
      bytes += piece.length;
      hash.update(piece);
    }
    report({ headers: head.headers, bytes, sha256: hash.digest('hex') });
    socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${json.length}\r\nConnection: close\r\n\r\n${json}`);
  };
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    take(socket).catch(() => socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has an address');
  return { url: `http://127.0.0.1:${address.port}`, headCame, received };
};
