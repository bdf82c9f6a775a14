// Guards what unproven bytes may take, a share of the store on disk and some memory, and what stays free on the file system.

import { CleanmissError } from '../core/errors.ts';
import { asDiskError, type Files } from './files.ts';
import { MIB } from './form.ts';
import type { Log } from './log.ts';

/**
 * At 1 GB/s a look at the file system every 64 ms, for 50 µs each. In between, and with 64 spools of which each may
 * have 4 MiB in flight, the floor is passed by at most 64 + 64 * 4 = 320 MiB, of 2 GiB.
 */
const LOOK_EVERY_BYTES = 64 * MIB;

export interface DiskRoomParts {
  readonly dir: string;
  readonly files: Files;
  /** What all spools together may hold on disk. */
  readonly spoolBytes: number;
  /** And in memory, those that are small so far. */
  readonly memoryBytes: number;
  readonly freeBytesFloor: number;
  /** Lets go of forms worth `bytes`, if there are any; resolves when their files are gone. */
  readonly makeRoom: (bytes: number) => Promise<void>;
}

export class DiskRoom {
  readonly #parts: DiskRoomParts;
  #onDisk = 0;
  #inMemory = 0;
  #unseenBytes = 0;
  #isLow = false;
  #looking: Promise<void> | undefined;

  constructor(parts: DiskRoomParts) {
    this.#parts = parts;
  }

  get spooled(): number {
    return this.#onDisk + this.#inMemory;
  }

  /** Whether a spool of so many bytes could be whole, were there no other. */
  mayEverTake(bytes: number): boolean {
    return bytes <= MIB || bytes <= this.#parts.spoolBytes;
  }

  /** For bytes of a spool that is in memory. Throws BUSY when all such spools hold what they may. What is taken must be given back. */
  takeMemory(bytes: number): void {
    if (this.#inMemory + bytes > this.#parts.memoryBytes)
      throw new CleanmissError('BUSY', 'self', `spools hold ${this.#parts.memoryBytes} bytes of memory`);
    this.#inMemory += bytes;
  }

  /** For bytes of a spool that is too large for memory: the same, of the share of the store. */
  takeDisk(bytes: number): void {
    if (this.#onDisk + bytes > this.#parts.spoolBytes)
      throw new CleanmissError('BUSY', 'self', `spools hold their share of the store, ${this.#parts.spoolBytes} bytes`);
    this.#onDisk += bytes;
  }

  giveMemory(bytes: number): void {
    this.#inMemory -= bytes;
  }

  giveDisk(bytes: number): void {
    this.#onDisk -= bytes;
  }

  /**
   * To be asked before `bytes` are written; `isFirst` makes sure to look. Rejects with DISK when the floor is reached.
   * Whoever asks holds no form's turn: making room waits for turns.
   */
  async allow(bytes: number, isFirst = false): Promise<void> {
    this.#unseenBytes += bytes;
    if (!isFirst && !this.#isLow && this.#unseenBytes < LOOK_EVERY_BYTES) return;
    // One look for all who ask meanwhile: each by itself would evict forms for the same shortfall.
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    await this.#looking;
  }

  /** Once, at the start: with all `heldBytes` gone there would still be no room, so every large body will be a miss. */
  async warnIfHopeless(heldBytes: number, log: Log): Promise<void> {
    const { dir, freeBytesFloor } = this.#parts;
    if (freeBytesFloor === 0) return;
    const shortBytes = await this.#shortBytes();
    if (shortBytes <= heldBytes) return;
    const message =
      'the file system has too little free for the store: only small bodies are kept, and in memory alone';
    log.warn({ dir, shortBytes, freeBytesFloor }, message);
  }

  async #look(): Promise<void> {
    this.#unseenBytes = 0;
    let shortBytes = await this.#shortBytes();
    if (shortBytes > 0) {
      // Else a volume of just maxBytes would, once full, refuse every body for ever: eviction would not set in.
      await this.#parts.makeRoom(shortBytes);
      shortBytes = await this.#shortBytes();
    }
    this.#isLow = shortBytes > 0;
    if (!this.#isLow) return;
    const { dir, freeBytesFloor } = this.#parts;
    throw new CleanmissError('DISK', 'self', `${dir}: ${shortBytes} bytes short of ${freeBytesFloor} to be left free`);
  }

  async #shortBytes(): Promise<number> {
    const { dir, files, freeBytesFloor } = this.#parts;
    try {
      const { bavail, bsize } = await files.statfs(dir);
      return freeBytesFloor - bavail * bsize;
    } catch (error) {
      throw asDiskError(`cannot look at the file system of ${dir}`, error);
    }
  }
}
