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
