// Who may read a cache: everyone if it is public, else whoever's own credentials its upstream accepted lately.

import { createHmac, randomBytes } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { Lru } from './lru.ts';
import type { Records } from './records.ts';

/** What a client sent to speak for it, as its Authorization value, and the keyed hash under which alone it is remembered. */
export interface Credentials {
  readonly value: string | null;
  readonly key: string;
}

/** `unknown`: the upstream can't be asked, and nothing recent speaks for them. */
export type MayRead = 'yes' | 'no' | 'unknown';

export interface AccessPorts {
  readonly clock: Clock;
  readonly records: Records;
  /** Every cache is public, says the operator. */
  readonly isPublic: boolean;
  readonly ttlMs: number;
  readonly graceMs: number;
  /** One request that the upstream answers by its own rules, as `GET <cache>/nix-cache-info`. It calls `accepted` or `refused`. */
  check(cache: string, credentials: Credentials, withinMs: number): Promise<'accepted' | 'refused' | 'unavailable'>;
}

/** Pairs of credential and cache: about 200 bytes each. */
const MAX_ACCEPTED = 20_000;
/** How long a check may hold a reader. */
const CHECK_MS = 8_000;
/** The same for one who has waited already, until the upstream was given up. */
export const LAST_CHECK_MS = 1_000;

/** The upstream's word (Attic has a header for it), or an answer to somebody without credentials. */
type PublicBy = 'header' | 'anonymous';

export class Access {
  readonly #ports: AccessPorts;
  readonly #secret = randomBytes(32);
  readonly #anonymous = this.#keyed(null);
  /** Monotonic ms of the last acceptance, by credential and cache. */
  readonly #acceptedAt = new Lru<number>({ maxEntries: MAX_ACCEPTED, maxBytes: Number.POSITIVE_INFINITY });
  /** How, and at which monotonic ms, a cache was last seen to be public. */
  readonly #public = new Lru<{ readonly by: PublicBy; readonly at: number }>({
    maxEntries: MAX_ACCEPTED,
    maxBytes: Number.POSITIVE_INFINITY,
  });
  readonly #checks = new Map<string, Promise<'accepted' | 'refused' | 'unavailable'>>();

  constructor(ports: AccessPorts) {
    this.#ports = ports;
  }

  credentials(authorization: string | undefined): Credentials {
    return authorization === undefined ? this.#anonymous : this.#keyed(authorization);
  }

  /** Notes that the upstream answered these credentials with what only a reader gets. */
  accepted(cache: string, { key, value }: Credentials, isSaidPublic: boolean): void {
    const at = this.#ports.clock.monotonic();
    this.#acceptedAt.set(pair(cache, key), at);
    if (isSaidPublic || value === null) {
      this.#public.set(cache, { by: isSaidPublic ? 'header' : 'anonymous', at });
      void this.#rememberPublic(cache);
    }
    // Attic says it with every answer while it is so: its silence is news. Others never say it.
    else void this.#endPublic(cache, ['header']);
  }

  /** Notes a refusal, which ends every grace. */
  refused(cache: string, { key, value }: Credentials): void {
    this.#acceptedAt.delete(pair(cache, key));
    // Attic ignores bad credentials on a public cache; another server may refuse them and still serve everyone else.
    void this.#endPublic(cache, value === null ? ['header', 'anonymous'] : ['header']);
  }

  /** Asks the upstream where nothing recent says it. */
  async mayRead(cache: string, credentials: Credentials, checkMs = CHECK_MS): Promise<MayRead> {
    const { isPublic, ttlMs, graceMs } = this.#ports;
    if (isPublic || this.#isWithin(this.#public.get(cache)?.at, ttlMs)) return 'yes';
    const key = pair(cache, credentials.key);
    if (this.#isWithin(this.#acceptedAt.get(key), ttlMs)) return 'yes';
    switch (await this.#check(key, cache, credentials, checkMs)) {
      case 'accepted':
        return 'yes';
      case 'refused':
        return 'no';
      case 'unavailable':
        if (this.#isWithin(this.#acceptedAt.get(key), graceMs)) return 'yes';
        return (await this.#remembered(cache)) === null ? 'unknown' : 'yes';
    }
  }

  #keyed(value: string | null): Credentials {
    return {
      value,
      key: createHmac('sha256', this.#secret)
        .update(value ?? '')
        .digest('base64'),
    };
  }

  #isWithin(at: number | undefined, ms: number): boolean {
    return at !== undefined && this.#ports.clock.monotonic() - at < ms;
  }

  #check(
    key: string,
    cache: string,
    credentials: Credentials,
    withinMs: number,
  ): Promise<'accepted' | 'refused' | 'unavailable'> {
    const running = this.#checks.get(key);
    if (running !== undefined) return running;
    const check = this.#ports.check(cache, credentials, withinMs).finally(() => this.#checks.delete(key));
    this.#checks.set(key, check);
    return check;
  }

  /** The upstream speaks of the cache as of a private one. */
  async #endPublic(cache: string, ends: readonly PublicBy[]): Promise<void> {
    const by = this.#public.get(cache)?.by ?? (await this.#remembered(cache));
    if (by === null || !ends.includes(by)) return;
    this.#public.delete(cache);
    await this.#rememberPublic(cache);
  }

  /** That a cache is public outlives a restart of ours in an outage of the upstream's. */
  async #remembered(cache: string): Promise<PublicBy | null> {
    const by = await this.#ports.records.get(publicKey(cache));
    return by === 'header' || by === 'anonymous' ? by : null;
  }

  /** What is known when the disk has answered: of two that come together, neither writes what is old. */
  async #rememberPublic(cache: string): Promise<void> {
    const before = await this.#remembered(cache);
    const now = this.#public.get(cache)?.by ?? null;
    if (before !== now) await this.#ports.records.put(publicKey(cache), now);
  }
}

const pair = (cache: string, key: string): string => `${key}\n${cache}`;
const publicKey = (cache: string): string => `public\n${cache}`;
