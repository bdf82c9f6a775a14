// What stands behind the body in a form's file: whose bytes they are, and the hash of each MiB, under a checksum.

import { hash } from 'node:crypto';
import type { Encoding } from '../core/claim.ts';
import { type Digest, isSha256Hex } from '../core/digest.ts';
import { MIB } from './form.ts';
import { isEncoding } from './form-name.ts';

export interface Footer {
  readonly digest: Digest;
  readonly encoding: Encoding;
  readonly fileBytes: number;
  readonly fileHash: string;
  /** The SHA-256 of each MiB of the encoded body, 32 bytes each, one after the other; the last MiB may be short. */
  readonly mibHashes: Buffer;
}

/*
 * FORMAT 1, from the end of the file:
 *    8 bytes  "CLNMISS1"
 *   32 bytes  SHA-256 of all that stands before it in the footer
 *    4 bytes  number of MiB hashes n, big-endian
 *    4 bytes  length of the JSON j, big-endian
 *    j bytes  JSON: {"sha256","sizeBytes","encoding","fileBytes","fileHash"}
 * 32*n bytes  MiB hashes
 * then, at the start of the file, fileBytes bytes of body: offsets in body and file are the same.
 */
const magic = Buffer.from('CLNMISS1', 'latin1');
const HASH_BYTES = 32;
export const TRAILER_BYTES = 4 + 4 + HASH_BYTES + magic.length;
/** Two hashes, two 16-digit numbers, an encoding and the names are 270 bytes. */
const MAX_JSON_BYTES = 1024;

export const encodeFooter = (footer: Footer): Buffer => {
  const { digest, encoding, fileBytes, fileHash, mibHashes } = footer;
  const json = Buffer.from(JSON.stringify({ ...digest, encoding, fileBytes, fileHash }));
  const counts = Buffer.alloc(8);
  counts.writeUInt32BE(json.length, 0);
  counts.writeUInt32BE(mibHashes.length / HASH_BYTES, 4);
  const summed = Buffer.concat([mibHashes, json, counts]);
  return Buffer.concat([summed, hash('sha256', summed, 'buffer'), magic]);
};

/** How long the footer is that ends in `tail`, the last TRAILER_BYTES or more of a file of `diskBytes`. */
export const footerBytes = (tail: Buffer, diskBytes: number): number | undefined => {
  const trailer = tail.subarray(-TRAILER_BYTES);
  if (trailer.length < TRAILER_BYTES || !trailer.subarray(-magic.length).equals(magic)) return undefined;
  const jsonBytes = trailer.readUInt32BE(0);
  const mibs = trailer.readUInt32BE(4);
  // Both counts may have rotted: a footer of gigabytes would be out of memory's reach, and the form unreadable for ever.
  if (jsonBytes > MAX_JSON_BYTES || mibs > Math.ceil(diskBytes / MIB)) return undefined;
  const bytes = mibs * HASH_BYTES + jsonBytes + TRAILER_BYTES;
  return bytes > diskBytes ? undefined : bytes;
};

/** `footer` as `footerBytes` measured it. Undefined when it is not what this file must have. */
export const parseFooter = (footer: Buffer, diskBytes: number): Footer | undefined => {
  const hashEnd = footer.length - magic.length;
  const summed = footer.subarray(0, hashEnd - HASH_BYTES);
  if (!hash('sha256', summed, 'buffer').equals(footer.subarray(hashEnd - HASH_BYTES, hashEnd))) return undefined;
  const jsonBytes = summed.readUInt32BE(summed.length - 8);
  const jsonEnd = summed.length - 8;
  const fields = parseFields(summed.toString('utf8', jsonEnd - jsonBytes, jsonEnd));
  if (fields === undefined || fields.fileBytes !== diskBytes - footer.length) return undefined;
  // A copy: the slice would keep whatever else was read with it.
  const mibHashes = Buffer.from(summed.subarray(0, jsonEnd - jsonBytes));
  if (mibHashes.length !== Math.ceil(fields.fileBytes / MIB) * HASH_BYTES) return undefined;
  return { ...fields, mibHashes };
};

const parseFields = (json: string): Omit<Footer, 'mibHashes'> | undefined => {
  try {
    const { sha256, sizeBytes, encoding, fileBytes, fileHash } = JSON.parse(json);
    const isRight =
      isHash(sha256) && isHash(fileHash) && isSize(sizeBytes) && isSize(fileBytes) && typeof encoding === 'string';
    if (!isRight || !isEncoding(encoding)) return undefined;
    return { digest: { sha256, sizeBytes }, encoding, fileBytes, fileHash };
  } catch {
    return undefined;
  }
};

const isHash = (value: unknown): value is string => typeof value === 'string' && isSha256Hex(value);
const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

/** The recorded hash of one MiB. */
export const mibHash = (footer: Footer, index: number): Buffer =>
  footer.mibHashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
