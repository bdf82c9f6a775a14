// The part of lzma-native that we call: its native stream, below the Transform it wraps around it.

declare module 'lzma-native' {
  /** Calls `bufferHandler` on the loop thread: for each piece of output, for an end or error, and last with a count of pieces. */
  export class Stream {
    bufferHandler: (
      output: Buffer | null | undefined,
      takenPieces: number | undefined,
      error: Error | null | undefined,
    ) => void;
    streamDecoder(options: { memlimit: number; flags: number }): void;
    /** Queues one piece (copied at once) for the thread pool; null ends the input. */
    code(piece: Uint8Array | null, isAsync: boolean): void;
    /** Frees liblzma's memory; waits for a running `code`. */
    resetUnderlying(): void;
    setBufsize(bytes: number): number;
  }
  export function createStream(
    coder: 'easyEncoder' | 'streamEncoder',
    options: { preset?: number; filters?: readonly { id: string }[]; check?: number },
  ): import('node:stream').Transform;
}
