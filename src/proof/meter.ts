// Decodes a body while it streams in, and measures it: how many bytes, which hash. It judges nothing.

import { createHash, type Hash } from 'node:crypto';
import type { Decoder, Sink } from '../codec/decoder.ts';
import { openDecoder } from '../codec/open.ts';
import type { FrameSpan } from '../codec/zstd-frames.ts';
import type { Encoding } from '../core/claim.ts';
import { DecodeError } from '../core/errors.ts';

/** What is wrong with the encoded bytes, whatever they were meant to be. `long`: they decode to more than the bound. */
export type MeterFault = { readonly kind: 'long' | DecodeError['fault']; readonly detail: string };

/** Thrown through the decoder when it yields more than the bound. */
class TooLong extends Error {}

/** Encoded bytes may exceed the decoded ones by an eighth and one MiB: no encoder in use comes near it. */
const encodedBound = (decodedBound: number): number => decodedBound + Math.floor(decodedBound / 8) + 2 ** 20;

export class Meter {
  readonly #encodedBound: number;
  readonly #decoder: Decoder;
  readonly #decodedHash: Hash = createHash('sha256');
  /** Null for identity, whose encoded bytes are the decoded ones. */
  readonly #encodedHash: Hash | null;
  #decodedBytes = 0;
  #encodedBytes = 0;
  /** Where the last zstd frame that decodes to anything begins. */
  #lastFrameStart = 0;

  /** Whoever makes one closes it, on every path. */
  constructor(encoding: Encoding, decodedBound: number) {
    const sink: Sink = (decoded) => {
      this.#decodedBytes += decoded.length;
      if (this.#decodedBytes > decodedBound) throw new TooLong();
      this.#decodedHash.update(decoded);
    };
    this.#encodedBound = encodedBound(decodedBound);
    this.#encodedHash = encoding === 'identity' ? null : createHash('sha256');
    const onFrame = ({ start, hasContent }: FrameSpan) => {
      if (hasContent) this.#lastFrameStart = start;
    };
    this.#decoder = openDecoder(encoding, sink, { keepsNothing: true, onFrame });
  }

  /** Encoded bytes that the decoder has taken. */
  get encodedBytes(): number {
    return this.#encodedBytes;
  }

  /**
   * Encoded bytes before the last whole zstd frame that decodes to anything: without it no decoder has every byte. Of other
   * encodings 0, but of identity all that came.
   */
  get bytesBeforeLastFrame(): number {
    return this.#encodedHash === null ? this.#encodedBytes : this.#lastFrameStart;
  }

  get decodedBytes(): number {
    return this.#decodedBytes;
  }

  /** SHA-256 of the decoded bytes so far, in hex. */
  decodedHash(): string {
    return this.#decodedHash.copy().digest('hex');
  }

  /** SHA-256 of the encoded bytes taken so far, in hex. */
  encodedHash(): string {
    return (this.#encodedHash ?? this.#decodedHash).copy().digest('hex');
  }

  async take(encoded: Buffer): Promise<MeterFault | null> {
    if (this.#encodedBytes + encoded.length > this.#encodedBound)
      return { kind: 'long', detail: 'more encoded bytes than any encoder writes' };
    const fault = await this.#guard(this.#decoder.write(encoded));
    if (fault !== null) return fault;
    this.#encodedHash?.update(encoded);
    this.#encodedBytes += encoded.length;
    return null;
  }

  /** Says that no more comes. Nothing may be taken after it. */
  end(): Promise<MeterFault | null> {
    return this.#guard(this.#decoder.end());
  }

  close(): void {
    this.#decoder.close();
  }

  async #guard(work: Promise<void>): Promise<MeterFault | null> {
    try {
      await work;
      return null;
    } catch (error) {
      if (error instanceof TooLong) return { kind: 'long', detail: 'it decodes to more than its size' };
      if (error instanceof DecodeError) return { kind: error.fault, detail: error.message };
      throw error;
    }
  }
}
