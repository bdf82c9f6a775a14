// Carries a plan out on a socket, to the byte, with backpressure, until it ends, is stopped, or the client is gone.

import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { type Clock, pause } from '../../src/core/clock.ts';
import { unreadBytes } from './unread-bytes.ts';
import type { Exchange } from './upstream-exchange.ts';
import { type Extent, extentOf } from './upstream-extent.ts';
import type { Plan, Stop } from './upstream-plan.ts';

export interface Wire {
  readonly socket: Socket;
  readonly clock: Clock;
  /** Aborted when the client ended the connection, or the upstream is being closed. */
  readonly gone: AbortSignal;
  /** Called after each piece. */
  readonly onProgress: () => void;
}

const maxPieceBytes = 64 * 1024;

/** Resolves when the kernel has taken the bytes; rejects when the connection is no more. */
const write = (socket: Socket, ...parts: readonly (Buffer | string)[]): Promise<void> =>
  new Promise((resolve, reject) => {
    if (!socket.writable) return reject(new Error('gone'));
    socket.cork();
    for (const part of parts.slice(0, -1)) socket.write(part);
    socket.write(parts.at(-1) ?? '', (error) => (error ? reject(error) : resolve()));
    socket.uncork();
  });

const orGone = (promise: Promise<unknown>, gone: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const leave = () => reject(new Error('gone'));
    if (gone.aborted) return leave();
    gone.addEventListener('abort', leave, { once: true });
    promise.then(() => {
      gone.removeEventListener('abort', leave);
      resolve();
    }, reject);
  });

/** RST throws away what the client has not read: give it the time to, but not for ever. */
const allRead = async (socket: Socket, gone: AbortSignal): Promise<void> => {
  const until = performance.now() + 10_000;
  while (!gone.aborted && unreadBytes(socket) > 0 && performance.now() < until) {
    await new Promise((resolve) => setImmediate(resolve));
  }
};

class Answering {
  readonly #plan: Plan;
  readonly #exchange: Exchange;
  readonly #wire: Wire;
  readonly #extent: Extent;
  readonly #framing: Plan['framing'];
  readonly #isLast: boolean;

  constructor(plan: Plan, exchange: Exchange, wire: Wire) {
    this.#plan = plan;
    this.#exchange = exchange;
    this.#wire = wire;
    this.#extent = extentOf(plan, exchange);
    const isOld = exchange.version === '1.0';
    const hasLength = plan.declaredBytes !== null || this.#extent.sizeBytes !== null;
    const framing = plan.framing === 'length' && !hasLength ? 'chunked' : plan.framing;
    this.#framing = framing === 'chunked' && isOld ? 'close' : framing;
    const connection = exchange.headers['connection']?.toLowerCase() ?? '';
    this.#isLast = this.#framing === 'close' || plan.isEarly || connection === 'close' || isOld;
  }

