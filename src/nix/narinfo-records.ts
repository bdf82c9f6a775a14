// Keeps each path's narinfo as last seen, and what was ever promised for it, over restarts.

import type { Clock } from '../core/clock.ts';
import type { Digest } from '../core/digest.ts';
import type { Records } from '../store/records.ts';
import type { Narinfo } from './narinfo.ts';

/** What a narinfo of this path once promised its body to be. */
export interface Promised {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly compression: string;
}

export interface NarinfoRecord {
  /** Null once the upstream said that it has the path no more: the promises stay. */
  readonly text: string | null;
  /** Milliseconds since 1970 at which the upstream last said so; 0 when it must be asked again. */
  readonly seenAt: number;
  /** The newest first. */
  readonly promised: readonly Promised[];
}

/** A client keeps a narinfo for 30 days; a path is pushed again with other content more rarely than that. */
const MAX_PROMISED = 8;

export class NarinfoRecords {
  readonly #records: Records;
  readonly #clock: Clock;

  constructor(records: Records, clock: Clock) {
    this.#records = records;
    this.#clock = clock;
  }

  async find(cache: string, storeHash: string): Promise<NarinfoRecord | undefined> {
    const value = await this.#records.get(recordKey(cache, storeHash));
    // Only this class writes under these keys, and the store gives back nothing that was damaged.
    return value as NarinfoRecord | undefined;
  }

  /** The store hash whose narinfo named this URL, relative to the cache. */
  async storeHashOf(cache: string, url: string): Promise<string | undefined> {
    const plain = /^nar\/([0-9a-df-np-sv-z]{32})\.nar(?:[?.]|$)/.exec(url)?.[1];
    const indexed = await this.#records.get(urlKey(cache, url));
    return typeof indexed === 'string' ? indexed : plain;
  }

  /** Which cache and relative URL a path is, that a narinfo named though it lies in no `nar/`. */
  async findUrl(path: string, query: string): Promise<{ readonly cache: string; readonly url: string } | undefined> {
    const value = await this.#records.get(pathKey(query === '' ? path : `${path}?${query}`));
    // Only this class writes under these keys, and the store gives back nothing that was damaged.
    return value as { cache: string; url: string } | undefined;
  }

  async put(cache: string, storeHash: string, narinfo: Narinfo, clientUrl: string): Promise<NarinfoRecord> {
    const before = await this.find(cache, storeHash);
    const promise: Promised = { ...narinfo.nar, compression: narinfo.compression };
    const older = (before?.promised ?? []).filter((other) => !isSamePromise(other, promise));
    const record: NarinfoRecord = {
      text: narinfo.text,
      seenAt: this.#clock.now(),
      promised: [promise, ...older].slice(0, MAX_PROMISED),
    };
    if (!clientUrl.startsWith(`nar/${storeHash}.nar`)) await this.#index(cache, clientUrl, storeHash);
    await this.#records.put(recordKey(cache, storeHash), record);
    return record;
  }

  /** The upstream has it no more. */
  async gone(cache: string, storeHash: string): Promise<void> {
    const before = await this.find(cache, storeHash);
    if (before === undefined) return;
    await this.#records.put(recordKey(cache, storeHash), { ...before, text: null, seenAt: this.#clock.now() });
  }

  /** Somebody wrote it: the next reader asks the upstream. */
  async outdate(cache: string, storeHash: string): Promise<void> {
    const before = await this.find(cache, storeHash);
    if (before !== undefined) await this.#records.put(recordKey(cache, storeHash), { ...before, seenAt: 0 });
  }

  async #index(cache: string, url: string, storeHash: string): Promise<void> {
    if ((await this.#records.get(urlKey(cache, url))) === storeHash) return;
    await this.#records.put(urlKey(cache, url), storeHash);
    const path = cache === '' ? url : `${cache}/${url}`;
    if (!/(^|\/)nar\//.test(path)) await this.#records.put(pathKey(path), { cache, url });
  }
}

/** The promise that a pinned URL of ours refers to. */
export const findPromise = (
  record: NarinfoRecord,
  pin: Pick<Promised, 'sha256' | 'compression'>,
): Promised | undefined =>
  record.promised.find((one) => one.sha256 === pin.sha256 && one.compression === pin.compression);

const isSamePromise = (a: Promised, b: Digest & { readonly compression: string }): boolean =>
  a.sha256 === b.sha256 && a.sizeBytes === b.sizeBytes && a.compression === b.compression;

const recordKey = (cache: string, storeHash: string): string => `narinfo\n${cache}\n${storeHash}`;
const pathKey = (path: string): string => `nar-path\n${path}`;
const urlKey = (cache: string, url: string): string => `nar-url\n${cache}\n${url}`;
