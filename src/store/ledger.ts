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

  constructor(records: Records, clock: Clock) {
    this.#records = records;
    this.#clock = clock;
  }

  /** The digest with this hash, if it was once proven for the tenant; whether we hold it still is the forms' to say. */
  async find(tenant: string, sha256: string): Promise<LedgerRow | undefined> {
    const row = await this.#records.get(key(tenant, sha256));
    return isRow(row) ? { sha256, sizeBytes: row.sizeBytes, provenAt: row.provenAt } : undefined;
  }

  async add(tenant: string, digest: Digest): Promise<void> {
    await this.#records.put(key(tenant, digest.sha256), { sizeBytes: digest.sizeBytes, provenAt: this.#clock.now() });
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
