// Which forms are on disk, how many bytes they take, and which of them goes first. No I/O.

import type { ProvenForm } from './form.ts';

export interface Entry {
  readonly name: string;
  /** Body and footer. */
  readonly diskBytes: number;
  /** Wall clock of the last use that was written to the file's times. */
  stampedAtMs: number;
  /** The form itself, while its file is not written yet. */
  pending: ProvenForm | undefined;
  /** Known once the form was kept or loaded by this process. */
  fileHash: string | undefined;
  /** Its file was not synced: what must outlive a loss of power is written anew. One of an earlier process had its time. */
  isUnsynced?: boolean;
  /** Monotonic ms up to which it is not found, as the disk did not give its bytes. Its file stays: it may be right. */
  unreadableUntilMs?: number;
  /** What had the name before, and could not be read, until this one's file has taken the place of that. */
  older?: Entry | undefined;
}

export class FormIndex {
  readonly #maxBytes: number;
  /** Both in order of use. Pinned ones apart, so that eviction need not walk past them. */
  readonly #loose = new Map<string, Entry>();
  readonly #pinned = new Map<string, Entry>();
  /** How often each name is pinned, held or not: a pin may come before its form does. */
  readonly #pins = new Map<string, number>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get objects(): number {
    return this.#loose.size + this.#pinned.size;
  }

  /** Does not count as use. */
  get(name: string): Entry | undefined {
    return this.#shelf(name).get(name);
  }

  /** The entry, used now. */
  touch(name: string): Entry | undefined {
    const shelf = this.#shelf(name);
    const entry = shelf.get(name);
    if (entry === undefined) return undefined;
    shelf.delete(name);
    shelf.set(name, entry);
    return entry;
  }

  /** Takes in `entry`, and gives what had to go for it: by use, pinned last, never itself. */
  add(entry: Entry): Entry[] {
    const older = this.get(entry.name);
    if (older !== undefined) this.remove(older);
    this.#shelf(entry.name).set(entry.name, entry);
    this.#bytes += entry.diskBytes;
    const gone: Entry[] = [];
    for (const shelf of [this.#loose, this.#pinned])
      for (const oldest of shelf.values()) {
        if (this.#bytes <= this.#maxBytes) return gone;
        if (oldest !== entry && this.remove(oldest)) gone.push(oldest);
      }
    return gone;
  }

  /** Lets go of at least `bytes`, as long as there are forms that are not pinned. */
  shrink(bytes: number): Entry[] {
    const gone: Entry[] = [];
    const target = this.#bytes - bytes;
    for (const oldest of this.#loose.values()) {
      if (this.#bytes <= target) break;
      if (this.remove(oldest)) gone.push(oldest);
    }
    return gone;
  }

  /** False when another entry, or none, has its name by now. */
  remove(entry: Entry): boolean {
    const shelf = this.#shelf(entry.name);
    if (shelf.get(entry.name) !== entry) return false;
    this.#bytes -= entry.diskBytes;
    return shelf.delete(entry.name);
  }

  /** Each `pin` wants its own `unpin`. */
  pin(name: string): void {
    const pins = this.#pins.get(name) ?? 0;
    if (pins === 0) this.#move(name, this.#loose, this.#pinned);
    this.#pins.set(name, pins + 1);
  }

  unpin(name: string): void {
    const pins = this.#pins.get(name) ?? 0;
    if (pins > 1) this.#pins.set(name, pins - 1);
    else if (this.#pins.delete(name)) this.#move(name, this.#pinned, this.#loose);
  }

  #shelf(name: string): Map<string, Entry> {
    return this.#pins.has(name) ? this.#pinned : this.#loose;
  }

  #move(name: string, from: Map<string, Entry>, to: Map<string, Entry>): void {
    const entry = from.get(name);
    if (entry === undefined) return;
    from.delete(name);
    to.set(name, entry);
  }
}
