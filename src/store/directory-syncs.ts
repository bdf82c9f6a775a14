// Makes renames outlive a loss of power; those that come together share one sync of their directory.

import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';

interface Held {
  readonly file: Promise<FileHandle>;
  users: number;
}

export class DirectorySyncs {
  /** Directories that something is being renamed into: open before, so that it can be synced behind. */
  readonly #held = new Map<string, Held>();
  /** Directories that were made, whose own names are not on disk yet; each making by a value of its own. */
  readonly #made = new Map<string, object>();
  /** The sync of each directory that runs now. A rename made after it began needs another. */
  readonly #running = new Map<string, Promise<void>>();
  /** The one that begins when that has ended, shared by all who asked meanwhile. */
  readonly #next = new Map<string, Promise<void>>();

  /**
   * Renames into `dir`, and resolves when that is on disk, and the name of the directory too. Rejects before anything was
   * renamed where the directory cannot be opened, as for want of file descriptors.
   */
  async during(dir: string, rename: () => Promise<void>): Promise<void> {
    const held = await this.#hold(dir);
    try {
      await rename();
      await this.sync(dir);
      const made = this.#made.get(dir);
      if (made === undefined) return;
      await this.sync(dirname(dir));
      if (this.#made.get(dir) === made) this.#made.delete(dir);
    } finally {
      await this.#release(dir, held);
    }
  }

  /** Before `dir` is made: whoever renames into it from then on waits until its own name is on disk. */
  making(dir: string): void {
    this.#made.set(dir, {});
    // Of one that somebody cleared away.
    this.#held.delete(dir);
  }

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
    const running = this.#syncNow(dir);
    this.#running.set(dir, running);
    try {
      await running;
    } finally {
      if (this.#running.get(dir) === running) this.#running.delete(dir);
    }
  }

  async #syncNow(dir: string): Promise<void> {
    const held = await this.#hold(dir);
    try {
      await (await held.file).sync();
    } finally {
      await this.#release(dir, held);
    }
  }

  async #hold(dir: string): Promise<Held> {
    const held = this.#held.get(dir) ?? { file: open(dir, 'r'), users: 0 };
    this.#held.set(dir, held);
    held.users++;
    try {
      await held.file;
      return held;
    } catch (error) {
      await this.#release(dir, held);
      throw error;
    }
  }

  async #release(dir: string, held: Held): Promise<void> {
    held.users--;
    if (held.users > 0) return;
    if (this.#held.get(dir) === held) this.#held.delete(dir);
    const file = await held.file.catch(() => undefined);
    await file?.close();
  }
}
