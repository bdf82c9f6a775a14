// Reads a narinfo as strictly as the strictest Nix, so that what we pass on is never an error in a client.

import { canDecode } from '../codec/open.ts';
import type { Encoding } from '../core/claim.ts';
import type { Digest } from '../core/digest.ts';
import { parseSha256 } from './hash.ts';

/** A well-formed narinfo for one path, whose body we can prove. */
export interface Narinfo {
  /** The text as it came; the signature covers parts of it. */
  readonly text: string;
  readonly storePath: string;
  /** As written: unresolved, unsigned. */
  readonly url: string;
  /** As written. */
  readonly compression: string;
  readonly encoding: Encoding;
  readonly nar: Digest;
  readonly fileHash: string | null;
  readonly fileSize: number | null;
  /** Base names. */
  readonly references: readonly string[];
  readonly sigs: readonly string[];
  readonly isContentAddressed: boolean;
}

export type NarinfoFault = { readonly kind: 'malformed' | 'unprovable' | 'other-path'; readonly detail: string };

/** Which encoding a `Compression` names; a missing field is bzip2, which like the rest we can't prove. */
const ENCODINGS: Readonly<Record<string, Encoding>> = {
  none: 'identity',
  zstd: 'zstd',
  xz: 'xz',
  gzip: 'gzip',
  br: 'br',
};

export const encodingOf = (compression: string): Encoding | undefined =>
  Object.hasOwn(ENCODINGS, compression) ? ENCODINGS[compression] : undefined;

/** Fields that stand once; two would be read differently by different versions. `Sig` alone may be repeated. */
const REPEATABLE = new Set(['Sig']);
const BASE_NAME = /^[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+\-._?=]{1,211}$/;
const SIG = /^[^\s:]+:[A-Za-z0-9+/]+={0,2}$/;
const CONTENT_ADDRESS = /^(text:|fixed:(r:|git:)?)(md5|sha1|sha256|sha512|blake3):[0-9A-Za-z+/=]+$/;

const malformed = (detail: string): NarinfoFault => ({ kind: 'malformed', detail });

/** Field by field: a name, a colon, a blank, a value to the end of the line; the last line ends too. */
const readFields = (text: string): Map<string, string[]> | NarinfoFault => {
  const fields = new Map<string, string[]>();
  if (!text.endsWith('\n')) return malformed('no final line end');
  for (const line of text.slice(0, -1).split('\n')) {
    const colon = line.indexOf(':');
    // Nix takes the value from two behind the colon: without the blank it would swallow the next line.
    if (colon <= 0 || line[colon + 1] !== ' ') return malformed('a line is not "Name: value"');
    if (/[\r\0]/.test(line)) return malformed('a control character');
    const name = line.slice(0, colon);
    const values = fields.get(name) ?? [];
    if (values.length > 0 && !REPEATABLE.has(name)) return malformed(`${name} stands twice`);
    fields.set(name, [...values, line.slice(colon + 2)]);
  }
  return fields;
};

/** Parses the narinfo that was asked for under `storeHash`. `canProve` says which encodings have a decoder here. */
export const parseNarinfo = (text: string, storeHash: string, canProve = canDecode): Narinfo | NarinfoFault => {
  const fields = readFields(text);
  if (!(fields instanceof Map)) return fields;
  const field = (name: string): string | undefined => fields.get(name)?.[0];

  const storePath = field('StorePath') ?? '';
  const slash = storePath.lastIndexOf('/');
  const baseName = storePath.slice(slash + 1);
  if (!storePath.startsWith('/') || slash < 1 || !BASE_NAME.test(baseName)) return malformed('StorePath');
  if (!baseName.startsWith(storeHash)) return { kind: 'other-path', detail: baseName };

  const url = field('URL') ?? '';
  if (url === '' || /\s/.test(url)) return malformed('URL');
  const sha256 = parseSha256(field('NarHash') ?? '');
  if (sha256 === null) return malformed('NarHash');
  const sizeBytes = parseSize(field('NarSize'));
  if (sizeBytes === null || sizeBytes === 0) return malformed('NarSize');
  const references = (field('References') ?? '').split(' ').filter((name) => name !== '');
  if (!references.every((name) => BASE_NAME.test(name))) return malformed('References');
  const sigs = fields.get('Sig') ?? [];
  if (!sigs.every((sig) => SIG.test(sig))) return malformed('Sig');
  const contentAddress = field('CA') ?? '';
  if (contentAddress !== '' && !CONTENT_ADDRESS.test(contentAddress)) return malformed('CA');

  const compression = field('Compression') ?? '';
  const encoding = encodingOf(compression);
  if (encoding === undefined || !canProve(encoding))
    return { kind: 'unprovable', detail: `Compression ${compression || '(missing)'}` };

  const fileHash = field('FileHash');
  return {
    text,
    storePath,
    url,
    compression,
    encoding,
    nar: { sha256, sizeBytes },
    fileHash: fileHash === undefined ? null : parseSha256(fileHash),
    fileSize: parseSize(field('FileSize')),
    references,
    sigs,
    isContentAddressed: contentAddress !== '',
  };
};

/** A whole number as Nix writes one, up to what a double counts exactly; null for anything else. */
const parseSize = (text: string | undefined): number | null => {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return null;
  const size = Number(text);
  return Number.isSafeInteger(size) ? size : null;
};

export const isNarinfo = (value: Narinfo | NarinfoFault): value is Narinfo => 'nar' in value;

/** The text with another URL, all else byte for byte: URL is not signed. */
export const withUrl = (narinfo: Narinfo, url: string): string =>
  narinfo.text.replace(/^URL: .*$/m, () => `URL: ${url}`);
