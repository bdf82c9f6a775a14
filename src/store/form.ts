// A form is one stored encoding of a digest: proven bytes, and the only thing that a front may send.

import type { Encoding } from '../core/claim.ts';
import type { Digest } from '../core/digest.ts';

/** Bodies up to this size are held and checked whole; larger ones MiB by MiB. Also the unit of rot detection. */
export const MIB = 1024 * 1024;

/** Only `proof/` and `store/` may put it on a value: the bytes behind it matched their digest. */
declare const proven: unique symbol;
export type Proven<T> = T & { readonly [proven]: true };

export interface Form {
  readonly digest: Digest;
  readonly encoding: Encoding;
  /** Length of the encoded bytes. */
  readonly fileBytes: number;
  /** SHA-256 of the encoded bytes, lower-case hex. For `identity` it is the digest's own. */
  readonly fileHash: string;
  /** All encoded bytes, checked, when they are at most one MiB: for answers that need no generator. Not to be changed. */
  readonly body?: Buffer;
  /**
   * Encoded bytes [start, end), in pieces of at most one MiB, each checked against its MiB's recorded hash before
   * it is yielded. Throws a CleanmissError with code ROT when the disk no longer holds what was proven (the form is
   * dropped from the store then), or does not give it (the form is not found for a minute). Whoever iterates either
   * finishes or calls `return`, which closes the file.
   */
  read(start: number, end: number): AsyncGenerator<Buffer, void, void>;
  /**
   * The same, but each piece is the reader's only until it asks for the next, which takes the memory away: whoever writes
   * it somewhere waits until it is written. With `read`, sending takes half as long again (bench, `--only stored`).
   */
  lend(start: number, end: number): AsyncGenerator<Buffer, void, void>;
}

export type ProvenForm = Proven<Form>;

/** Encoded bytes on their way to a verdict. Not proven: nothing here may be sent but through `proof/follow`. */
export interface Spool {
  /** Bytes appended so far. */
  readonly bytes: number;
  /**
   * Takes one piece. Resolves when there is room for more. Rejects with code DISK (full, broken, or the file system's
   * floor reached) or BUSY (all spools together hold their share of the store); the spool is useless then.
   */
  append(chunk: Buffer): Promise<void>;
  /** Bytes [start, end) of what was appended; at most one MiB a call. */
  read(start: number, end: number): Promise<Buffer>;
  /** Forgets every byte, and starts again. */
  reset(): Promise<void>;
  /** Releases memory and file. Idempotent. */
  discard(): Promise<void>;
}
