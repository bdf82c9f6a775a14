// Listings, logs and realisations of our own store, kept as they were put, byte for byte; Attic's API is not ours.

import { isUtf8 } from 'node:buffer';
import type { Records } from '../store/records.ts';
import type { Exchange } from './reads.ts';
import { sendMiss, sendText } from './send.ts';
import type { Target } from './target.ts';

/** A record is JSON of 4 MiB at most, and base 64 takes a third more than the bytes. */
export const MAX_EXTRA_BYTES = 3 * 2 ** 20 - 64 * 1024;

/** JSON carries text alone, and some of it at six times its length. */
type Extra = string | { readonly base64: string };

export const keepExtra = async (infos: Records, cache: string, url: string, bytes: Buffer): Promise<void> => {
  const base64 = bytes.toString('base64');
  const text = isUtf8(bytes) ? bytes.toString('utf8') : null;
  const extra: Extra = text !== null && JSON.stringify(text).length <= base64.length ? text : { base64 };
  await infos.put(extraKey(cache, url), extra);
};

export const ownExtras =
  (infos: Records) =>
  async (
    target: Target & { readonly kind: 'extra' | 'attic-api' | 'attic-cache-info' },
    { response }: Exchange,
  ): Promise<void> => {
    if (target.kind !== 'extra') return sendMiss(response);
    // Only keepExtra writes under these keys, and the store gives back nothing that was damaged.
    const extra = (await infos.get(extraKey(target.cache, target.url))) as Extra | undefined;
    if (extra === undefined) return sendMiss(response);
    sendText(response, 200, typeof extra === 'string' ? extra : Buffer.from(extra.base64, 'base64'));
  };

const extraKey = (cache: string, url: string): string => `extra\n${cache}\n${url}`;
