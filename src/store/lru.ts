// A map that forgets what was used longest ago, once it holds too many entries or too many bytes.

interface Item<V> {
  readonly value: V;
  readonly bytes: number;
}

export interface LruBounds {
  readonly maxEntries: number;
  readonly maxBytes: number;
}

export class Lru<V> {
  readonly #bounds: LruBounds;
  /** In order of use: a Map iterates in order of insertion, so a touch is a delete and a set. */
  readonly #items = new Map<string, Item<V>>();
  #bytes = 0;

  constructor(bounds: LruBounds) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#items.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Does not count as use. */
  /** From the one used longest ago on. */
  *values(): Generator<V, void, void> {
    for (const { value } of this.#items.values()) yield value;
  }

  has(key: string): boolean {
    return this.#items.has(key);
  }

  get(key: string): V | undefined {
    const item = this.#items.get(key);
    if (item === undefined) return undefined;
    this.#items.delete(key);
    this.#items.set(key, item);
    return item.value;
  }

  /** Takes the place of an older value under `key`. A value larger than the whole map is not taken. */
  set(key: string, value: V, bytes = 0): void {
    this.delete(key);
    if (bytes > this.#bounds.maxBytes) return;
    this.#items.set(key, { value, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#items.keys()) {
      if (this.#items.size <= this.#bounds.maxEntries && this.#bytes <= this.#bounds.maxBytes) return;
      this.delete(oldest);
    }
  }

  delete(key: string): boolean {
    const item = this.#items.get(key);
    if (item === undefined) return false;
    this.#bytes -= item.bytes;
    return this.#items.delete(key);
  }

  clear(): void {
    this.#items.clear();
    this.#bytes = 0;
  }
}
