// A file appears under its name whole or not at all: written beside, then renamed; synced where that was promised.

import { mkdir, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode } from '../core/errors.ts';
import type { DirectorySyncs } from './directory-syncs.ts';
import { type Files, writeWhole } from './files.ts';

/** How a name is to last: `isDurable`, it outlives a loss of power. `syncs` are those of the whole store, durable or not. */
export interface Lasting {
  readonly syncs: DirectorySyncs;
  readonly isDurable: boolean;
}

/** Runs `action`, whose files lie in `dir`; makes the directory and runs it again if somebody cleared it away. */
export const inDirectory = async <T>(dir: string, action: () => Promise<T>, syncs?: DirectorySyncs): Promise<T> => {
  try {
    return await action();
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
    syncs?.making(dir);
    await mkdir(dir, { recursive: true });
    return await action();
  }
};

/** The bytes are the caller's to sync before. Rejecting, it may have been moved all the same, if it was to last. */
export const moveInto = async (from: string, path: string, { syncs, isDurable }: Lasting): Promise<void> => {
  const dir = dirname(path);
  const move = () => rename(from, path);
  await inDirectory(dir, () => (isDurable ? syncs.during(dir, move) : move()), syncs);
};

/** Durable, bytes and name are on disk when it resolves. */
export interface Publication extends Lasting {
  readonly files: Files;
  /** Where it is written; on the same file system as `path`. */
  readonly temporary: string;
  readonly path: string;
  readonly pieces: readonly Buffer[];
}

export const publish = async ({ files, temporary, path, pieces, syncs, isDurable }: Publication): Promise<void> => {
  const file = await inDirectory(dirname(temporary), () => files.open(temporary, 'wx'));
  try {
    try {
      await writeWhole(file, pieces, 0);
      if (isDurable) await file.datasync();
    } finally {
      await file.close();
    }
    await moveInto(temporary, path, { syncs, isDurable });
  } catch (error) {
    // The first error is the one to tell; a file left here goes when the store is opened next.
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
};
