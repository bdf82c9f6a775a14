// NARs that were uploaded and proven to themselves, and wait for the narinfo that makes them visible.

import { hash } from 'node:crypto';
import type { Encoding } from '../core/claim.ts';
import type { Clock } from '../core/clock.ts';
import type { Digest } from '../core/digest.ts';
import type { ProvenForm } from '../store/form.ts';
import type { FormStore } from '../store/forms.ts';
import type { Records } from '../store/records.ts';

/** A NAR by the URL it was put under; hash and size are those of the uploaded file. */
export interface PendingNar {
  readonly cache: string;
  readonly url: string;
  readonly digest: Digest;
  readonly encoding: Encoding;
  readonly fileHash: string;
  readonly fileBytes: number;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** Nix puts the narinfo right behind its NAR; a day outlives any interrupted push. */
const KEPT_MS = 24 * 3_600_000;
const SHARE_OF_STORE = 0.1;
/** Far more than any client leaves without their narinfos for long: 3.3 MB in memory. */
const MAX_NARS = 10_000;
/** One record is written anew for each NAR: of 10,000, with 40 of them in it. */
const SHARDS = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'));

const keyOf = (cache: string, url: string): string => `${cache}\n${url}`;
const shardOf = ({ cache, url }: PendingNar): string => hash('sha256', keyOf(cache, url)).slice(0, 2);
const recordKey = (shard: string): string => `pending-nars\n${shard}`;
/** All in one record, as it was until one of 4 MiB could hold no more. Read until FORMAT is raised and starts the store anew. */
const OLDER_RECORD = 'pending-nars';

export class PendingNars {
  readonly #records: Records;
  readonly #forms: FormStore;
  readonly #clock: Clock;
  readonly #maxBytes: number;
  /** The oldest first. */
  readonly #nars = new Map<string, PendingNar>();
  readonly #shards = new Map<string, Set<PendingNar>>();
  #bytes = 0;

  private constructor(records: Records, forms: FormStore, clock: Clock, maxStoreBytes: number) {
    this.#records = records;
    this.#forms = forms;
    this.#clock = clock;
    this.#maxBytes = maxStoreBytes * SHARE_OF_STORE;
  }

  static async open(records: Records, forms: FormStore, clock: Clock, maxStoreBytes: number): Promise<PendingNars> {
    const pending = new PendingNars(records, forms, clock, maxStoreBytes);
    // Only this class writes under these keys, and the store gives back nothing that was damaged.
    const read = async (key: string) => ((await records.get(key)) ?? []) as readonly PendingNar[];
    const older = await read(OLDER_RECORD);
    const nars = (await Promise.all(SHARDS.map((shard) => read(recordKey(shard))))).flat();
    for (const nar of [...older, ...nars].sort((a, b) => a.at - b.at)) pending.#take(nar);
    if (older.length > 0) {
      await pending.#write(older);
      await records.delete(OLDER_RECORD);
    }
    return pending;
  }

  find(cache: string, url: string): PendingNar | undefined {
    return this.#nars.get(keyOf(cache, url));
  }

  /** Resolves when it outlives a crash. The oldest go where all together would be more than their share. */
  async add(
    cache: string,
    url: string,
    form: ProvenForm,
    file: { readonly fileHash: string; readonly fileBytes: number },
  ): Promise<void> {
    const nar: PendingNar = {
      cache,
      url,
      ...file,
      digest: form.digest,
      encoding: form.encoding,
      at: this.#clock.now(),
    };
    this.#take(nar);
    const gone: PendingNar[] = [];
    for (const oldest of this.#nars.values()) {
      const isOld = nar.at - oldest.at >= KEPT_MS;
      if (oldest === nar || !(isOld || this.#bytes > this.#maxBytes || this.#nars.size > MAX_NARS)) break;
      this.#leave(oldest);
      gone.push(oldest);
    }
    await this.#write([nar, ...gone]);
  }

  /** It is visible now, or given up. */
  async remove(nar: PendingNar): Promise<void> {
    if (this.find(nar.cache, nar.url) !== nar) return;
    this.#leave(nar);
    await this.#write([nar]);
  }

  /** In the place of an older one under its URL. */
  #take(nar: PendingNar): void {
    // Before the older one is let go: it may be the same form.
    this.#forms.pin(nar.digest, nar.encoding);
    const older = this.find(nar.cache, nar.url);
    if (older !== undefined) this.#leave(older);
    this.#nars.set(keyOf(nar.cache, nar.url), nar);
    this.#shard(nar).add(nar);
    this.#bytes += nar.fileBytes;
  }

  #leave(nar: PendingNar): void {
    this.#nars.delete(keyOf(nar.cache, nar.url));
    this.#shard(nar).delete(nar);
    this.#bytes -= nar.fileBytes;
    this.#forms.unpin(nar.digest, nar.encoding);
  }

  #shard(nar: PendingNar): Set<PendingNar> {
    const shard = this.#shards.get(shardOf(nar)) ?? new Set<PendingNar>();
    this.#shards.set(shardOf(nar), shard);
    return shard;
  }

  /** The records in which these are, or were. */
  async #write(nars: readonly PendingNar[]): Promise<void> {
    const shards = new Map(nars.map((nar) => [shardOf(nar), this.#shard(nar)]));
    await Promise.all([...shards].map(([shard, within]) => this.#records.put(recordKey(shard), [...within])));
  }
}
