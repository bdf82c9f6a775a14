// Checks a narinfo's ed25519 signatures as Nix does, over path, NarHash, NarSize and references (path-info.cc).

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { Narinfo } from './narinfo.ts';
import { encodeNix32 } from './nix32.ts';

/** What stands before the 32 bytes in an ed25519 SubjectPublicKeyInfo (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

export type TrustedKeys = ReadonlyMap<string, KeyObject>;

/** Names and the 32 bytes of their keys. */
export const readTrustedKeys = (
  keys: ReadonlyArray<{ readonly name: string; readonly publicKey: Buffer }>,
): TrustedKeys =>
  new Map(
    keys.map(({ name, publicKey }) => {
      const der = Buffer.concat([SPKI_PREFIX, publicKey]);
      return [name, createPublicKey({ key: der, format: 'der', type: 'spki' })];
    }),
  );

const fingerprint = (narinfo: Narinfo): string => {
  const storeDir = narinfo.storePath.slice(0, narinfo.storePath.lastIndexOf('/') + 1);
  const references = narinfo.references.map((name) => storeDir + name).sort();
  const narHash = encodeNix32(Buffer.from(narinfo.nar.sha256, 'hex'));
  return `1;${narinfo.storePath};sha256:${narHash};${narinfo.nar.sizeBytes};${references.join(',')}`;
};

/** Whether one of `keys` signed it. */
export const isSignedBy = (narinfo: Narinfo, keys: TrustedKeys): boolean => {
  const signed = Buffer.from(fingerprint(narinfo));
  return narinfo.sigs.some((sig) => {
    const colon = sig.indexOf(':');
    const key = keys.get(sig.slice(0, colon));
    return key !== undefined && verify(null, signed, key, Buffer.from(sig.slice(colon + 1), 'base64'));
  });
};
