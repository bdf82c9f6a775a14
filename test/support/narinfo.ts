// Builds narinfos as Nix, nix-serve and Attic write them, signed for real.

import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { nix32 } from './nix32.ts';
import type { Seed } from './seeded.ts';

export const storeDir = '/nix/store';

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The 32 characters that name a store path. */
export const storeHash = (seed: Seed): string => nix32(sha256(`store path ${seed}`).subarray(0, 20));

export type HashStyle = 'hex' | 'nix32' | 'base64' | 'sri';

/** A SHA-256 (64 hex digits) in one of the four spellings that Nix reads. Attic writes `hex`, Nix itself `nix32`. */
export const hashText = (sha256Hex: string, style: HashStyle): string => {
  const bytes = Buffer.from(sha256Hex, 'hex');
  switch (style) {
    case 'hex':
      return `sha256:${sha256Hex}`;
    case 'nix32':
      return `sha256:${nix32(bytes)}`;
    case 'base64':
      return `sha256:${bytes.toString('base64')}`;
    case 'sri':
      return `sha256-${bytes.toString('base64')}`;
  }
};

export interface NarinfoFields {
  readonly storePath: string;
  readonly url: string;
  /** Left out of the text when null: Nix then takes it for bzip2. */
  readonly compression: string | null;
  readonly fileHash?: string;
  readonly fileSize?: number;
  readonly narHash: string;
  readonly narSize: number;
  /** Base names, e.g. `<hash>-glibc-2.33`. */
  readonly references?: readonly string[];
  readonly deriver?: string;
  readonly sigs?: readonly string[];
  readonly ca?: string;
}

export const narinfoText = (fields: NarinfoFields): string => {
  const lines: [string, string | number | null | undefined][] = [
    ['StorePath', fields.storePath],
    ['URL', fields.url],
    ['Compression', fields.compression],
    ['FileHash', fields.fileHash],
    ['FileSize', fields.fileSize],
    ['NarHash', fields.narHash],
    ['NarSize', fields.narSize],
    // Without the blank after the colon, Nix takes the next line for the value.
    ['References', (fields.references ?? []).join(' ')],
    ['Deriver', fields.deriver],
    ...(fields.sigs ?? []).map((sig): [string, string] => ['Sig', sig]),
    ['CA', fields.ca],
  ];
  return lines
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${name}: ${value}\n`)
    .join('');
};

/** What Nix signs (libstore/path-info.cc, fingerprint): neither URL nor Compression nor the file's hash. */
export const fingerprint = (path: {
  readonly storePath: string;
  readonly narSha256: string;
  readonly narSize: number;
  readonly references?: readonly string[];
}): string => {
  const references = [...(path.references ?? [])].sort().map((name) => `${storeDir}/${name}`);
  const hash = hashText(path.narSha256, 'nix32');
  return `1;${path.storePath};${hash};${path.narSize};${references.join(',')}`;
};

export interface SigningKey {
  /** `<name>:<base64>`, as in `trusted-public-keys`. */
  readonly publicKey: string;
  /** `<name>:<base64>`, the value of a `Sig` line. */
  sign(fingerprint: string): string;
}

/** The key of a seed is always the same one. */
export const signingKey = (name: string, seed: Seed = name): SigningKey => {
  // RFC 8410: a PKCS #8 head, then the 32 secret bytes; an SPKI head of 12 bytes, then the 32 public ones.
  const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex');
  const der = Buffer.concat([pkcs8Head, sha256(`key ${seed}`)]);
  const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' });
  return {
    publicKey: `${name}:${spki.subarray(12).toString('base64')}`,
    sign: (text) => `${name}:${sign(null, Buffer.from(text), secret).toString('base64')}`,
  };
};
