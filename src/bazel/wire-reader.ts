// Walks one protobuf message in a Buffer without copying: bounded by it, and every byte that breaks the format is an error.

import { isAscii, isUtf8 } from 'node:buffer';
import { type Blame, CleanmissError } from '../core/errors.ts';

/** Bytes that are no message. To blame is whoever sent it: the client for a request, the upstream for a response. */
export class MalformedMessage extends CleanmissError {
  constructor(blame: Blame, message: string) {
    super('MALFORMED_MESSAGE', blame, message);
  }
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const GROUP_START = 3;
const GROUP_END = 4;
const FIXED32 = 5;

/** Nobody has written groups since 2008; one inside the other is an attack on the skipper. */
const maxGroupDepth = 32;

/** 64 bits, 7 a byte. */
const maxVarintBytes = 10;

/** 49 bits: as far as sums of products are exact without a look, as 2^53 is the limit. */
const exactVarintBytes = 7;

export class WireReader {
  readonly #bytes: Buffer;
  readonly #blame: Blame;
  #at = 0;
  /** Of the innermost message that is open. */
  #end: number;
  /** Set by `next`. */
  #wireType = VARINT;

  /** `bytes` are lent: what `bytes()` returns is a view of them. */
  constructor(bytes: Buffer, blame: Blame) {
    this.#bytes = bytes;
    this.#blame = blame;
    this.#end = bytes.length;
  }

  /** The number of the next field, or 0 at the message's end. Then exactly one of the other methods takes its value. */
  next(): number {
    if (this.#at === this.#end) return 0;
    const tag = this.#varint();
    if (tag < 8 || tag > 0xffff_ffff) this.fail(`tag ${tag}`);
    this.#wireType = tag & 7;
    return tag >>> 3;
  }

  /** Each is false where the field came with another wire type: it is unknown then, and `skip` passes over it. */
  get isVarint(): boolean {
    return this.#wireType === VARINT;
  }

  get isBytes(): boolean {
    return this.#wireType === BYTES;
  }

  /** An int64 that a number holds. */
  int64(): number {
    const value = this.#varint();
    if (!Number.isSafeInteger(value)) this.fail('an integer past 2^53');
    return value;
  }

  /** An int32 or enum: as every protobuf reader does, the lower 32 bits of whatever was written. */
  int32(): number {
    const at = this.#at;
    const value = this.#varint();
    return Number.isSafeInteger(value) ? value | 0 : Number(BigInt.asIntN(32, this.#longVarint(at)));
  }

  bool(): boolean {
    return this.#varint() !== 0;
  }

  bytes(): Buffer {
    const length = this.#length();
    const start = this.#at;
    this.#at += length;
    return this.#bytes.subarray(start, this.#at);
  }

  string(): string {
    const bytes = this.bytes();
    if (isAscii(bytes)) return bytes.toString('latin1');
    if (!isUtf8(bytes)) this.fail('text that is not UTF-8');
    return bytes.toString();
  }

  /** Goes into the message that the field holds. Returns what `leave` needs once `next` said 0. */
  enter(): number {
    const length = this.#length();
    const outer = this.#end;
    this.#end = this.#at + length;
    return outer;
  }

  leave(outer: number): void {
    this.#end = outer;
  }

  /** Passes over the field that `next` named. */
  skip(field: number): void {
    if (this.#wireType !== GROUP_START) return this.#skipScalar();
    const open = [field];
    while (open.length > 0) {
      const inner = this.next();
      if (inner === 0) this.fail('a group without end');
      if (this.#wireType === GROUP_START) {
        if (open.push(inner) > maxGroupDepth) this.fail(`groups ${open.length} deep`);
      } else if (this.#wireType !== GROUP_END) this.#skipScalar();
      else if (open.pop() !== inner) this.fail('groups that overlap');
    }
  }

  fail(what: string): never {
    throw new MalformedMessage(this.#blame, `malformed protobuf message: ${what} before byte ${this.#at}`);
  }

  #skipScalar(): void {
    switch (this.#wireType) {
      case VARINT:
        this.#varint();
        return;
      case FIXED64:
        return this.#pass(8);
      case BYTES:
        return this.#pass(this.#length());
      case FIXED32:
        return this.#pass(4);
      default:
        this.fail(`wire type ${this.#wireType}`);
    }
  }

  #pass(count: number): void {
    if (count > this.#end - this.#at) this.fail('the end');
    this.#at += count;
  }

  #length(): number {
    const length = this.#varint();
    if (length < 0 || length > this.#end - this.#at) this.fail(`a length of ${length} past the end`);
    return length;
  }

  /** Signed, as int64. Exact up to 2^53, and past that not a safe integer. */
  #varint(): number {
    const start = this.#at;
    let value = 0;
    let scale = 1;
    for (let count = 0; count < exactVarintBytes; count += 1) {
      if (this.#at === this.#end) this.fail('the end');
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    return Number(this.#longVarint(start));
  }

  #longVarint(start: number): bigint {
    this.#at = start;
    let value = 0n;
    for (let count = 0; count < maxVarintBytes; count += 1) {
      if (this.#at === this.#end) this.fail('the end');
      const byte = this.#bytes[this.#at++] as number;
      value |= BigInt(byte & 0x7f) << BigInt(7 * count);
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    return this.fail(`an integer of more than ${maxVarintBytes} bytes`);
  }
}
