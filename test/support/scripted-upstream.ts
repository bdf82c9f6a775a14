// A Nix binary cache on a real TCP port that fails in every way it is told to, and records what it was asked and what it sent.

import { createServer, type Server, type Socket } from 'node:net';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { CacheObject } from './cache-object.ts';
import type { Fault } from './faults/when.ts';
import { readBody, readHead } from './http-message.ts';
import { SocketReader, WireError } from './socket-reader.ts';
import { carryOut } from './upstream-answer.ts';
import { type Exchange, exchangeOf } from './upstream-exchange.ts';
import { type Content, inMemory, type Plan } from './upstream-plan.ts';
import { type CacheShape, type Resource, UpstreamTable } from './upstream-table.ts';

export interface UpstreamOptions {
  /** Attic-shaped caches, each under `/<name>/`. Without any, one plain Nix cache lies at the root. */
  readonly caches?: readonly CacheShape[];
  /** PUTs are kept and served from then on; otherwise they are 405. */
  readonly acceptsUploads?: boolean;
  readonly clock?: Clock;
}

export interface Transfers {
  /** GETs of the path so far. */
  readonly total: number;
  readonly open: number;
  /** The most that were ever open at once. */
  readonly mostOpen: number;
  readonly complete: number;
}

/** What a write says when the client ended the connection under it. */
const isPeerGone = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && /^(EPIPE|ECONNRESET|ECANCELED)$/.test(String(error.code));

const keptUploadBytes = 16 * 1024 * 1024;

export class ScriptedUpstream {
  /** In order of arrival. */
  readonly requests: Exchange[] = [];
  readonly #table: UpstreamTable;
  readonly #clock: Clock;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #scripts: { readonly path: string | RegExp; readonly faults: readonly Fault[] }[] = [];
  readonly #mostOpen = new Map<string, number>();
  readonly #waiting = new Set<{ readonly isTrue: () => boolean; readonly resolve: () => void }>();
  readonly #mistakes: unknown[] = [];
  #port = 0;
  #connections = 0;

