// JSON by key, in memory and on disk: what metadata last said. Damaged, foreign or too large means not there.

import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import { Backlog } from './backlog.ts';
import { asDiskError, type Files, systemFiles } from './files.ts';
import { MIB } from './form.ts';
import type { Log } from './log.ts';
import { Lru } from './lru.ts';
import { encodeRecord, recordName } from './record-file.ts';
import { RecordFiles } from './record-files.ts';
import { SeldomLog } from './seldom.ts';

const MEMORY_BYTES = 64 * MIB;
const BEHIND = { maxJobs: 256, maxBytes: 64 * MIB };
/** How stale the use times on disk may be: of two records used within the hour either may be trimmed first. */
const STAMP_EVERY_MS = 3_600_000;
/** A stamp is worth less than a write: while this many jobs wait, it is left to the next use. */
const STAMP_BELOW_JOBS = 64;
/** What most file systems take for the smallest file. */
const BLOCK_BYTES = 4096;

export interface RecordStoreOptions {
  /** Ours alone; the records lie in `folder` below it. */
  readonly dir: string;
  /** `records` unless told. */
  readonly folder?: 'records' | 'ledger';
  readonly clock: Clock;
  /** What `put` and `delete` are by default: true, and a record is on disk when `put` resolves. Else it is in memory, and written soon. */
  readonly durable: boolean;
  readonly maxRecords?: number;
  readonly memoryEntries?: number;
  readonly maxRecordBytes?: number;
  /** Asked before a file is made. Rejects with code DISK where the file system has no room for so many bytes. */
  readonly allow?: (bytes: number) => Promise<void>;
  readonly log: Log;
  readonly files?: Files;
}

interface Remembered {
  readonly value: unknown;
  /** Wall clock of the last use that is in the file's times. */
  stampedAtMs: number;
}

interface Written {
  readonly value: unknown;
  readonly bytes: Buffer;
}

/** Records as one front puts them: on disk before it goes on, where nothing is behind it. */
export interface Records {
  get(key: string): Promise<unknown>;
  put(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<void>;
}

export class RecordStore implements Records {
  readonly #options: RecordStoreOptions;
  readonly #files: RecordFiles;
  readonly #maxRecordBytes: number;
  readonly #memory: Lru<Remembered>;
  /** By key: what is not written yet. */
  readonly #dirty = new Map<string, Written>();
  /** By key. A put or delete takes the read under way out: what it brings must not be remembered. */
  readonly #loading = new Map<string, Promise<unknown>>();
  readonly #behind: Backlog;
  readonly #log: Log;

  /** Whoever opens it closes it. Rejects with code DISK when the directory cannot be made or read. */
  static async open(options: RecordStoreOptions): Promise<RecordStore> {
    const store = new RecordStore(options);
    try {
      await store.#files.scan();
    } catch (error) {
      throw asDiskError(`cannot open the records in ${options.dir}`, error);
    }
    await store.#trim();
    return store;
  }

