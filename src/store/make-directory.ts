// Makes a directory and those above it, one level at a time.

import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode } from '../core/errors.ts';

/**
 * As `mkdir` with `recursive`, which tries for ever where a file system says that the parent is missing though it is there,
 * as /proc does (Node 26; directory.test.ts).
 */
export const makeDirectory = async (dir: string): Promise<void> => {
  const missing: string[] = [];
  for (let at = dir; !(await isThere(at)) && dirname(at) !== at; at = dirname(at)) missing.unshift(at);
  for (const level of missing)
    await mkdir(level).catch((error: unknown) => {
      // Somebody else's, made meanwhile.
      if (!isCode(error, 'EEXIST')) throw error;
    });
};

const isThere = async (dir: string): Promise<boolean> => {
  try {
    return (await stat(dir)).isDirectory() || notADirectory(dir);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false;
    throw error;
  }
};

const notADirectory = (path: string): never => {
  throw new Error(`${path} is no directory`);
};
