// Runs a walk over bytes that come in pieces, so that a format can be read as if it lay there whole.

/**
 * Reads a format: yields `nextByte` to be given one byte, or a positive number to pass over so many.
 * It runs on as soon as it can, so what it does after passing over bytes happens with the last of them.
 */
export type Walk<T = never> = Generator<number, T, number>;

export const nextByte = 0;

export class Walker {
  readonly #walk: Walk;
  #left: number;
  #offset = 0;
  #failure: { readonly reason: unknown } | undefined;

  constructor(walk: (walker: Walker) => Walk) {
    this.#walk = walk(this);
    this.#left = this.#step(0);
  }

  /** Bytes walked so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Throws what the walk throws, then and ever after. */
  run(piece: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure.reason;
    for (let at = 0; at < piece.length; ) {
      const passed = this.#left > 0 ? Math.min(this.#left, piece.length - at) : 1;
      const byte = piece[at] as number; // `at` is within the piece.
      at += passed;
      this.#offset += passed;
      this.#left = this.#left > passed ? this.#left - passed : this.#step(byte);
    }
  }

  #step(byte: number): number {
    try {
      return this.#walk.next(byte).value;
    } catch (reason) {
      this.#failure = { reason };
      throw reason;
    }
  }
}
