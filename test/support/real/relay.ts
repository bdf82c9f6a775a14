// A TCP relay that cuts connections: the bad network between two parts that are sound.

import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Scope } from './scope.ts';

export interface Relay {
  /** `http://host:port`. */
  readonly url: string;
  /** How many connections came, and how many of them it cut. */
  readonly connections: number;
  readonly cuts: number;
}

export interface RelayOptions {
  /** `http://host:port`. */
  readonly to: string;
  /** Bytes towards the client after which connection `index` (from 0) is reset; null: never. */
  cutAfter(index: number): number | null;
}

/** Goes with the scope, and all its connections with it. */
export const startRelay = async (scope: Scope, { to, cutAfter }: RelayOptions): Promise<Relay> => {
  const target = new URL(to);
  const sockets = new Set<Socket>();
  const counted = { connections: 0, cuts: 0 };
  const server = createServer({ noDelay: true }, (client) => {
    const behind = connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    let left = cutAfter(counted.connections) ?? Number.POSITIVE_INFINITY;
    counted.connections += 1;
    const close = () => {
      client.destroy();
      behind.destroy();
    };
    for (const socket of [client, behind]) {
      sockets.add(socket);
      socket.once('close', () => {
        sockets.delete(socket);
        // What was written before is still on its way.
        client.destroySoon();
        behind.destroySoon();
      });
      socket.on('error', close);
    }
    client.on('data', (piece) => {
      if (!behind.write(piece)) client.pause();
    });
    behind.on('drain', () => client.resume());
    client.on('drain', () => behind.resume());
    behind.on('data', (piece: Buffer) => {
      if (left <= 0) return;
      const kept = piece.subarray(0, left);
      left -= piece.length;
      if (left > 0) {
        if (!client.write(kept)) behind.pause();
        return;
      }
      counted.cuts += 1;
      client.write(kept, close);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.teardown(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has an address');
  return {
    url: `http://127.0.0.1:${address.port}`,
    get connections() {
      return counted.connections;
    },
    get cuts() {
      return counted.cuts;
    },
  };
};
