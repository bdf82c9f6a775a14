// Makes renames outlive a loss of power; those that come together share one sync of their directory.

import { type FileHandle, open } from 'node:fs/promises';

export class DirectorySyncs {
  /** The sync of each directory that runs now. A rename made after it began needs another. */
  readonly #running = new Map<string, Promise<void>>();
  /** The one that begins when that has ended, shared by all who asked meanwhile. */
  readonly #next = new Map<string, Promise<void>>();

  /** Resolves when every rename in `dir` that was done before the call is on disk. */
  sync(dir: string): Promise<void> {
    let next = this.#next.get(dir);
    if (next === undefined) {
      next = this.#afterRunning(dir);
      this.#next.set(dir, next);
    }
    return next;
  }

  async #afterRunning(dir: string): Promise<void> {
    // Its error belongs to those who wait for it.
    await this.#running.get(dir)?.catch(() => undefined);
    this.#next.delete(dir);
    const running = syncDirectory(dir);
    this.#running.set(dir, running);
    try {
      await running;
    } finally {
      if (this.#running.get(dir) === running) this.#running.delete(dir);
    }
  }
}

const syncDirectory = async (dir: string): Promise<void> => {
  let directory: FileHandle | undefined;
  try {
    directory = await open(dir, 'r');
    await directory.sync();
  } finally {
    await directory?.close();
  }
};