  /** True if the connection may carry another request. */
  async run(): Promise<boolean> {
    const { socket, clock, gone } = this.#wire;
    const { delayMs, holds, stop, raw } = this.#plan;
    if (delayMs > 0) await pause(clock, delayMs, gone);
    for (const hold of holds) if (hold.at === 'head') await orGone(hold.until, gone);
    if (gone.aborted) throw new Error('gone');
    if (stop?.at === 'before-head') return this.#stop(stop);
    if (raw) {
      await write(socket, raw);
      return this.#end(false);
    }
    this.#exchange.status = this.#extent.status;
    await write(socket, this.#head());
    if (this.#isBodiless()) return this.#end(!this.#isLast);
    await this.#body();
    if (stop) return this.#stop(stop);
    if (this.#framing === 'chunked') await write(socket, '0\r\n\r\n');
    return this.#end(!this.#isLast);
  }

  #isBodiless(): boolean {
    const { status } = this.#extent;
    return this.#exchange.method === 'HEAD' || status === 204 || status === 304;
  }

  #head(): string {
    const { status, headers, sizeBytes } = this.#extent;
    const length = this.#plan.declaredBytes ?? sizeBytes;
    const framing: Record<Plan['framing'], string[]> = {
      length: [`Content-Length: ${length}`],
      // An answer to HEAD is Attic's: neither length nor coding.
      chunked: this.#exchange.method === 'HEAD' ? [] : ['Transfer-Encoding: chunked'],
      close: [],
    };
    return [
      `HTTP/${this.#exchange.version} ${status} ${STATUS_CODES[status] ?? 'Scripted'}`,
      ...[...this.#plan.headers, ...headers].map(([name, value]) => `${name}: ${value}`),
      ...framing[this.#framing],
      ...(this.#isLast ? ['Connection: close'] : []),
      `Date: ${new Date(this.#wire.clock.now()).toUTCString()}`,
      '\r\n',
    ].join('\r\n');
  }

  /** Body bytes of this answer after which it stops. */
  #limit(): number {
    const at = this.#plan.stop?.at;
    if (!at || at === 'before-head') return Number.POSITIVE_INFINITY;
    return at.of === 'answer' ? at.byte : Math.max(0, at.byte - this.#extent.start);
  }

  async #body(): Promise<void> {
    const limit = this.#limit();
    const { socket } = this.#wire;
    const startedAt = this.#wire.clock.monotonic();
    for await (const piece of this.#pieces()) {
      const sent = this.#exchange.bodyBytesSent;
      if (sent >= limit) return;
      await this.#keepPace(startedAt, sent);
      // A piece that the limit divides is announced whole: the sender died in the middle of it.
      const kept = piece.subarray(0, limit - sent);
      if (this.#framing === 'chunked') {
        const isBad = this.#plan.badChunkAt !== null && sent >= this.#plan.badChunkAt;
        const size = isBad ? 'not a size' : piece.length.toString(16);
        await write(socket, `${size}\r\n`, kept, kept.length === piece.length ? '\r\n' : '');
      } else await write(socket, kept);
      this.#exchange.bodyBytesSent += kept.length;
      this.#wire.onProgress();
    }
  }

  /** The content's bytes of this extent, divided where a promise is to be waited for. */
  async *#pieces(): AsyncGenerator<Buffer, void, void> {
    const { start, sizeBytes } = this.#extent;
    const { content, pace, rangeShift } = this.#plan;
    const holds = this.#plan.holds.filter((hold) => hold.at !== 'head');
    const atMost = pace?.pieceBytes ?? maxPieceBytes;
    let position = 0;
    let left = sizeBytes ?? Number.POSITIVE_INFINITY;
    const from = start === 0 ? 0 : start + rangeShift;
    for await (const read of content.read(from)) {
      for (let rest = read.subarray(0, left); rest.length > 0; ) {
        let size = Math.min(atMost, rest.length);
        for (const hold of holds) {
          if (hold.at === position) await orGone(hold.until, this.#wire.gone);
          else if (Number(hold.at) > position) size = Math.min(size, Number(hold.at) - position);
        }
        yield rest.subarray(0, size);
        rest = rest.subarray(size);
        position += size;
        left -= size;
      }
      if (left <= 0) break;
    }
    // Everything is sent but the end of the framing.
    for (const hold of holds) if (Number(hold.at) >= position) await orGone(hold.until, this.#wire.gone);
  }

  async #keepPace(startedAt: number, sent: number): Promise<void> {
    const { pace } = this.#plan;
    const { clock, gone } = this.#wire;
    if (!pace) return;
    const waitMs = startedAt + (sent / pace.bytesPerSecond) * 1000 - clock.monotonic();
    if (waitMs > 0) await pause(clock, waitMs, gone);
  }

  async #stop({ how }: Stop): Promise<false> {
    const { socket, gone } = this.#wire;
    if (how === 'silence') await orGone(new Promise(() => {}), gone);
    this.#exchange.ended = 'cut';
    if (how === 'fin') socket.destroySoon();
    else {
      await allRead(socket, gone);
      socket.resetAndDestroy();
    }
    return false;
  }

  #end(isKept: boolean): boolean {
    this.#exchange.ended = 'complete';
    return isKept;
  }
}

/** True if the connection may carry another request. Rejects when the client is gone before the end. */
export const carryOut = (plan: Plan, exchange: Exchange, wire: Wire): Promise<boolean> =>
  new Answering(plan, exchange, wire).run();
