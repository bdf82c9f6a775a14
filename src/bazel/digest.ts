// Reads digests off the wire: SHA-256 of decoded bytes and their number, or a refusal that says what is wrong.

import { type Digest, isSha256Hex } from '../core/digest.ts';
import { invalid } from './call-error.ts';

/** SHA-256 of no bytes: a blob that every cache has. */
const EMPTY: Digest = {
  sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  sizeBytes: 0,
};

export const isEmpty = ({ sizeBytes }: Digest): boolean => sizeBytes === 0;

/** `build.bazel.remote.execution.v2.DigestFunction.Value`; 0 leaves it to the length of the hash. */
const SHA256 = 1;
const FUNCTIONS = [
  '',
  'SHA256',
  'SHA1',
  'MD5',
  'VSO',
  'SHA384',
  'SHA512',
  'MURMUR3',
  'SHA256TREE',
  'BLAKE3',
  'GITSHA1',
];

/** Throws INVALID_ARGUMENT, naming the function, where it is not SHA-256. */
export const requireSha256 = (digestFunction: number): void => {
  if (digestFunction === 0 || digestFunction === SHA256) return;
  const name = FUNCTIONS[digestFunction] ?? `number ${digestFunction}`;
  throw invalid(`digest function ${name} is not served here: use SHA256`);
};

/** Throws INVALID_ARGUMENT with what is wrong. */
export const readDigest = (
  wire: { readonly hash: string; readonly sizeBytes: number | bigint } | undefined,
): Digest => {
  if (wire === undefined) throw invalid('a digest is missing');
  const sizeBytes = Number(wire.sizeBytes);
  if (!isSha256Hex(wire.hash)) throw invalid('a hash must be 64 lower-case hex digits, the SHA-256 of the blob');
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw invalid('a size must be a number of bytes from 0');
  if (sizeBytes === 0 && wire.hash !== EMPTY.sha256)
    throw invalid('a blob of size 0 must have the SHA-256 of no bytes');
  return { sha256: wire.hash, sizeBytes };
};
