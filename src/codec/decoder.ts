// One interface over every decoder: pushed encoded bytes, it pushes decoded ones, and knows no end it was not told.

/** Takes decoded bytes at once. What it throws makes the `write` in progress reject, and stops the decoder. */
export type Sink = (decoded: Buffer) => void;

/** Whoever opens a decoder closes it, on every path. */
export interface Decoder {
  /**
   * Decodes one piece. Resolves when all of it was taken and every byte it yields went to the sink.
   * One `write` or `end` at a time. Rejects with a DecodeError, or with what the sink threw.
   */
  write(encoded: Uint8Array): Promise<void>;
  /** Says that no more will come. Rejects with a DecodeError (`incomplete`) if more was due. */
  end(): Promise<void>;
  /** Releases native handles and workers; at any time, more than once, also during a `write`, which then rejects. */
  close(): void;
}

/** A decoder whose sink may ask for a rest. */
export interface PacedDecoder extends Decoder {
  /** Asks for a rest: at most 4 MiB still reach the sink, and a `write` that has more to give waits. */
  pause(): void;
  /** Ends the rest; without one, does nothing. */
  resume(): void;
}

/**
 * What does the decoding, behind the guard that keeps the contract above. An engine may leave a promise
 * unsettled and call its sink once more after `close`; its sink never throws, its pieces are never empty.
 */
export type Engine = PacedDecoder;
