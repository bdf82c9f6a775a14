// Holds encoded bytes until their verdict: a MiB in memory, more in a file. What it holds is proof of nothing.

import type { FileHandle } from 'node:fs/promises';
import { unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CleanmissError } from '../core/errors.ts';
import type { DiskRoom } from './disk-room.ts';
import { asDiskError, type Files, readWhole, writeWhole } from './files.ts';
import { MIB, type Spool } from './form.ts';
import { MibBlocks } from './mib-blocks.ts';
import { inDirectory } from './publish.ts';

/** An append waits while more than this is not on disk yet; also the most that one writev takes. */
const WAITING_BLOCKS = 4;

export interface SpoolParts {
  readonly path: string;
  readonly files: Files;
  readonly room: DiskRoom;
  /** Up to so many bytes nothing is written before the verdict; less than one MiB counts as one. */
  readonly memoryBytes: number;
  /** Called once, when the spool has let go of everything. */
  readonly onEnd: (spool: StoreSpool) => void;
}

/** One write is in flight at a time; the blocks that fill meanwhile go with the next. */
export class StoreSpool implements Spool {
  readonly #parts: SpoolParts;
  readonly #blocks = new MibBlocks();
  /** Its bytes count as memory's as long as none was written. */
  #isOnDisk = false;
  #file: FileHandle | undefined;
  #writing: Promise<void> | undefined;
  #wakeups: (() => void)[] = [];
  /** Why no more can be appended. */
  #failure: CleanmissError | undefined;
  /** Counts resets, so that what waited across one knows. */
  #life = 0;
  #ending: Promise<void> | undefined;

  constructor(parts: SpoolParts) {
    this.#parts = parts;
  }

  get bytes(): number {
    return this.#blocks.bytes;
  }

