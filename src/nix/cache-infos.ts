// Gives nix-cache-info while the upstream is away too: without it every Nix drops the cache for the whole build.

import type { Clock } from '../core/clock.ts';
import { type Access, type Credentials, LAST_CHECK_MS } from '../store/access.ts';
import type { Records } from '../store/records.ts';
import { fetchText, type TextPorts } from './fetch-text.ts';
import type { Patience } from './patience.ts';
import { isSaidPublic } from './visibility.ts';

export type CacheInfoAnswer = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'absent' | 'denied' };

export interface CacheInfoPorts {
  readonly clock: Clock;
  readonly text: TextPorts;
  readonly patience: Patience;
  readonly access: Access;
  readonly records: Records;
  readonly freshMs: number;
}

const MAX_BYTES = 64 * 1024;
const KNOWN = /^(StoreDir|WantMassQuery|Priority):/m;

export class CacheInfos {
  readonly #ports: CacheInfoPorts;
  readonly #asking = new Map<string, Promise<CacheInfoAnswer>>();

  constructor(ports: CacheInfoPorts) {
    this.#ports = ports;
  }

  async get(cache: string, credentials: Credentials): Promise<CacheInfoAnswer> {
    const record = await this.#record(cache);
    const age = this.#ports.clock.now() - (record?.seenAt ?? 0);
    if (record !== undefined && age >= 0 && age < this.#ports.freshMs) {
      const mayRead = await this.#ports.access.mayRead(cache, credentials);
      if (mayRead !== 'unknown') return mayRead === 'yes' ? { kind: 'text', text: record.text } : { kind: 'denied' };
    }
    const key = `${cache}\n${credentials.key}`;
    const running = this.#asking.get(key);
    if (running !== undefined) return running;
    const asking = this.#ask(cache, credentials).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  /** The one request by which the upstream says whether these credentials may read. */
  async check(
    cache: string,
    credentials: Credentials,
    withinMs: number,
  ): Promise<'accepted' | 'refused' | 'unavailable'> {
    const answer = await this.#once(cache, credentials, withinMs);
    if (answer.kind === 'text') return 'accepted';
    return answer.kind === 'denied' ? 'refused' : 'unavailable';
  }

  async #ask(cache: string, credentials: Credentials): Promise<CacheInfoAnswer> {
    const answer = await this.#ports.patience.untilAnswered((withinMs) => this.#once(cache, credentials, withinMs));
    if (answer.kind === 'text') return { kind: 'text', text: answer.text };
    if (answer.kind === 'denied') return { kind: 'denied' };
    const record = await this.#record(cache);
    if (record === undefined) return { kind: answer.kind === 'absent' ? 'absent' : 'denied' };
    const mayRead = await this.#ports.access.mayRead(cache, credentials, LAST_CHECK_MS);
    return mayRead === 'yes' ? { kind: 'text', text: record.text } : { kind: 'denied' };
  }

  async #once(cache: string, credentials: Credentials, withinMs: number) {
    const { access, records, clock, text } = this.#ports;
    const target = `${cache === '' ? '' : `${cache}/`}nix-cache-info`;
    const answer = await fetchText(text, { target, credentials: credentials.value, maxBytes: MAX_BYTES, withinMs });
    if (answer.kind === 'denied') access.refused(cache, credentials);
    if (answer.kind !== 'text') return answer;
    // An error page of some proxy's, with status 200, is no nix-cache-info.
    if (!KNOWN.test(answer.text)) return { kind: 'unavailable', reason: 'protocol' } as const;
    access.accepted(cache, credentials, isSaidPublic(answer.headers));
    const mended = mendCacheInfo(answer.text);
    await records.put(infoKey(cache), { text: mended, seenAt: clock.now() });
    return { ...answer, text: mended };
  }

  async #record(cache: string): Promise<{ readonly text: string; readonly seenAt: number } | undefined> {
    // Only this class writes under these keys, and the store gives back nothing that was damaged.
    return (await this.#ports.records.get(infoKey(cache))) as { text: string; seenAt: number } | undefined;
  }
}

/** Nix ends with "error: stoi" over a Priority that is no whole number. */
export const mendCacheInfo = (text: string): string =>
  text
    .split('\n')
    .filter(
      (line) =>
        line === '' || (line.includes(':') && (!line.startsWith('Priority:') || /^Priority:\s*\d{1,9}\s*$/.test(line))),
    )
    .join('\n');

const infoKey = (cache: string): string => `cache-info\n${cache}`;
