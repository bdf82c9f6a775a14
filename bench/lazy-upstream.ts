// An upstream process whose NARs lie nowhere: `node lazy-upstream.ts JSON`, the JSON as `LazyUpstreamOptions` says.

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import { lazyObject } from './lazy-nar.ts';

export interface LazyUpstreamOptions {
  readonly nars: readonly { readonly seed: string; readonly sizeBytes: number }[];
  /** Of each body, kept to within 10 ms from its first byte on, without a burst; null for as fast as it goes. */
  readonly bytesPerSecond: number | null;
}

const TICK_MS = 10;

/** 1 MiB at most with each tick of an unpaced body, so that the socket's buffer sets the pace. */
const SLICE_BYTES = 1024 * 1024;

async function* paced(pieces: Iterable<Buffer>, bytesPerSecond: number): AsyncGenerator<Buffer, void, void> {
  const startedAt = performance.now();
  let sent = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const due = Math.floor(((performance.now() - startedAt) / 1000) * bytesPerSecond) - sent;
      if (due <= 0) await after(TICK_MS);
      const slice = piece.subarray(at, at + Math.max(0, Math.min(due, SLICE_BYTES)));
      at += slice.length;
      sent += slice.length;
      if (slice.length > 0) yield slice;
    }
  }
}

const send = async (response: ServerResponse, pieces: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> => {
  for await (const piece of pieces) {
    if (response.destroyed) return;
    if (!response.write(piece)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
  }
  response.end();
};

const { nars, bytesPerSecond }: LazyUpstreamOptions = JSON.parse(process.argv[2] ?? '');
const objects = await Promise.all(nars.map(({ seed, sizeBytes }) => lazyObject(seed, sizeBytes)));
const server = createServer((request, response) => {
  const path = (request.url ?? '').slice(1).replace(/\?.*/, '');
  const object = objects.find(({ narPath, narinfoPath }) => path === narPath || path === narinfoPath);
  if (path === 'nix-cache-info') response.end('StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n');
  else if (object === undefined) response.writeHead(404).end();
  else if (path === object.narinfoPath) response.end(object.narinfo);
  else {
    response.writeHead(200, { 'content-length': object.encodedBytes });
    const pieces = object.encoded();
    void send(response, bytesPerSecond === null ? pieces : paced(pieces, bytesPerSecond));
  }
});
server.listen(0, '127.0.0.1', () => {
  // A listener on TCP has an address of this shape.
  const { port } = server.address() as AddressInfo;
  console.log(JSON.stringify({ url: `http://127.0.0.1:${port}`, narinfoPaths: objects.map((one) => one.narinfoPath) }));
});
