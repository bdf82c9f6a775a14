// A form whose bytes are in memory: small, checked once, and then only handed out.

import type { Encoding } from '../core/claim.ts';
import type { Digest } from '../core/digest.ts';
import { type Form, MIB } from './form.ts';

/** What is known of a form besides its bytes. */
export interface FormFacts {
  readonly digest: Digest;
  readonly encoding: Encoding;
  readonly fileBytes: number;
  readonly fileHash: string;
}

export class MemoryForm implements Form {
  readonly digest: Digest;
  readonly encoding: Encoding;
  readonly fileBytes: number;
  readonly fileHash: string;
  readonly body: Buffer;

  /** `body` is all of it, was compared with `facts.fileHash`, and is nobody else's to change. */
  constructor(facts: FormFacts, body: Buffer) {
    this.digest = facts.digest;
    this.encoding = facts.encoding;
    this.fileBytes = facts.fileBytes;
    this.fileHash = facts.fileHash;
    this.body = body;
  }

  /** The memory is its own, and stays. */
  lend(start: number, end: number): AsyncGenerator<Buffer, void, void> {
    return this.read(start, end);
  }

  async *read(start: number, end: number): AsyncGenerator<Buffer, void, void> {
    checkRange(start, end, this.fileBytes);
    for (let at = start; at < end; at += MIB) yield this.body.subarray(at, Math.min(at + MIB, end));
  }
}

export const checkRange = (start: number, end: number, fileBytes: number): void => {
  if (!(start >= 0 && start <= end && end <= fileBytes))
    throw new RangeError(`[${start}, ${end}) of ${fileBytes} bytes`);
};
