// Which digests were proven for which tenant: bytes that one tenant brought never answer another.

import type { Clock } from '../core/clock.ts';
import type { Digest } from '../core/digest.ts';
import type { Records } from './records.ts';

export interface LedgerRow extends Digest {
  /** Milliseconds since 1970. */
  readonly provenAt: number;
}

export class Ledger {
  readonly #records: Records;
  readonly #clock: Clock;
  readonly #older: Records | undefined;

  /**
   * `records` are the ledger's own: among others its rows would be the oldest, for they are written once. `older` is where
   * they lay before they had a directory to themselves: looked at on a miss, until FORMAT is raised and starts the store anew.
   */
  constructor(records: Records, clock: Clock, older?: Records) {
    this.#records = records;
    this.#clock = clock;
    this.#older = older;
  }

  /**
   * The digest with this hash, if it was once proven for the tenant; whether we hold it still is the forms' to say. One that
   * is in memory, and one that never was, cost a microsecond or two: a build asks for hundreds at once.
   */
  async find(tenant: string, sha256: string): Promise<LedgerRow | undefined> {
    const row = (await this.#records.get(key(tenant, sha256))) ?? (await this.#moved(key(tenant, sha256)));
    return isRow(row) ? { sha256, sizeBytes: row.sizeBytes, provenAt: row.provenAt } : undefined;
  }

  async add(tenant: string, digest: Digest): Promise<void> {
    await this.#records.put(key(tenant, digest.sha256), { sizeBytes: digest.sizeBytes, provenAt: this.#clock.now() });
  }

  /** A row from its old place, which it leaves once it is in the new one. */
  async #moved(of: string): Promise<unknown> {
    const row = await this.#older?.get(of);
    if (row === undefined) return undefined;
    // A disk that will not take it now leaves it where it is.
    await this.#records
      .put(of, row)
      .then(
        () => this.#older?.delete(of),
        () => undefined,
      )
      .catch(() => undefined);
    return row;
  }
}

const key = (tenant: string, sha256: string): string => `ledger\n${tenant}\n${sha256}`;

const isRow = (value: unknown): value is Omit<LedgerRow, 'sha256'> =>
  typeof value === 'object' &&
  value !== null &&
  'sizeBytes' in value &&
  typeof value.sizeBytes === 'number' &&
  'provenAt' in value &&
  typeof value.provenAt === 'number';
