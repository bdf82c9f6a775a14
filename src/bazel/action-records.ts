// Action results as last seen, by instance and action: the action cache itself where nothing is behind us.

import { fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Clock } from '../core/clock.ts';
import { type Digest, digestKey } from '../core/digest.ts';
import { Lru } from '../store/lru.ts';
import type { Records } from '../store/records.ts';
import { tenantOf } from './blobs.ts';
import {
  type ActionResult,
  ActionResultSchema,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';

export interface ActionRecord {
  readonly result: ActionResult;
  /** Milliseconds since 1970. */
  readonly seenAt: number;
}

/** Parsed, and at hand: some 2 KiB each. */
const AT_HAND = { maxEntries: 10_000, maxBytes: 64 * 1024 * 1024 };
/** A result that is the same as before is not written again sooner: what is on disk is for outages. */
const WRITE_AGAIN_MS = 3_600_000;

interface Kept extends ActionRecord {
  readonly bytes: Buffer;
  readonly writtenAt: number;
}

export class ActionRecords {
  readonly #records: Records;
  readonly #clock: Clock;
  readonly #atHand = new Lru<Kept>(AT_HAND);

  constructor(records: Records, clock: Clock) {
    this.#records = records;
    this.#clock = clock;
  }

  /** Not to be changed: it is shared by all who ask. */
  async find(instance: string, action: Digest): Promise<ActionRecord | undefined> {
    const key = keyOf(instance, action);
    const kept = this.#atHand.get(key);
    if (kept !== undefined) return kept;
    const row = await this.#records.get(key);
    if (!isRow(row)) return undefined;
    const bytes = Buffer.from(row.result, 'base64');
    const read = { result: fromBinary(ActionResultSchema, bytes), seenAt: row.seenAt, writtenAt: row.seenAt, bytes };
    this.#atHand.set(key, read, bytes.length);
    return read;
  }

  /** Rejects as `Records.put` does. */
  async put(instance: string, action: Digest, result: ActionResult): Promise<void> {
    const key = keyOf(instance, action);
    const seenAt = this.#clock.now();
    const before = this.#atHand.get(key);
    const bytes = Buffer.from(toBinary(ActionResultSchema, result));
    if (before !== undefined && seenAt - before.writtenAt < WRITE_AGAIN_MS && bytes.equals(before.bytes)) {
      this.#atHand.set(key, { ...before, seenAt }, bytes.length);
      return;
    }
    await this.#records.put(key, { result: bytes.toString('base64'), seenAt });
    this.#atHand.set(key, { result, seenAt, writtenAt: seenAt, bytes }, bytes.length);
  }
}

const keyOf = (instance: string, action: Digest): string => `action\n${tenantOf(instance)}\n${digestKey(action)}`;

const isRow = (value: unknown): value is { readonly result: string; readonly seenAt: number } =>
  typeof value === 'object' &&
  value !== null &&
  'result' in value &&
  typeof value.result === 'string' &&
  'seenAt' in value &&
  typeof value.seenAt === 'number';
