// Holds a body against its digest while it streams in, and refutes it at the first byte too many.

import type { Encoding } from '../core/claim.ts';
import type { Digest, NamedDigest } from '../core/digest.ts';
import type { DecodeError } from '../core/errors.ts';
import { type Failure, type RefutedReason, unavailable } from '../core/verdict.ts';
import { Meter, type MeterFault } from './meter.ts';

/** Decoded bytes that a body may have whose size nobody named. */
const UNNAMED_SIZE_BOUND = 16 * 2 ** 30;

export type Proof = { readonly kind: 'proven'; readonly digest: Digest; readonly fileHash: string } | Failure;

export class Prover {
  readonly #digest: NamedDigest;
  readonly #meter: Meter;

  /** Whoever makes one closes it, on every path. */
  constructor(digest: NamedDigest, encoding: Encoding) {
    this.#digest = digest;
    this.#meter = new Meter(encoding, digest.sizeBytes ?? UNNAMED_SIZE_BOUND);
  }

  /** Encoded bytes that the decoder has taken, all of which matched a right stream so far. */
  get encodedBytes(): number {
    return this.#meter.encodedBytes;
  }

  get bytesBeforeLastFrame(): number {
    return this.#meter.bytesBeforeLastFrame;
  }

  /**
   * Whether every decoded byte is here, right or wrong, though the encoded stream may not have ended. Where nobody named
   * the size, only the end of the transfer says so.
   */
  isFull(hasEnded: boolean): boolean {
    const { sizeBytes } = this.#digest;
    return sizeBytes === null ? hasEnded && this.encodedBytes > 0 : this.#meter.decodedBytes === sizeBytes;
  }

  /** SHA-256 of the encoded bytes taken: what the prefix of a second transfer must have. */
  prefixHash(): string {
    return this.#meter.encodedHash();
  }

  /** Takes the next encoded bytes; answers with a failure as soon as they can't belong to the digest. */
  async take(encoded: Buffer): Promise<Failure | null> {
    const fault = await this.#meter.take(encoded);
    return fault === null ? null : this.#failure(fault);
  }

  /** Says that the transfer ended, cleanly or not, and gives the verdict. Nothing may be taken after it. */
  async finish(): Promise<Proof> {
    if (this.#meter.encodedBytes === 0) return unavailable('empty');
    const fault = await this.#meter.end();
    if (fault !== null) return this.#failure(fault);
    const { sha256, sizeBytes } = this.#digest;
    if (sizeBytes !== null && this.#meter.decodedBytes < sizeBytes) return unavailable('short');
    const found = this.#meter.decodedHash();
    if (found !== sha256) return this.#refuted('hash', found);
    return { kind: 'proven', digest: { sha256, sizeBytes: this.#meter.decodedBytes }, fileHash: this.prefixHash() };
  }

  /** What a decoder before us said of the body. */
  refute({ fault, message }: DecodeError): Failure {
    return this.#failure({ kind: fault, detail: message });
  }

  close(): void {
    this.#meter.close();
  }

  #failure(fault: MeterFault): Failure {
    switch (fault.kind) {
      case 'incomplete':
        return unavailable('short');
      case 'bound':
        return unavailable('unprovable', fault.detail);
      case 'damaged':
        return this.#refuted('decode', null);
      case 'long':
      case 'trailing':
        return this.#refuted(fault.kind, null);
    }
  }

  #refuted(reason: RefutedReason, sha256: string | null): Failure {
    const { encodedBytes: atByte, decodedBytes: sizeBytes } = this.#meter;
    return { kind: 'refuted', reason, atByte, found: { sha256, sizeBytes } };
  }
}