  /** Use `startUpstream`; whoever does so calls `close`. */
  constructor({ caches = [], acceptsUploads = false, clock = systemClock }: UpstreamOptions) {
    this.#table = new UpstreamTable(caches, acceptsUploads);
    this.#clock = clock;
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      this.#converse(socket, ++this.#connections).catch((error) => this.#mistakes.push(error));
    });
  }

  /** e.g. `http://127.0.0.1:4711`. */
  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Accepted so far. */
  get connections(): number {
    return this.#connections;
  }

  /** Where a client's substituter URL points. */
  url(cache?: string): string {
    return cache === undefined ? this.origin : `${this.origin}/${cache}`;
  }

  /** Holds the object's narinfo and NAR from now on. Returns their paths on this server. */
  add(
    object: CacheObject,
    options: { readonly cache?: string } & Partial<Pick<Plan, 'ranges' | 'etag' | 'framing'>> = {},
  ): { readonly narinfo: string; readonly nar: string } {
    return this.#table.add(object, options);
  }

  /** Any other resource, or any other content in place of one. */
  answer(path: string, resource: Partial<Omit<Resource, 'content'>> & { readonly content: Content | string }): void {
    const { content } = resource;
    const held = typeof content === 'string' ? inMemory(content) : content;
    this.#table.set(path, { ...resource, content: held });
  }

  remove(path: string): void {
    this.#table.delete(path);
  }

  /** From now on these faults, and no earlier ones, meet the requests for this path (without query), or the matching ones. */
  script(path: string | RegExp, ...faults: readonly Fault[]): void {
    const index = this.#scripts.findIndex((script) => String(script.path) === String(path));
    if (index >= 0) this.#scripts.splice(index, 1);
    if (faults.length > 0) this.#scripts.push({ path, faults });
  }

  transfers(path: string): Transfers {
    const gets = this.requests.filter((one) => one.method === 'GET' && one.path === path);
    return {
      total: gets.length,
      open: gets.filter((one) => one.ended === 'open').length,
      mostOpen: this.#mostOpen.get(path) ?? 0,
      complete: gets.filter((one) => one.ended === 'complete').length,
    };
  }

  /** Resolves as soon as it is true; looked at whenever a request comes, goes on or ends. */
  until(isTrue: () => boolean): Promise<void> {
    if (isTrue()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.add({ isTrue, resolve }));
  }

  /** So many requests for the path have come. */
  asked(path: string, count = 1): Promise<void> {
    return this.until(() => this.requests.filter((one) => one.path === path).length >= count);
  }

  idle(): Promise<void> {
    return this.until(() => this.requests.every((one) => one.ended !== 'open'));
  }

  /** Ends kept-alive connections, as servers do that have waited long enough. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Nothing listens any more, and every connection is gone: connects are refused. */
  async refuse(): Promise<void> {
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.dropConnections();
    });
  }

  /** Listens again, on the same port as before. */
  async comeBack(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#port, '127.0.0.1', () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    const address = this.#server.address();
    if (address && typeof address === 'object') this.#port = address.port;
  }

  /** Kills every socket and timer. Rejects with the first mistake in a script. */
  async close(): Promise<void> {
    await this.refuse();
    await this.idle();
    if (this.#mistakes.length > 0) throw this.#mistakes[0];
  }

  /** One connection, request by request. */
  async #converse(socket: Socket, connection: number): Promise<void> {
    const left = new AbortController();
    const reader = new SocketReader(socket);
    socket.once('end', () => left.abort()).once('close', () => left.abort());
    const wire = {
      socket,
      clock: this.#clock,
      gone: left.signal,
      onProgress: () => this.#changed(),
    };
    try {
      while (true) {
        const exchange = await this.#nextRequest(reader, connection);
        if (!exchange) return;
        try {
          const plan = await this.#plan(exchange);
          if (!plan.isEarly) await this.#readUpload(reader, socket, exchange);
          if (!(await carryOut(plan, exchange, wire))) return;
        } finally {
          if (exchange.ended === 'open') exchange.ended = 'gone';
          this.#changed();
        }
      }
    } catch (error) {
      if (error instanceof WireError && error.fault === 'malformed') {
        socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      } else if (!left.signal.aborted && !(error instanceof WireError) && !isPeerGone(error)) throw error;
    } finally {
      socket.destroySoon();
    }
  }

  async #nextRequest(reader: SocketReader, connection: number): Promise<Exchange | null> {
    const head = await readHead(reader);
    if (!head) return null;
    const exchange = exchangeOf(head, connection);
    this.requests.push(exchange);
    const { open, mostOpen } = this.transfers(exchange.path);
    this.#mostOpen.set(exchange.path, Math.max(open, mostOpen));
    this.#changed();
    return exchange;
  }

  async #plan(exchange: Exchange): Promise<Plan> {
    let plan = this.#table.plan(exchange);
    for (const { path, faults } of this.#scripts) {
      if (typeof path === 'string' ? path !== exchange.path : !path.test(exchange.path)) continue;
      for (const fault of faults) plan = await fault(plan, exchange, this.origin);
    }
    return plan;
  }

  async #readUpload(reader: SocketReader, socket: Socket, exchange: Exchange): Promise<void> {
    const framing = exchange.uploadFraming;
    const isAwaited = exchange.headers['expect']?.toLowerCase() === '100-continue';
    if (isAwaited && framing.kind !== 'none') socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    const pieces: Buffer[] = [];
    for await (const piece of readBody(reader, framing)) {
      exchange.uploadedBytes += piece.length;
      if (exchange.uploadedBytes <= keptUploadBytes) pieces.push(piece);
    }
    exchange.uploaded = Buffer.concat(pieces);
    this.#table.keepUpload(exchange);
  }

  #changed(): void {
    for (const one of this.#waiting) {
      if (!one.isTrue()) continue;
      this.#waiting.delete(one);
      one.resolve();
    }
  }
}

/** Listens on a free port of 127.0.0.1. */
export const startUpstream = async (options: UpstreamOptions = {}): Promise<ScriptedUpstream> => {
  const upstream = new ScriptedUpstream(options);
  await upstream.comeBack();
  return upstream;
};
