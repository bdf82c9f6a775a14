// A file appears under its name whole or not at all: written beside, then renamed; synced where that was promised.

import { mkdir, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode } from '../core/errors.ts';
import type { DirectorySyncs } from './directory-syncs.ts';
import { type Files, writeWhole } from './files.ts';

/** Runs `action`, whose files lie in `dir`; makes the directory and runs it again if somebody cleared it away. */
export const inDirectory = async <T>(dir: string, action: () => Promise<T>, syncs?: DirectorySyncs): Promise<T> => {
  try {
    return await action();
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
    await mkdir(dir, { recursive: true });
    if (syncs !== undefined) await syncs.sync(dirname(dir));
    return await action();
  }
};

/** With `syncs`, the name outlives a loss of power when this resolves. The bytes are the caller's to sync before. */
export const moveInto = async (from: string, path: string, syncs: DirectorySyncs | undefined): Promise<void> => {
  await inDirectory(dirname(path), () => rename(from, path), syncs);
  if (syncs !== undefined) await syncs.sync(dirname(path));
};

export interface Publication {
  readonly files: Files;
  /** Where it is written; on the same file system as `path`. */
  readonly temporary: string;
  readonly path: string;
  readonly pieces: readonly Buffer[];
  /** Given: bytes and name are on disk when it resolves. */
  readonly syncs: DirectorySyncs | undefined;
}

export const publish = async ({ files, temporary, path, pieces, syncs }: Publication): Promise<void> => {
  const file = await inDirectory(dirname(temporary), () => files.open(temporary, 'wx'));
  try {
    try {
      await writeWhole(file, pieces, 0);
      if (syncs !== undefined) await file.datasync();
    } finally {
      await file.close();
    }
    await moveInto(temporary, path, syncs);
  } catch (error) {
    // The first error is the one to tell; a file left here goes when the store is opened next.
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
};
