// One owner per directory: taken at start, freed by the kernel when the process ends, however it ends.

import { readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type Clock, systemClock } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import { asDiskError } from './files.ts';
import { makeDirectory } from './make-directory.ts';

export interface Ownership {
  /** Lets the next owner in. Idempotent. */
  release(): Promise<void>;
}

/** SQLite's result code for a lock that another holds: https://sqlite.org/rescode.html#busy */
const SQLITE_BUSY = 5;

/** Collecting a DatabaseSync closes it and frees its lock, so the owned ones are kept reachable. */
const owned = new Set<DatabaseSync>();

/**
 * Makes `dir` if need be, and takes it. Rejects with code OWNED while another live process has it, DISK when it cannot
 * be made or locked. `OWNER` says who it is, for people and for the message; `OWNER.lock` is the lock.
 *
 * The lock is a POSIX record lock, which Node gives us only through SQLite: an abstract unix socket would be seen only
 * in its own network namespace, and two containers that share a volume have one each (tested: owner.test.ts). Such
 * locks go when the process closes *any* descriptor of the file: nobody else here may open `OWNER.lock`.
 */
export const ownDirectory = async (dir: string, clock: Clock = systemClock): Promise<Ownership> => {
  const note = join(dir, 'OWNER');
  try {
    await makeDirectory(dir);
  } catch (error) {
    throw asDiskError(`cannot make ${dir}`, error);
  }
  const lock = await takeLock(dir, note);
  owned.add(lock);
  const unlock = () => {
    if (owned.delete(lock)) lock.close();
  };
  try {
    await writeFile(note, `pid ${process.pid} on ${hostname()} since ${new Date(clock.now()).toISOString()}\n`);
  } catch (error) {
    unlock();
    throw asDiskError(`cannot write ${note}`, error);
  }
  return {
    async release() {
      if (!owned.has(lock)) return;
      await rm(note, { force: true });
      unlock();
    },
  };
};

const takeLock = async (dir: string, note: string): Promise<DatabaseSync> => {
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(join(dir, 'OWNER.lock'), { timeout: 0 });
    // Nothing is ever written; a journal in memory leaves no second file behind.
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock?.close();
    if (!(error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY))
      throw asDiskError(`cannot lock ${dir}`, error);
    // The note may be missing for the moment between the owner's lock and its note.
    const owner = (await readFile(note, 'utf8').catch(() => 'pid unknown')).trim();
    throw new CleanmissError('OWNED', 'client', `${dir} is in use by another cleanmiss (${owner}); each needs its own`);
  }
};
