// Reads a socket by the piece, with backpressure, and tells how the other side ended it.

import type { Readable } from 'node:stream';

/** What is read ahead of the consumer before the socket is paused. */
const readAheadBytes = 256 * 1024;

/** The connection ended in the middle of something, or what came is no HTTP. */
export class WireError extends Error {
  override readonly name = 'WireError';
  readonly fault: 'cut' | 'malformed';

  constructor(fault: WireError['fault'], message: string) {
    super(message);
    this.fault = fault;
  }
}

export class SocketReader {
  readonly #socket: Readable;
  readonly #pieces: Buffer[] = [];
  #bufferedBytes = 0;
  #ended: 'fin' | 'reset' | null = null;
  #isHeld = false;
  #wake: (() => void) | null = null;

  constructor(socket: Readable) {
    this.#socket = socket;
    socket.on('data', (piece: Buffer) => {
      this.#pieces.push(piece);
      this.#bufferedBytes += piece.length;
      this.#flow();
      this.#wake?.();
    });
    socket.on('end', () => this.#end('fin'));
    socket.on('error', () => this.#end('reset'));
    socket.on('close', () => this.#end('reset'));
  }

  /** How the connection ended, once every byte before that was read; null while it goes on. */
  get ended(): 'fin' | 'reset' | null {
    return this.#bufferedBytes === 0 ? this.#ended : null;
  }

  /** Leaves bytes in the kernel, so that the sender comes to feel it. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#flow();
  }

  /** The next bytes, at most `atMost`; null at the end. */
  async some(atMost = Number.POSITIVE_INFINITY): Promise<Buffer | null> {
    while (this.#pieces.length === 0) {
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
    const piece = this.#pieces[0] as Buffer; // The loop has seen that there is one.
    if (piece.length > atMost) this.#pieces[0] = piece.subarray(atMost);
    else this.#pieces.shift();
    const taken = piece.subarray(0, Math.min(piece.length, atMost));
    this.#bufferedBytes -= taken.length;
    this.#flow();
    return taken;
  }

  /** Everything up to and with `mark`, as latin1; null if the connection ended before its first byte. */
  async until(mark: string, maxBytes = 64 * 1024): Promise<string | null> {
    let held: Buffer = Buffer.alloc(0);
    while (true) {
      const piece = await this.some();
      if (!piece) {
        if (held.length === 0) return null;
        throw new WireError('cut', `ended after ${JSON.stringify(held.toString('latin1', 0, 80))}`);
      }
      held = held.length === 0 ? piece : Buffer.concat([held, piece]);
      const found = held.indexOf(mark);
      if (found >= 0) {
        const end = found + mark.length;
        this.#unread(held.subarray(end));
        return held.toString('latin1', 0, end);
      }
      if (held.length > maxBytes) throw new WireError('malformed', 'no end of a line or head');
    }
  }

  #unread(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#pieces.unshift(bytes);
    this.#bufferedBytes += bytes.length;
  }

  #flow(): void {
    if (this.#isHeld || this.#bufferedBytes > readAheadBytes) this.#socket.pause();
    else this.#socket.resume();
  }

  #end(how: 'fin' | 'reset'): void {
    this.#ended ??= how;
    this.#wake?.();
  }
}
