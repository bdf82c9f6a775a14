// Writes the canaries, once: one in each bucket, all of one store.

import { createHash } from 'node:crypto';
import { said } from './answer.ts';
import { canaryBytes, canaryKey } from './canary-bytes.ts';
import { askForCanary, askToPut } from './probes.ts';
import type { S3Store } from './s3-store.ts';
import type { Baseline } from './state.ts';

const LIMIT_MS = 5_000;

export interface CanaryOptions {
  readonly store: S3Store;
  readonly buckets: readonly string[];
  readonly canaryPrefix: string;
  /** As the last report said; null: there was none, and canaries that are there name it. */
  readonly storeId: string | null;
  /** For a store that has no name yet: letters, digits, hyphens. */
  readonly newStoreId: () => string;
}

export interface Canary {
  readonly bucket: string;
  readonly key: string;
  readonly sha256: string;
  /** `foreign`: something else lies there, which we do not overwrite. */
  readonly result: 'written' | 'kept' | 'foreign' | 'failed';
  /** Of a `failed` or `foreign` one. */
  readonly reason: string | null;
}

export interface CanaryReport {
  readonly storeId: string;
  readonly canaries: readonly Canary[];
}

/** Never overwrites, never makes a bucket: an "ensure bucket" is what shadows a lost one. */
export const initCanaries = async (options: CanaryOptions): Promise<CanaryReport> => {
  const { store, buckets, canaryPrefix } = options;
  const key = canaryKey(canaryPrefix);
  const found = await Promise.all(buckets.map((bucket) => store.ask(askForCanary(bucket, key, LIMIT_MS))));
  const named = found.flatMap(({ outcome }) => (outcome.kind === 'canary' ? (outcome.storeId ?? []) : []));
  const storeId = options.storeId ?? named[0] ?? options.newStoreId();
  const canaries: Canary[] = [];
  // One after the other: two small writes that hang at once are what RustFS loses its index by.
  for (const answer of found) {
    const bucket = answer.bucket ?? '';
    const bytes = canaryBytes(storeId, bucket);
    const base = { bucket, key, sha256: createHash('sha256').update(bytes).digest('hex') };
    const add = (result: Canary['result'], reason: string | null = null) => canaries.push({ ...base, result, reason });
    const word = said(answer);
    if (answer.outcome.kind === 'canary') {
      if (answer.outcome.storeId === storeId) add('kept');
      else add('foreign', `it is a canary of the store ${answer.outcome.storeId}`);
    } else if (word === 'BODY_BROKEN' && answer.code === null) {
      add('foreign', 'other bytes lie there');
    } else if (word !== 'NO_KEY') {
      add('failed', answer.code ?? word);
    } else {
      const put = await store.ask(askToPut('put-proof', bucket, key, bytes, LIMIT_MS));
      const isPut = said(put) === 'OK';
      const got = isPut ? await store.ask(askForCanary(bucket, key, LIMIT_MS)) : put;
      if (isPut && got.outcome.kind === 'canary' && got.outcome.storeId === storeId) add('written');
      else add('failed', got.code ?? said(got));
    }
  }
  return { storeId, canaries };
};

/** What a watch is to remember of it: from its first round on, the loss of one of these is seen. */
export const rememberedBy = ({ storeId, canaries }: CanaryReport): Baseline => ({
  storeId,
  canaries: canaries.flatMap(({ result, bucket }) => (result === 'written' || result === 'kept' ? bucket : [])),
  listed: [],
});
