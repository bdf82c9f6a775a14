// NARs that were uploaded and proven to themselves, and wait for the narinfo that makes them visible.

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
const RECORD = 'pending-nars';

export class PendingNars {
  readonly #records: Records;
  readonly #forms: FormStore;
  readonly #clock: Clock;
  readonly #maxBytes: number;
  #nars: readonly PendingNar[];

  private constructor(
    records: Records,
    forms: FormStore,
    clock: Clock,
    maxStoreBytes: number,
    nars: readonly PendingNar[],
  ) {
    this.#records = records;
    this.#forms = forms;
    this.#clock = clock;
    this.#maxBytes = maxStoreBytes * SHARE_OF_STORE;
    this.#nars = nars;
    for (const nar of nars) forms.pin(nar.digest, nar.encoding);
  }

  static async open(records: Records, forms: FormStore, clock: Clock, maxStoreBytes: number): Promise<PendingNars> {
    // Only this class writes under this key, and the store gives back nothing that was damaged.
    const nars = ((await records.get(RECORD)) ?? []) as readonly PendingNar[];
    return new PendingNars(records, forms, clock, maxStoreBytes, nars);
  }

  find(cache: string, url: string): PendingNar | undefined {
    return this.#nars.find((nar) => nar.cache === cache && nar.url === url);
  }

  /** Resolves when it outlives a crash. The oldest go where all together would take more than their share. */
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
    this.#forms.pin(nar.digest, nar.encoding);
    await this.#keep([...this.#nars.filter((other) => other.cache !== cache || other.url !== url), nar]);
  }

  /** It is visible now, or given up. */
  async remove(nar: PendingNar): Promise<void> {
    await this.#keep(this.#nars.filter((other) => other !== nar));
  }

  async #keep(nars: readonly PendingNar[]): Promise<void> {
    const kept: PendingNar[] = [];
    let bytes = 0;
    for (const nar of nars.toReversed()) {
      bytes += nar.fileBytes;
      if (this.#clock.now() - nar.at < KEPT_MS && (bytes <= this.#maxBytes || kept.length === 0)) kept.unshift(nar);
    }
    const dropped = this.#nars.filter((nar) => !kept.includes(nar));
    this.#nars = kept;
    for (const { digest, encoding } of dropped) this.#forms.unpin(digest, encoding);
    await this.#records.put(RECORD, kept);
  }
}
