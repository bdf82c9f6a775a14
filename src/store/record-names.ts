// Which records are on disk, by name alone: an absent one costs no look at the disk, and their number is known.

/** Names are 64 hex digits, spread over 256 directories by the first two: 200000 of them are about 25 MB. */
export class RecordNames {
  readonly #shards = new Map<string, Set<string>>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  has(name: string): boolean {
    return this.#shards.get(shardOf(name))?.has(name) ?? false;
  }

  add(name: string): void {
    if (this.has(name)) return;
    const shard = this.#shards.get(shardOf(name));
    if (shard === undefined) this.#shards.set(shardOf(name), new Set([name]));
    else shard.add(name);
    this.#count++;
  }

  delete(name: string): void {
    const shard = this.#shards.get(shardOf(name));
    if (shard === undefined || !shard.delete(name)) return;
    if (shard.size === 0) this.#shards.delete(shardOf(name));
    this.#count--;
  }

  /** The names of one directory, any but an empty one. */
  randomShard(): string[] {
    const shards = [...this.#shards.values()];
    return [...(shards[Math.floor(Math.random() * shards.length)] ?? [])];
  }
}

export const shardOf = (name: string): string => name.slice(0, 2);
