// The name of a form, in maps and on disk: `<sha256>-<size>.<encoding>`, in one of 256 directories.

import { join } from 'node:path';
import type { Encoding } from '../core/claim.ts';
import { type Digest, digestKey } from '../core/digest.ts';

/** Every encoding, as a Record so that the compiler misses none. */
const known: Readonly<Record<Encoding, true>> = { identity: true, zstd: true, xz: true, gzip: true, br: true };

export const isEncoding = (text: string): text is Encoding => Object.hasOwn(known, text);

/** The keys of `known` are the encodings, by its type. */
export const encodings = Object.keys(known) as readonly Encoding[];

export const formName = (digest: Digest, encoding: Encoding): string => `${digestKey(digest)}.${encoding}`;

/** Sizes without leading zeros and below 10^16: what `formName` writes, and nothing else. */
const pattern = new RegExp(`^[0-9a-f]{64}-(0|[1-9][0-9]{0,15})\\.(${encodings.join('|')})$`);

export const isFormName = (text: string): boolean => pattern.test(text);

export const formPath = (formsDir: string, name: string): string => join(formsDir, name.slice(0, 2), name);
