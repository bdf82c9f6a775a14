// The files of records: written, read, removed, and kept few enough. Each changes only in the turn of its name.

import { lstat, readdir, unlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isCode } from '../core/errors.ts';
import { DirectorySyncs } from './directory-syncs.ts';
import { asDiskError, type Files } from './files.ts';
import { type LoadedRecord, loadRecord } from './load-record.ts';
import { publish } from './publish.ts';
import { isRecordName } from './record-file.ts';
import { RecordNames, shardOf } from './record-names.ts';
import { emptyDirectory, readShards } from './scan.ts';
import { Turns } from './turns.ts';

/** One trim frees room for as many puts, but at most a sixteenth of its directory: of 200000 it looks at 781. */
const TRIM = 32;

export interface RecordFilesParts {
  readonly dir: string;
  readonly files: Files;
  readonly maxRecords: number;
  readonly maxRecordBytes: number;
}

export class RecordFiles {
  readonly #parts: RecordFilesParts;
  readonly #syncs = new DirectorySyncs();
  readonly #names = new RecordNames();
  readonly #turns = new Turns();
  #trimming: Promise<void> | undefined;
  #filesMade = 0;

  constructor(parts: RecordFilesParts) {
    this.#parts = parts;
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** Once, before anything else. */
  async scan(): Promise<void> {
    const { dir } = this.#parts;
    await emptyDirectory(join(dir, 'tmp'), (name) => /^\d+\.json$/.test(name));
    await this.#syncs.sync(dirname(dir));
    // A directory may be in it whose making was never synced.
    await this.#syncs.sync(dir);
    for (const shard of await readShards(dir))
      for (const file of await readdir(join(dir, shard)))
        if (isRecordName(file) && file.startsWith(shard)) this.#names.add(file.slice(0, 64));
  }

  inTurn<T>(name: string, action: () => Promise<T>): Promise<T> {
    return this.#turns.run(name, action);
  }

  load(name: string): Promise<LoadedRecord> {
    return loadRecord(this.#parts.files, this.#path(name), name, this.#parts.maxRecordBytes);
  }

  /** In its turn. Durable, it outlives a loss of power. Rejects with code DISK. */
  async write(name: string, bytes: Buffer, isDurable: boolean): Promise<void> {
    const { dir, files } = this.#parts;
    const temporary = join(dir, 'tmp', `${++this.#filesMade}.json`);
    try {
      await publish({ files, temporary, path: this.#path(name), pieces: [bytes], syncs: this.#syncs, isDurable });
    } catch (error) {
      throw asDiskError('cannot write a record', error);
    }
    this.#names.add(name);
  }

  /** In its turn. Durable, it does not come back after a loss of power. Rejects with code DISK. */
  async remove(name: string, isDurable: boolean): Promise<void> {
    this.#names.delete(name);
    try {
      await unlink(this.#path(name));
      if (isDurable) await this.#syncs.sync(dirname(this.#path(name)));
    } catch (error) {
      if (!isCode(error, 'ENOENT')) throw asDiskError('cannot remove a record', error);
    }
  }

  /** Used at that time: what was used longest ago is trimmed first. A stamp that fails costs a place in that order, no more. */
  async stamp(name: string, atMs: number): Promise<void> {
    await utimes(this.#path(name), atMs / 1000, atMs / 1000).catch(() => undefined);
  }

  /** Removes the oldest of random directories until there are few enough: near enough to the oldest of all. */
  async trim(): Promise<void> {
    while (this.#names.count > this.#parts.maxRecords) {
      this.#trimming ??= this.#trimShard().finally(() => {
        this.#trimming = undefined;
      });
      await this.#trimming;
    }
  }

  idle(): Promise<void> {
    return this.#turns.idle();
  }

  #path(name: string): string {
    return join(this.#parts.dir, shardOf(name), `${name}.json`);
  }

  async #trimShard(): Promise<void> {
    const names = this.#names.randomShard();
    const aged = await Promise.all(names.map(async (name) => ({ name, mtimeMs: await this.#mtimeMs(name) })));
    aged.sort((a, b) => a.mtimeMs - b.mtimeMs);
    for (const { name, mtimeMs } of aged.slice(0, Math.min(TRIM, Math.ceil(names.length / 16))))
      await this.#turns.run(name, async () => {
        // Written again meanwhile, it is not among the oldest any more.
        if ((await this.#mtimeMs(name)) === mtimeMs) await this.remove(name, false);
      });
  }

  /** Zero for a file that is gone: the first to be forgotten. */
  #mtimeMs(name: string): Promise<number> {
    return lstat(this.#path(name)).then(
      (stats) => stats.mtimeMs,
      () => 0,
    );
  }
}