  async append(chunk: Buffer): Promise<void> {
    this.#refuseIfFailed();
    const life = this.#life;
    try {
      this.#take(chunk.length);
    } catch (error) {
      this.#failure = asDiskError('spool', error);
      throw error;
    }
    this.#blocks.push(chunk);
    if (!this.#isOnDisk) return;
    this.#write();
    while (this.#blocks.heldBytes > WAITING_BLOCKS * MIB) {
      await new Promise<void>((resolve) => this.#wakeups.push(resolve));
      if (this.#life !== life) throw discarded();
      this.#refuseIfFailed();
      this.#write();
    }
  }

  async read(start: number, end: number): Promise<Buffer> {
    if (this.#ending !== undefined) throw discarded();
    if (!(start >= 0 && start <= end && end <= this.bytes && end - start <= MIB))
      throw new RangeError(`[${start}, ${end}) of ${this.bytes} bytes`);
    const piece = Buffer.allocUnsafeSlow(end - start);
    const life = this.#life;
    for (let at = start; at < end; ) {
      const stop = Math.min(end, at - (at % MIB) + MIB);
      const part = piece.subarray(at - start, stop - start);
      // Asked anew for every MiB: a block may go to disk, and its memory to another, while the one before is read.
      if (!this.#blocks.copyTo(part, at)) await this.#readFile(part, at);
      if (this.#life !== life) throw discarded();
      at = stop;
    }
    return piece;
  }

  async reset(): Promise<void> {
    if (this.#ending !== undefined) throw discarded();
    await this.#clear();
    if (this.#ending === undefined) this.#failure = undefined;
  }

  discard(): Promise<void> {
    this.#ending ??= this.#clear().finally(() => this.#parts.onEnd(this));
    return this.#ending;
  }

  // What follows is for FormStore.keep only.

  get path(): string {
    return this.#parts.path;
  }

  get mibHashes(): Buffer {
    return this.#blocks.hashes;
  }

  /** All bytes, if they never left memory, in a buffer of just their size. */
  get memoryBody(): Buffer | undefined {
    if (this.bytes > MIB) return undefined;
    const [body = Buffer.alloc(0)] = this.#blocks.held(1);
    if (body.length === body.buffer.byteLength) return body;
    const exact = Buffer.allocUnsafeSlow(body.length);
    body.copy(exact);
    return exact;
  }

  /** What is not on disk yet. */
  get heldBytes(): number {
    return this.#blocks.heldBytes;
  }

  /** Waits for the write under way, if there is one. */
  async settled(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Settled, makes the file whole, `footer` after the last byte. When it rejects, the bytes can still be read. */
  async finish(footer: Buffer, isSynced: boolean): Promise<void> {
    this.#refuseIfFailed();
    try {
      const pieces = [...this.#blocks.held(Number.POSITIVE_INFINITY), footer];
      const file = await this.#openFile();
      await writeWhole(file, pieces, this.#blocks.releasedBytes);
      if (isSynced) await file.datasync();
    } catch (error) {
      throw asDiskError('cannot finish a spool', error);
    }
  }

  /** Throws BUSY, and has taken nothing then. */
  #take(bytes: number): void {
    const { memoryBytes, room } = this.#parts;
    if (this.#isOnDisk) return room.takeDisk(bytes);
    if (this.bytes + bytes <= Math.max(MIB, memoryBytes)) return room.takeMemory(bytes);
    room.takeDisk(this.bytes + bytes);
    room.giveMemory(this.bytes);
    this.#isOnDisk = true;
  }

  #refuseIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #write(): void {
    this.#writing ??= this.#writeBlocks()
      .catch((error: unknown) => {
        this.#failure ??= asDiskError('cannot write a spool', error);
      })
      .finally(() => {
        this.#writing = undefined;
        this.#wake();
      });
  }

  async #writeBlocks(): Promise<void> {
    for (;;) {
      const full = Math.min(WAITING_BLOCKS, Math.floor(this.#blocks.heldBytes / MIB));
      if (full === 0 || this.#failure !== undefined) return;
      const position = this.#blocks.releasedBytes;
      await this.#parts.room.allow(full * MIB, position === 0);
      await writeWhole(await this.#openFile(), this.#blocks.held(full), position);
      this.#blocks.release(full);
      this.#wake();
    }
  }

  async #openFile(): Promise<FileHandle> {
    if (this.#file !== undefined) return this.#file;
    const { files, path } = this.#parts;
    const life = this.#life;
    const file = await inDirectory(dirname(path), () => files.open(path, 'wx+'));
    if (this.#life === life) {
      this.#file = file;
      return file;
    }
    await file.close();
    await removeFile(path);
    throw discarded();
  }

  async #readFile(part: Buffer, position: number): Promise<void> {
    if (this.#file === undefined) throw discarded();
    const bytes = await readWhole(this.#file, part, position).catch((error: unknown) => {
      throw asDiskError('cannot read a spool', error);
    });
    if (bytes < part.length) throw new CleanmissError('DISK', 'self', 'a spool lost bytes');
  }

  #wake(): void {
    const wakeups = this.#wakeups;
    this.#wakeups = [];
    for (const wake of wakeups) wake();
  }

  /** Safe during an append, a read or a write: appends reject, the others are waited for. */
  async #clear(): Promise<void> {
    this.#failure = discarded();
    this.#life++;
    this.#wake();
    await this.#writing;
    const file = this.#file;
    this.#file = undefined;
    if (this.#isOnDisk) this.#parts.room.giveDisk(this.bytes);
    else this.#parts.room.giveMemory(this.bytes);
    this.#isOnDisk = false;
    this.#blocks.clear();
    if (file === undefined) return;
    await file.close();
    await removeFile(this.#parts.path);
  }
}

const discarded = (): CleanmissError => new CleanmissError('DISCARDED', 'self', 'the spool was discarded or reset');

/** It may be a form by now. Nobody can act on its failing: what stays goes when the store is opened next. */
const removeFile = (path: string): Promise<void> => unlink(path).catch(() => undefined);
