// Reads the four spellings of a SHA-256 that Nix accepts in a narinfo (libutil/hash.cc, parseAnyPrefixed).

import { isSha256Hex } from '../core/digest.ts';
import { decodeNix32, isNix32Sha256 } from './nix32.ts';

/** `sha256:` with base 16, Nix's base 32 or base 64, or SRI's `sha256-`; as lower-case hex, or null. */
export const parseSha256 = (text: string): string | null => {
  const [, separator, value] = /^sha256([:-])(.+)$/.exec(text) ?? [];
  if (separator === undefined || value === undefined) return null;
  if (separator === ':' && isSha256Hex(value.toLowerCase())) return value.toLowerCase();
  if (separator === ':' && isNix32Sha256(value)) return decodeNix32(value)?.toString('hex') ?? null;
  if (!/^[A-Za-z0-9+/]{43}=$/.test(value)) return null;
  return Buffer.from(value, 'base64').toString('hex');
};
