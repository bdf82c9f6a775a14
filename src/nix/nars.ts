// Obtains the NAR that a request's own narinfo promised, and never another.

import type { Claim } from '../core/claim.ts';
import type { Fetch } from '../proof/fetch.ts';
import type { Asker, Obtained, Obtainer } from '../proof/obtain.ts';
import type { Suspects } from '../proof/suspects.ts';
import type { Access, Credentials } from '../store/access.ts';
import { narFetch } from './fetch-nar.ts';
import type { HttpUpstream } from './http-upstream.ts';
import { encodingOf } from './narinfo.ts';
import { findPromise, type NarinfoRecords } from './narinfo-records.ts';
import type { NarinfoAnswer, Narinfos } from './narinfos.ts';
import type { Pin } from './target.ts';

export interface NarPorts {
  readonly narinfos: Narinfos;
  readonly records: NarinfoRecords;
  readonly access: Access;
  readonly upstream: HttpUpstream;
  readonly obtainer: Obtainer;
  readonly suspects: Suspects;
}

export interface NarAsk {
  readonly cache: string;
  /** Relative to the cache, without the pin. */
  readonly url: string;
  readonly pin: Pin | null;
  readonly credentials: Credentials;
}

export interface NarAnswer {
  readonly obtained: Obtained;
  /** Whether a range of it continues what was sent of this claim before. */
  readonly mayRange: boolean;
  /** Obtains the same claim again, where our disk failed under the first answer. */
  again(asker: Omit<Asker, 'fetch'>): Promise<Obtained>;
}

interface Source {
  readonly claim: Claim;
  readonly fetch: Fetch;
}

const miss = (kind: 'absent' | 'denied'): NarAnswer => ({
  obtained: { kind },
  mayRange: false,
  again: () => Promise.resolve({ kind }),
});

export class Nars {
  readonly #ports: NarPorts;

  constructor(ports: NarPorts) {
    this.#ports = ports;
  }

  /** `asker` is asked only when our store has no answer: most times it has. */
  async obtain(ask: NarAsk, asker: () => Omit<Asker, 'fetch'>): Promise<NarAnswer> {
    const { cache, url, pin, credentials } = ask;
    const storeHash = await this.#ports.records.storeHashOf(cache, url);
    if (storeHash === undefined) return await this.#unrecorded(ask, asker());
    const kept = pin === null ? undefined : await this.#promised(cache, storeHash, pin);
    const form = kept && (await this.#ports.obtainer.held(kept));
    if (kept !== undefined && form !== undefined) {
      const mayRead = await this.#ports.access.mayRead(cache, credentials);
      if (mayRead === 'no') return miss('denied');
      const obtained: Obtained = { kind: 'proven', form, source: 'hit' };
      const again = async (other: Omit<Asker, 'fetch'>) => (await this.#current(ask, storeHash, other)).obtained;
      if (mayRead === 'yes') return { obtained, mayRange: this.#ports.obtainer.mayResume(kept, obtained), again };
    }
    return await this.#current(ask, storeHash, asker());
  }

  /** What the upstream's narinfo names now, if that is what the client asks for. */
  async #current(ask: NarAsk, storeHash: string, asker: Omit<Asker, 'fetch'>): Promise<NarAnswer> {
    const { narinfos, suspects } = this.#ports;
    const { cache, pin, credentials } = ask;
    const answer = await narinfos.get(cache, storeHash, credentials);
    const source = this.#source(ask, storeHash, answer);
    if (source === null) return miss(answer.kind === 'denied' ? 'denied' : 'absent');
    const first = await this.#answer(source, asker);
    if (first.obtained.kind !== 'refuted') return first;
    // Was it pushed again with other content meanwhile? Then nothing is wrong with it, but with our record.
    const newer = this.#source(ask, storeHash, await narinfos.revalidated(cache, storeHash, credentials));
    if (newer !== null && newer.claim.digest.sha256 === source.claim.digest.sha256) return first;
    suspects.clear(source.claim);
    return newer === null || pin !== null ? miss('absent') : await this.#answer(newer, asker);
  }

  #source({ cache, url, pin, credentials }: NarAsk, storeHash: string, answer: NarinfoAnswer): Source | null {
    if (answer.kind !== 'narinfo') return null;
    const { nar, encoding, compression } = answer.narinfo;
    if (pin !== null && (nar.sha256 !== pin.sha256 || compression !== pin.compression)) return null;
    // A plain URL that the narinfo names no more was another content's.
    if (pin === null && answer.url.clientUrl !== url) return null;
    const claim = { digest: nar, encoding, place: { tenant: cache, path: storeHash } };
    return { claim, fetch: narFetch(this.#ports.upstream, answer.url.target, credentials.value) };
  }

  /** What this cache once promised for the path, be it its newest narinfo or not: ours to keep while our store holds it. */
  async #promised(cache: string, storeHash: string, pin: Pin): Promise<Claim | undefined> {
    const record = await this.#ports.records.find(cache, storeHash);
    const promise = record === undefined ? undefined : findPromise(record, pin);
    const encoding = encodingOf(pin.compression);
    if (promise === undefined || encoding === undefined) return undefined;
    const digest = { sha256: promise.sha256, sizeBytes: promise.sizeBytes };
    return { digest, encoding, place: { tenant: cache, path: storeHash } };
  }

  /** A pinned URL is proven by itself, though every record of it be lost; one without a pin promises nothing. */
  async #unrecorded({ cache, url, pin, credentials }: NarAsk, asker: Omit<Asker, 'fetch'>): Promise<NarAnswer> {
    const encoding = pin === null ? undefined : encodingOf(pin.compression);
    if (pin === null || encoding === undefined) return miss('absent');
    if ((await this.#ports.access.mayRead(cache, credentials)) !== 'yes') return miss('denied');
    const claim = { digest: { sha256: pin.sha256, sizeBytes: null }, encoding, place: { tenant: cache, path: url } };
    const target = cache === '' ? url : `${cache}/${url}`;
    return await this.#answer({ claim, fetch: narFetch(this.#ports.upstream, target, credentials.value) }, asker);
  }

  async #answer({ claim, fetch }: Source, asker: Omit<Asker, 'fetch'>): Promise<NarAnswer> {
    const again = (other: Omit<Asker, 'fetch'>) => this.#ports.obtainer.obtain(claim, { ...other, fetch });
    const obtained = await again(asker);
    return { obtained, mayRange: this.#ports.obtainer.mayResume(claim, obtained), again };
  }
}
