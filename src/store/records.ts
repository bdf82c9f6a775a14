// JSON by key, on disk and in memory: what metadata last said. Damaged, foreign or too large means not there.

import { lstat, readdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { CleanmissError, isCode } from '../core/errors.ts';
import { Backlog } from './backlog.ts';
import { DirectorySyncs } from './directory-syncs.ts';
import { asDiskError, type Files, readWhole, systemFiles } from './files.ts';
import { MIB } from './form.ts';
import { isLost } from './load-form.ts';
import type { Log } from './log.ts';
import { Lru } from './lru.ts';
import { publish } from './publish.ts';
import { encodeRecord, isRecordName, parseRecord, recordName } from './record-file.ts';
import { RecordNames, shardOf } from './record-names.ts';
import { emptyDirectory, readShards } from './scan.ts';
import { Turns } from './turns.ts';

const MEMORY_BYTES = 64 * MIB;
const BEHIND = { maxJobs: 256, maxBytes: 64 * MIB };
/** One trim frees room for this many puts, at most a sixteenth of its directory: 781 of 200000 files are looked at. */
const TRIM = 32;
const WARN_EVERY_MS = 60_000;

export interface RecordStoreOptions {
  /** Ours alone; records lie in `records/` below it. */
  readonly dir: string;
  readonly clock: Clock;
  /** True: a record is on disk when `put` resolves. Else it is in memory, and written soon. */
  readonly durable: boolean;
  readonly maxRecords?: number;
  readonly memoryEntries?: number;
  readonly maxRecordBytes?: number;
  readonly log: Log;
  readonly files?: Files;
}

interface Written {
  readonly value: unknown;
  readonly bytes: Buffer;
}

export class RecordStore {
  readonly #options: RecordStoreOptions;
  readonly #files: Files;
  readonly #dir: string;
  readonly #maxRecords: number;
  readonly #maxRecordBytes: number;
  readonly #syncs: DirectorySyncs | undefined;
  readonly #names = new RecordNames();
  readonly #memory: Lru<{ readonly value: unknown }>;
  /** By key: what is not written yet. */
  readonly #dirty = new Map<string, Written>();
  /** By key; a put or delete takes its read out, which then must not be remembered. */
  readonly #loading = new Map<string, Promise<unknown>>();
  /** By name. */
  readonly #turns = new Turns();
  readonly #behind: Backlog;
  #trimming: Promise<void> | undefined;
  #filesMade = 0;
  #warnedAtMs = Number.NEGATIVE_INFINITY;

  /** Whoever opens it closes it. Rejects with code DISK when the directory cannot be made or read. */
  static async open(options: RecordStoreOptions): Promise<RecordStore> {
    const store = new RecordStore(options);
    try {
      await store.#scan();
      return store;
    } catch (error) {
      throw asDiskError(`cannot open the records in ${options.dir}`, error);
    }
  }

  private constructor(options: RecordStoreOptions) {
    this.#options = options;
    this.#files = options.files ?? systemFiles;
    this.#dir = join(options.dir, 'records');
    this.#maxRecords = options.maxRecords ?? 200_000;
    this.#maxRecordBytes = options.maxRecordBytes ?? 4 * MIB;
    this.#syncs = options.durable ? new DirectorySyncs() : undefined;
    this.#memory = new Lru({ maxEntries: options.memoryEntries ?? 10_000, maxBytes: MEMORY_BYTES });
    this.#behind = new Backlog(BEHIND, (error) => this.#warn(error, 'background work on records failed'));
  }

  /** Records on disk. */
  get count(): number {
    return this.#names.count;
  }

  /** What was last put under `key`. The value is shared by all who ask: not to be changed. */
  async get(key: string): Promise<unknown> {
    const known = this.#dirty.get(key) ?? this.#memory.get(key);
    if (known !== undefined) return known.value;
    const name = recordName(key);
    if (!this.#names.has(name)) return undefined;
    let loading = this.#loading.get(key);
    if (loading === undefined) {
      loading = this.#load(key, name);
      this.#loading.set(key, loading);
    }
    return await loading;
  }

  /**
   * Puts to one key take effect in their order. Durable, it rejects with code DISK, or LARGE above `maxRecordBytes`;
   * else it never rejects: what the disk will not take stays in memory, and what is too large is forgotten.
   */
  async put(key: string, value: unknown): Promise<void> {
    const bytes = encodeRecord(key, value);
    if (bytes.length > this.#maxRecordBytes) return await this.#refuseLarge(key, bytes.length);
    const written = { value, bytes };
    const name = recordName(key);
    if (this.#syncs !== undefined) {
      await this.#turns.run(name, async () => {
        await this.#write(name, bytes);
        this.#remember(key, written);
      });
      await this.#trim();
      return;
    }
    this.#remember(key, written);
    this.#dirty.set(key, written);
    void this.#behind.add(bytes.length, () => this.#writeBehind(key, name, written));
    await this.#behind.room();
  }

  /** Rejects with code DISK when its file cannot be removed. */
  async delete(key: string): Promise<void> {
    const name = recordName(key);
    this.#forget(key);
    await this.#turns.run(name, async () => {
      this.#forget(key);
      await this.#remove(name);
    });
  }

  /** Resolves when everything is written. */
  async close(): Promise<void> {
    await this.#behind.idle();
    await this.#turns.idle();
    await Promise.all(this.#loading.values());
  }

  #path(name: string): string {
    return join(this.#dir, shardOf(name), `${name}.json`);
  }

  async #scan(): Promise<void> {
    await emptyDirectory(join(this.#dir, 'tmp'), (name) => /^\d+\.json$/.test(name));
    for (const shard of await readShards(this.#dir))
      for (const file of await readdir(join(this.#dir, shard)))
        if (isRecordName(file) && file.startsWith(shard)) this.#names.add(file.slice(0, 64));
    await this.#trim();
  }

  #remember(key: string, { value, bytes }: Written): void {
    this.#loading.delete(key);
    this.#memory.set(key, { value }, bytes.length);
  }

  #forget(key: string): void {
    this.#loading.delete(key);
    this.#memory.delete(key);
    this.#dirty.delete(key);
  }

  async #load(key: string, name: string): Promise<unknown> {
    const bytes = await this.#read(name);
    const row = bytes && parseRecord(bytes, name);
    const isCurrent = this.#loading.delete(key);
    if (bytes !== undefined && row === undefined && isCurrent) {
      this.#options.log.warn({ record: key }, 'a record on disk is damaged, and dropped');
      await this.delete(key).catch((error: unknown) => this.#warn(error, 'a damaged record cannot be removed'));
    }
    if (bytes !== undefined && row !== undefined && isCurrent) this.#remember(key, { value: row.value, bytes });
    return row?.value;
  }

  /** Undefined when it cannot be read; cut off where it is too long to be a record. */
  async #read(name: string): Promise<Buffer | undefined> {
    try {
      const file = await this.#files.open(this.#path(name), 'r');
      try {
        const { size } = await file.stat();
        const bytes = Buffer.allocUnsafeSlow(Math.min(size, this.#maxRecordBytes));
        return bytes.subarray(0, await readWhole(file, bytes, 0));
      } finally {
        await file.close();
      }
    } catch (error) {
      if (isLost(error)) this.#names.delete(name);
      else this.#warn(error, 'a record cannot be read');
      return undefined;
    }
  }

  async #write(name: string, bytes: Buffer): Promise<void> {
    const temporary = join(this.#dir, 'tmp', `${++this.#filesMade}.json`);
    try {
      await publish({ files: this.#files, temporary, path: this.#path(name), pieces: [bytes], syncs: this.#syncs });
    } catch (error) {
      throw asDiskError('cannot write a record', error);
    }
    this.#names.add(name);
  }

  /** Skipped when a later put or delete has made it out of date: puts that come together are one write. */
  async #writeBehind(key: string, name: string, written: Written): Promise<void> {
    try {
      await this.#turns.run(name, async () => {
        if (this.#dirty.get(key) === written) await this.#write(name, written.bytes);
      });
      await this.#trim();
    } catch (error) {
      this.#warn(error, 'records are not written to disk: memory alone holds them');
    }
    if (this.#dirty.get(key) === written) this.#dirty.delete(key);
  }

  async #refuseLarge(key: string, bytes: number): Promise<void> {
    const error = new CleanmissError(
      'LARGE',
      'client',
      `a record of ${bytes} bytes, of ${this.#maxRecordBytes} at most`,
    );
    if (this.#syncs !== undefined) throw error;
    this.#warn(error, 'a record is not kept');
    // The one before would now be out of date.
    await this.delete(key).catch((cause: unknown) => this.#warn(cause, 'a record cannot be removed'));
  }

  /** In the turn of `name`. */
  async #remove(name: string): Promise<void> {
    this.#names.delete(name);
    try {
      await unlink(this.#path(name));
      await this.#syncs?.sync(dirname(this.#path(name)));
    } catch (error) {
      if (!isCode(error, 'ENOENT')) throw asDiskError('cannot remove a record', error);
    }
  }

  /** Removes the oldest of random directories until there are few enough: near enough to the oldest of all. */
  async #trim(): Promise<void> {
    while (this.#names.count > this.#maxRecords) {
      this.#trimming ??= this.#trimShard().finally(() => {
        this.#trimming = undefined;
      });
      await this.#trimming;
    }
  }

  async #trimShard(): Promise<void> {
    const names = this.#names.randomShard();
    const aged = await Promise.all(names.map(async (name) => ({ name, mtimeMs: await this.#mtimeMs(name) })));
    aged.sort((a, b) => a.mtimeMs - b.mtimeMs);
    for (const { name, mtimeMs } of aged.slice(0, Math.min(TRIM, Math.ceil(names.length / 16))))
      await this.#turns.run(name, async () => {
        // Written again meanwhile: it is not the oldest any more.
        if ((await this.#mtimeMs(name)) === mtimeMs) await this.#remove(name);
      });
  }

  /** Zero for a file that is gone: the first to be forgotten. */
  async #mtimeMs(name: string): Promise<number> {
    return await lstat(this.#path(name)).then(
      (stats) => stats.mtimeMs,
      () => 0,
    );
  }

  #warn(err: unknown, message: string): void {
    const now = this.#options.clock.monotonic();
    if (now - this.#warnedAtMs < WARN_EVERY_MS) return;
    this.#warnedAtMs = now;
    this.#options.log.warn({ err }, message);
  }
}
