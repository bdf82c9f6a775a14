// What lies in a store's directories when it is opened. Only names that we write count; nothing else is touched.

import { lstatSync } from 'node:fs';
import { mkdir, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isCode } from '../core/errors.ts';
import { TRAILER_BYTES } from './footer.ts';
import { formPath, isFormName } from './form-name.ts';

export interface FoundForm {
  readonly name: string;
  readonly diskBytes: number;
  readonly usedAtMs: number;
}

/** The directories that files are spread over: two hex digits each. */
export const readShards = async (dir: string): Promise<string[]> =>
  (await readdir(dir, { withFileTypes: true }))
    .filter((item) => item.isDirectory() && /^[0-9a-f]{2}$/.test(item.name))
    .map((item) => item.name);

/**
 * Every form by its name, least recently used first; whether one is whole shows when it is first used.
 * One directory at a time, its files by lstatSync: 5 µs a file, where the asynchronous call takes 13 with 32 in flight,
 * and nothing else runs while a store is opened. Files too short for a footer are removed.
 */
export const scanForms = async (formsDir: string): Promise<FoundForm[]> => {
  const found: FoundForm[] = [];
  for (const shard of await readShards(formsDir))
    for (const name of await readdir(join(formsDir, shard))) {
      if (!isFormName(name) || !name.startsWith(shard)) continue;
      const path = formPath(formsDir, name);
      const stats = lstatSync(path);
      if (!stats.isFile()) continue;
      if (stats.size < TRAILER_BYTES) await unlink(path);
      else found.push({ name, diskBytes: stats.size, usedAtMs: stats.mtimeMs });
    }
  return found.sort((a, b) => a.usedAtMs - b.usedAtMs);
};

/** Makes `dir` if need be, and removes the files in it that `isOurs` knows: what a process that ended left half done. */
export const emptyDirectory = async (dir: string, isOurs: (name: string) => boolean): Promise<void> => {
  await mkdir(dir, { recursive: true });
  for (const name of (await readdir(dir)).filter(isOurs))
    await unlink(join(dir, name)).catch((error: unknown) => {
      // A directory by that name is not ours after all.
      if (!isCode(error, 'EISDIR') && !isCode(error, 'EPERM')) throw error;
    });
};
