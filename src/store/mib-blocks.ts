// Bytes in blocks of one MiB, hashed as each fills: what a spool holds in memory until it is on disk.

import { hash } from 'node:crypto';
import { MIB } from './form.ts';

/**
 * Bytes are copied in: at 10 GB/s a sixth of what hashing them costs, and it bounds memory whatever slabs the chunks
 * were cut from, makes every write whole MiBs, and leaves the caller its chunk.
 */
export class MibBlocks {
  #bytes = 0;
  #releasedBytes = 0;
  /** By MiB. Only the last may be short; the very first grows with its bytes. */
  readonly #blocks = new Map<number, Buffer>();
  /** One block to use again, so that a steady flow allocates none. */
  #spare: Buffer | undefined;
  #hashes: Buffer[] = [];

  /** All that was ever pushed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** What was pushed and not released. */
  get heldBytes(): number {
    return this.#bytes - this.#releasedBytes;
  }

  get releasedBytes(): number {
    return this.#releasedBytes;
  }

  /** SHA-256 of each MiB that was pushed, the last and short one too; 32 bytes each. */
  get hashes(): Buffer {
    const tailBytes = this.#bytes % MIB;
    const tail = this.#blocks.get(Math.floor(this.#bytes / MIB));
    if (tail === undefined || tailBytes === 0) return Buffer.concat(this.#hashes);
    return Buffer.concat([...this.#hashes, hash('sha256', tail.subarray(0, tailBytes), 'buffer')]);
  }

  push(chunk: Buffer): void {
    for (let from = 0; from < chunk.length; ) {
      const at = this.#bytes % MIB;
      const taken = Math.min(MIB - at, chunk.length - from);
      const block = this.#room(Math.floor(this.#bytes / MIB), at + taken);
      chunk.copy(block, at, from, from + taken);
      from += taken;
      this.#bytes += taken;
      if (at + taken === MIB) this.#hashes.push(hash('sha256', block, 'buffer'));
    }
  }

  /** The held blocks in order, at most `max`; the last may be short. Whoever takes them releases them after use. */
  held(max: number): Buffer[] {
    const held: Buffer[] = [];
    for (let start = this.#releasedBytes; start < this.#bytes && held.length < max; start += MIB) {
      const block = this.#blocks.get(start / MIB);
      if (block !== undefined) held.push(block.subarray(0, Math.min(MIB, this.#bytes - start)));
    }
    return held;
  }

  /** Forgets the first `count` held blocks, which are full. Their memory is used again. */
  release(count: number): void {
    for (let released = 0; released < count; released++) {
      const index = this.#releasedBytes / MIB;
      this.#spare ??= this.#blocks.get(index);
      this.#blocks.delete(index);
      this.#releasedBytes += MIB;
    }
  }

  /** Fills `part`, which lies in one MiB, with the bytes from `position` on. False when they were released. */
  copyTo(part: Buffer, position: number): boolean {
    const block = this.#blocks.get(Math.floor(position / MIB));
    block?.copy(part, 0, position % MIB);
    return block !== undefined;
  }

  clear(): void {
    this.#bytes = 0;
    this.#releasedBytes = 0;
    this.#blocks.clear();
    this.#spare = undefined;
    this.#hashes = [];
  }

  /** The block of MiB `index`, with room for `needed` bytes. Most bodies are small and come whole: the first is exact. */
  #room(index: number, needed: number): Buffer {
    const block = this.#blocks.get(index);
    if (block !== undefined && block.length >= needed) return block;
    const capacity = index > 0 ? MIB : Math.min(MIB, Math.max(needed, 2 * (block?.length ?? 0)));
    const larger = index > 0 && this.#spare !== undefined ? this.#spare : Buffer.allocUnsafeSlow(capacity);
    if (larger === this.#spare) this.#spare = undefined;
    block?.copy(larger);
    this.#blocks.set(index, larger);
    return larger;
  }
}
