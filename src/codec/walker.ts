// Runs a walk over bytes that come in pieces, so that a format can be read as if it lay there whole.

/**
 * Reads a format: yields `next(n)` to be given n bytes as a number, or a positive number to pass over so many.
 * It runs on as soon as it can, so what it does after passing over bytes happens with the last of them.
 */
export type Walk<T = never> = Generator<number, T, number>;

/** 1 to 4 bytes, lowest first. */
export const next = (bytes: 1 | 2 | 3 | 4): number => -bytes;

export class Walker {
  readonly #walk: Walk;
  /** What the walk asked for last. */
  #asked: number;
  /** What is still to be passed over or to be read of it. */
  #left: number;
  #number = 0;
  #offset = 0;
  #failure: { readonly reason: unknown } | undefined;

  constructor(walk: (walker: Walker) => Walk) {
    this.#walk = walk(this);
    this.#asked = this.#step(0);
    this.#left = Math.abs(this.#asked);
  }

  /** Bytes walked so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Throws what the walk throws, then and ever after. */
  run(piece: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure.reason;
    for (let at = 0; at < piece.length; ) {
      const taken = Math.min(this.#left, piece.length - at);
      if (this.#asked < 0) this.#read(piece, at, taken);
      at += taken;
      this.#offset += taken;
      this.#left -= taken;
      if (this.#left > 0) return;
      this.#asked = this.#step(this.#number);
      this.#left = Math.abs(this.#asked);
      this.#number = 0;
    }
  }

  #read(piece: Uint8Array, at: number, bytes: number): void {
    const before = -this.#asked - this.#left;
    for (let i = 0; i < bytes; i += 1) {
      const byte = piece[at + i] as number; // `run` took no more than there is.
      this.#number += byte * 2 ** (8 * (before + i));
    }
  }

  #step(number: number): number {
    try {
      return this.#walk.next(number).value;
    } catch (reason) {
      this.#failure = { reason };
      throw reason;
    }
  }
}
