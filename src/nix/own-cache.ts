// Our own store as a binary cache: what was pushed here, while its bytes are here.

import type { Claim } from '../core/claim.ts';
import type { Obtainer } from '../proof/obtain.ts';
import type { Records } from '../store/records.ts';
import type { NixCache } from './cache.ts';
import { pinUrl } from './nar-url.ts';
import { encodingOf, isNarinfo, type Narinfo, parseNarinfo, withUrl } from './narinfo.ts';
import { findPromise, type NarinfoRecord, type NarinfoRecords, type Promised } from './narinfo-records.ts';
import type { NarAnswer } from './nars.ts';
import type { Pin } from './target.ts';

export interface OwnCachePorts {
  readonly records: NarinfoRecords;
  readonly infos: Records;
  readonly obtainer: Obtainer;
  readonly pinUrls: boolean;
}

/** Preferred to cache.nixos.org, whose own is 40. Without StoreDir any store may use it, until the first push says which. */
const DEFAULT_INFO = 'WantMassQuery: 1\nPriority: 30\n';

export const ownInfoKey = (cache: string): string => `own-cache-info\n${cache}`;

/** The claim that a promise makes; undefined for a compression that we no longer prove. */
export const promisedClaim = (cache: string, storeHash: string, promise: Promised): Claim | undefined => {
  const encoding = encodingOf(promise.compression);
  const digest = { sha256: promise.sha256, sizeBytes: promise.sizeBytes };
  return encoding === undefined ? undefined : { digest, encoding, place: { tenant: cache, path: storeHash } };
};

const ABSENT: NarAnswer = {
  obtained: { kind: 'absent' },
  mayRange: false,
  again: () => Promise.resolve({ kind: 'absent' }),
};

/** Only what its newest narinfo names stands under a plain URL; older promises have their pins. */
const promiseAt = ({ text, promised }: NarinfoRecord, url: string): Promised | undefined =>
  text?.split('\n').includes(`URL: ${url}`) ? promised[0] : undefined;

export const ownCache = ({ records, infos, obtainer, pinUrls }: OwnCachePorts): NixCache => {
  const heldNarinfo = async (cache: string, storeHash: string, record: NarinfoRecord): Promise<Narinfo | undefined> => {
    const narinfo = parseNarinfo(record.text ?? '', storeHash);
    if (!isNarinfo(narinfo)) return undefined;
    const claim = promisedClaim(cache, storeHash, { ...narinfo.nar, compression: narinfo.compression });
    return claim !== undefined && (await obtainer.held(claim)) !== undefined ? narinfo : undefined;
  };
  const nar = async (cache: string, url: string, pin: Pin | null): Promise<NarAnswer> => {
    const storeHash = await records.storeHashOf(cache, url);
    const record = storeHash === undefined ? undefined : await records.find(cache, storeHash);
    const promise = record && (pin === null ? promiseAt(record, url) : findPromise(record, pin));
    const claim =
      storeHash === undefined || promise === undefined ? undefined : promisedClaim(cache, storeHash, promise);
    if (claim === undefined) return ABSENT;
    const again = async () => {
      const form = await obtainer.held(claim);
      return form === undefined ? ({ kind: 'absent' } as const) : ({ kind: 'proven', form, source: 'hit' } as const);
    };
    const obtained = await again();
    return { obtained, mayRange: obtainer.mayResume(claim, obtained), again };
  };
  return {
    async cacheInfo(cache) {
      const text = await infos.get(ownInfoKey(cache));
      return { kind: 'text', text: typeof text === 'string' ? text : DEFAULT_INFO };
    },
    async narinfo(cache, storeHash) {
      const record = await records.find(cache, storeHash);
      const narinfo = record === undefined ? undefined : await heldNarinfo(cache, storeHash, record);
      if (narinfo === undefined) return { kind: 'absent' };
      return { kind: 'text', text: pinUrls ? withUrl(narinfo, pinUrl(narinfo.url, narinfo)) : narinfo.text };
    },
    nar,
  };
};