  private constructor(options: RecordStoreOptions) {
    const { files = systemFiles, maxRecords = 200_000, maxRecordBytes = 4 * MIB } = options;
    this.#options = options;
    this.#log = new SeldomLog(options.clock, options.log);
    this.#maxRecordBytes = maxRecordBytes;
    this.#files = new RecordFiles({
      dir: join(options.dir, options.folder ?? 'records'),
      files,
      maxRecords,
      maxRecordBytes,
    });
    this.#memory = new Lru({ maxEntries: options.memoryEntries ?? 10_000, maxBytes: MEMORY_BYTES });
    this.#behind = new Backlog(BEHIND, (error) => this.#warn(error, 'background work on records failed'));
  }

  /** What was last put under `key`. The value is shared by all who ask: not to be changed. */
  async get(key: string): Promise<unknown> {
    const dirty = this.#dirty.get(key);
    if (dirty !== undefined) return dirty.value;
    const known = this.#memory.get(key);
    if (known !== undefined) {
      this.#stamp(key, known);
      return known.value;
    }
    const name = recordName(key);
    if (!this.#files.has(name)) return undefined;
    const running = this.#loading.get(key);
    if (running !== undefined) return await running;
    const loading: Promise<unknown> = this.#load(key, name, () => this.#loading.get(key) === loading);
    this.#loading.set(key, loading);
    return await loading;
  }

  /**
   * `value` as JSON has it; not to be changed afterwards. Puts to one key take effect in their order. Durable, it
   * rejects with code DISK, or LARGE above `maxRecordBytes`, and has no effect then (but after a restart, where its
   * directory could not be synced). Else it never rejects: what the disk will not take stays in memory, what is too large
   * is forgotten.
   */
  async put(key: string, value: unknown, isDurable = this.#options.durable): Promise<void> {
    const bytes = encodeRecord(key, value);
    if (bytes.length > this.#maxRecordBytes) return await this.#refuse(key, bytes.length, isDurable);
    const name = recordName(key);
    if (isDurable) {
      await this.#files.inTurn(name, async () => {
        await this.#allow(name);
        await this.#files.write(name, bytes, true);
        // What was to be written behind is out of date.
        this.#dirty.delete(key);
        this.#remember(key, value, bytes.length);
      });
      return await this.#trim();
    }
    const written = { value, bytes };
    this.#remember(key, value, bytes.length);
    this.#dirty.set(key, written);
    void this.#behind.add(bytes.length, () => this.#writeBehind(key, name, written));
    await this.#behind.room();
  }

  /** Rejects with code DISK when its file cannot be removed. */
  async delete(key: string, isDurable = this.#options.durable): Promise<void> {
    this.#forget(key);
    const name = recordName(key);
    await this.#files.inTurn(name, async () => {
      // Again, for a read may have brought it back; but what was put since is not ours to forget.
      if (!this.#dirty.has(key)) this.#forget(key);
      await this.#files.remove(name, isDurable);
    });
  }

  /** The same records, put and deleted in another way than the store's own. */
  durably(isDurable: boolean): Records {
    return {
      get: (key) => this.get(key),
      put: (key, value) => this.put(key, value, isDurable),
      delete: (key) => this.delete(key, isDurable),
    };
  }

  /** Resolves when everything is written and no file is open. */
  async close(): Promise<void> {
    await this.#behind.idle();
    await Promise.all(this.#loading.values());
    await this.#files.idle();
  }

  #remember(key: string, value: unknown, bytes: number, stampedAtMs = this.#options.clock.now()): void {
    this.#loading.delete(key);
    this.#memory.set(key, { value, stampedAtMs }, bytes);
  }

  /** Else what is asked for most would be trimmed as the oldest: it is written once, and read for ever. */
  #stamp(key: string, known: Remembered): void {
    const now = this.#options.clock.now();
    if (now - known.stampedAtMs < STAMP_EVERY_MS || this.#behind.jobs >= STAMP_BELOW_JOBS) return;
    known.stampedAtMs = now;
    void this.#behind.add(0, () => this.#files.stamp(recordName(key), now));
  }

  /** In the turn of the name, so that puts keep their order. One that has a file already takes the place of that. */
  async #allow(name: string): Promise<void> {
    if (!this.#files.has(name)) await this.#options.allow?.(BLOCK_BYTES);
  }

  #forget(key: string): void {
    this.#loading.delete(key);
    this.#memory.delete(key);
    this.#dirty.delete(key);
  }

  async #load(key: string, name: string, isWanted: () => boolean): Promise<unknown> {
    const loaded = await this.#files.load(name);
    if (loaded.kind === 'none') await this.#removeDamaged(key, name);
    if (loaded.kind === 'unreadable') this.#warn(loaded.error, 'a record cannot be read');
    const value = loaded.kind === 'row' ? loaded.row.value : undefined;
    if (!isWanted()) return value;
    if (loaded.kind !== 'row') this.#loading.delete(key);
    else {
      this.#remember(key, value, loaded.bytes, loaded.usedAtMs);
      const known = this.#memory.get(key);
      if (known !== undefined) this.#stamp(key, known);
    }
    return value;
  }

  /** Looks again in its turn: a put may have mended it meanwhile. */
  async #removeDamaged(key: string, name: string): Promise<void> {
    await this.#files
      .inTurn(name, async () => {
        if ((await this.#files.load(name)).kind !== 'none') return;
        this.#options.log.warn({ record: key }, 'a record on disk is damaged or missing, and forgotten');
        await this.#files.remove(name, false);
      })
      .catch((error: unknown) => this.#warn(error, 'a damaged record cannot be removed'));
  }

  /** Skipped when a later put or delete has made it out of date: puts that come close together are one write. */
  async #writeBehind(key: string, name: string, written: Written): Promise<void> {
    const isLatest = () => this.#dirty.get(key) === written;
    try {
      await this.#files.inTurn(name, async () => {
        if (!isLatest()) return;
        await this.#allow(name);
        await this.#files.write(name, written.bytes, false);
      });
      await this.#trim();
    } catch (error) {
      this.#warn(error, 'records are not written to disk: memory alone holds them');
      // Else the record before it would come back when memory has forgotten this one.
      await this.#files
        .inTurn(name, async () => {
          if (isLatest()) await this.#files.remove(name, false);
        })
        .catch(() => undefined);
    }
    if (isLatest()) this.#dirty.delete(key);
  }

  async #refuse(key: string, bytes: number, isDurable: boolean): Promise<void> {
    const error = new CleanmissError(
      'LARGE',
      'client',
      `${bytes} bytes for a record, of ${this.#maxRecordBytes} at most`,
    );
    if (isDurable) throw error;
    this.#warn(error, 'a record is not kept');
    // Else the record before it would stay, out of date.
    await this.delete(key, false).catch((cause: unknown) => this.#warn(cause, 'a record cannot be removed'));
  }

  async #trim(): Promise<void> {
    await this.#files.trim().catch((error: unknown) => this.#warn(error, 'old records cannot be removed'));
  }

  #warn(err: unknown, message: string): void {
    this.#log.warn({ err }, message);
  }
}
