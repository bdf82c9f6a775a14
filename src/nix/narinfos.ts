// Gives the narinfo of a path to whoever may read it: the record while it is fresh, else the upstream's word, else the record.

import type { Clock } from '../core/clock.ts';
import { type Access, type Credentials, LAST_CHECK_MS } from '../store/access.ts';
import { fetchText, type TextAnswer, type TextPorts } from './fetch-text.ts';
import { type NarUrl, resolveNarUrl } from './nar-url.ts';
import { isNarinfo, type Narinfo, type NarinfoFault, parseNarinfo } from './narinfo.ts';
import type { NarinfoRecord, NarinfoRecords } from './narinfo-records.ts';
import type { Patience } from './patience.ts';
import { isSignedBy, type TrustedKeys } from './signature.ts';
import { isSaidPublic } from './visibility.ts';

export type NarinfoAnswer =
  | { readonly kind: 'narinfo'; readonly narinfo: Narinfo; readonly url: NarUrl; readonly record: NarinfoRecord }
  | { readonly kind: 'absent' | 'denied' | 'unavailable' };

export interface NarinfoPorts {
  readonly clock: Clock;
  readonly text: TextPorts;
  readonly patience: Patience;
  readonly access: Access;
  readonly records: NarinfoRecords;
  readonly freshMs: number;
  /** Null: any signature, or none, is the client's own business. */
  readonly trustedKeys: TrustedKeys | null;
  onFault(cache: string, storeHash: string, fault: NarinfoFault): void;
}

type Read = { readonly narinfo: Narinfo; readonly url: NarUrl } | NarinfoFault;

/** Thousands of references fit. */
const MAX_NARINFO_BYTES = 1024 * 1024;

export class Narinfos {
  readonly #ports: NarinfoPorts;
  readonly #asking = new Map<string, Promise<NarinfoAnswer>>();
  /** What records say, read once while they are in memory: reading takes longer than answering. */
  readonly #reads = new WeakMap<NarinfoRecord, Read>();

  constructor(ports: NarinfoPorts) {
    this.#ports = ports;
  }

  async get(cache: string, storeHash: string, credentials: Credentials): Promise<NarinfoAnswer> {
    const record = await this.#ports.records.find(cache, storeHash);
    if (record !== undefined && record.text !== null && this.#isFresh(record)) {
      const mayRead = await this.#ports.access.mayRead(cache, credentials);
      if (mayRead === 'yes') return this.#answer(cache, storeHash, record);
      if (mayRead === 'no') return { kind: 'denied' };
    }
    return await this.revalidated(cache, storeHash, credentials);
  }

  /** The upstream's word, one request for all who ask with the same credentials; the record if it can't be had. */
  revalidated(cache: string, storeHash: string, credentials: Credentials): Promise<NarinfoAnswer> {
    const key = `${cache}\n${storeHash}\n${credentials.key}`;
    const running = this.#asking.get(key);
    if (running !== undefined) return running;
    const asking = this.#ask(cache, storeHash, credentials).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  #isFresh(record: NarinfoRecord): boolean {
    const age = this.#ports.clock.now() - record.seenAt;
    return age >= 0 && age < this.#ports.freshMs;
  }

  async #ask(cache: string, storeHash: string, credentials: Credentials): Promise<NarinfoAnswer> {
    const { text, patience, access, records } = this.#ports;
    const target = `${cache === '' ? '' : `${cache}/`}${storeHash}.narinfo`;
    const request = { target, credentials: credentials.value, maxBytes: MAX_NARINFO_BYTES };
    const answer = await patience.untilAnswered((withinMs) => fetchText(text, { ...request, withinMs }));
    switch (answer.kind) {
      case 'text':
        return await this.#accept(cache, storeHash, credentials, answer);
      case 'absent':
        await records.gone(cache, storeHash);
        return { kind: 'absent' };
      case 'denied':
        access.refused(cache, credentials);
        return { kind: 'denied' };
      case 'unavailable':
        return await this.#fallBack(cache, storeHash, credentials);
    }
  }

  async #accept(
    cache: string,
    storeHash: string,
    credentials: Credentials,
    answer: TextAnswer & { kind: 'text' },
  ): Promise<NarinfoAnswer> {
    const read = this.#read(cache, storeHash, answer.text);
    if (!('narinfo' in read)) {
      this.#ports.onFault(cache, storeHash, read);
      return { kind: 'absent' };
    }
    // Not before it was read: a log-in page with status 200 is shown to those who may not.
    this.#ports.access.accepted(cache, credentials, isSaidPublic(answer.headers));
    const record = await this.#ports.records.put(cache, storeHash, read.narinfo, read.url.clientUrl);
    this.#reads.set(record, read);
    return { kind: 'narinfo', ...read, record };
  }

  async #fallBack(cache: string, storeHash: string, credentials: Credentials): Promise<NarinfoAnswer> {
    // Whoever may not read gets one answer, whether there is a record or not: it would tell what the cache holds.
    if ((await this.#ports.access.mayRead(cache, credentials, LAST_CHECK_MS)) !== 'yes') return { kind: 'denied' };
    const record = await this.#ports.records.find(cache, storeHash);
    if (record === undefined || record.text === null) return { kind: 'unavailable' };
    return this.#answer(cache, storeHash, record);
  }

  #answer(cache: string, storeHash: string, record: NarinfoRecord): NarinfoAnswer {
    const read = this.#reads.get(record) ?? this.#read(cache, storeHash, record.text ?? '');
    this.#reads.set(record, read);
    return 'narinfo' in read ? { kind: 'narinfo', ...read, record } : { kind: 'absent' };
  }

  /** What every answer must pass, also a record from before the configuration changed. */
  #read(cache: string, storeHash: string, text: string): Read {
    const narinfo = parseNarinfo(text, storeHash);
    if (!isNarinfo(narinfo)) return narinfo;
    const url = resolveNarUrl(this.#ports.text.upstream, cache, storeHash, narinfo.url);
    if (url === null) return { kind: 'unprovable', detail: 'URL leads off the upstream' };
    const { trustedKeys } = this.#ports;
    if (trustedKeys === null || narinfo.isContentAddressed || isSignedBy(narinfo, trustedKeys)) return { narinfo, url };
    return { kind: 'unprovable', detail: 'signed by none of nix.trustedKeys' };
  }
}
