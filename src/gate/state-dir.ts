// Small JSON files that outlive a crash and a loss of power: each is there whole, as it was last written, or not at all.

import { copyFile, type FileHandle, mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CleanmissError, isCode } from '../core/errors.ts';

/** Absent is a fresh directory, or one that lost the file; corrupt is whatever is there and does not say what it should. */
export type Stored<T> =
  | { readonly kind: 'absent' }
  | { readonly kind: 'corrupt'; readonly detail: string }
  | { readonly kind: 'read'; readonly value: T };

/** The call that tests replace, to have a disk that takes nothing. */
export type OpenFile = (path: string, flags: string) => Promise<FileHandle>;

export const unwritable = (what: string, cause: unknown): CleanmissError =>
  new CleanmissError(
    'STATE_UNWRITABLE',
    'self',
    `cannot write ${what}: ${cause instanceof Error ? cause.message : cause}`,
    cause,
  );

/** Larger than any file of ours: what is more was not written by us. */
const MAX_BYTES = 4 * 1024 * 1024;

/** One process owns the directory, and no two writes of one file may overlap: whoever owns a file sees to it. */
export class StateDir {
  readonly #dir: string;
  readonly #open: OpenFile;

  constructor(dir: string, openFile: OpenFile = open) {
    this.#dir = dir;
    this.#open = openFile;
  }

  path(name: string): string {
    return join(this.#dir, name);
  }

  /** `parse` throws at a value of any other shape than its own. What cannot be read is corrupt: it may say anything. */
  async read<T>(name: string, parse: (value: unknown) => T): Promise<Stored<T>> {
    try {
      await using file = await this.#open(this.path(name), 'r');
      const { size } = await file.stat();
      if (size > MAX_BYTES) return { kind: 'corrupt', detail: `it has ${size} bytes` };
      return { kind: 'read', value: parse(JSON.parse(await file.readFile('utf8'))) };
    } catch (error) {
      if (isCode(error, 'ENOENT')) return { kind: 'absent' };
      return { kind: 'corrupt', detail: error instanceof Error ? error.message : String(error) };
    }
  }

  /** On disk, bytes and name, when it resolves. Rejects with STATE_UNWRITABLE; the file then says what it said before, or this. */
  async write(name: string, value: object): Promise<void> {
    const path = this.path(name);
    const temporary = `${path}.new`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await this.#writeSynced(temporary, `${JSON.stringify(value)}\n`);
      await rename(temporary, path);
      await syncDirectory(this.#open, dirname(path));
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw unwritable(path, error);
    }
  }

  /** A copy for people to look at, before it is written over. Never rejects: it may be what cannot be read. */
  async setAside(name: string): Promise<void> {
    await copyFile(this.path(name), `${this.path(name)}.corrupt`).catch(() => undefined);
  }

  /** The names in a folder that end so, in no order; none where there is no folder. */
  async list(folder: string, ending: string): Promise<string[]> {
    try {
      return (await readdir(this.path(folder))).filter((name) => name.endsWith(ending));
    } catch (error) {
      if (isCode(error, 'ENOENT')) return [];
      throw error;
    }
  }

  async remove(name: string): Promise<void> {
    await unlink(this.path(name)).catch((error: unknown) => {
      if (!isCode(error, 'ENOENT')) throw unwritable(this.path(name), error);
    });
  }

  async #writeSynced(path: string, text: string): Promise<void> {
    await using file = await this.#open(path, 'w');
    await file.writeFile(text);
    await file.sync();
  }
}

/** Puts the names in it on disk. */
export const syncDirectory = async (openFile: OpenFile, path: string): Promise<void> => {
  await using directory = await openFile(path, 'r');
  await directory.sync();
};
