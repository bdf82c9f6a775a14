// Which forms are held, in memory and on disk: how they are found, what has to go, and how it goes.

import { unlink, utimes } from 'node:fs/promises';
import type { Clock } from '../core/clock.ts';
import { isCode } from '../core/errors.ts';
import type { Backlog } from './backlog.ts';
import { DiskForm } from './disk-form.ts';
import type { Files } from './files.ts';
import type { Footer } from './footer.ts';
import { type Form, MIB, type ProvenForm } from './form.ts';
import { type Entry, FormIndex } from './form-index.ts';
import { formPath } from './form-name.ts';
import { loadForm } from './load-form.ts';
import type { Log } from './log.ts';
import { Lru } from './lru.ts';
import { MemoryForm } from './memory-form.ts';
import { ReplacedForms } from './replaced-forms.ts';
import { SeldomLog } from './seldom.ts';
import type { Turns } from './turns.ts';

/** How stale the use times on disk may be: after a restart, eviction errs by as much. */
const STAMP_EVERY_MS = 3_600_000;
/** A stamp is worth less than a write: while this many jobs wait, it is left to the next use. */
const STAMP_BELOW_JOBS = 64;
/** Footers of large forms, 32 bytes a MiB: 16 MiB know 512 GiB. Their objects add 32768 * 600 bytes = 20 MB at most. */
const FOOTERS = { maxEntries: 32_768, maxBytes: 16 * MIB };
/** How long a form is a miss whose bytes the disk did not give: then it may have come to itself. */
const UNREADABLE_MS = 60_000;
/** What a form in memory takes besides its body: object, digest, strings, a slot in the map. */
const FORM_OVERHEAD_BYTES = 512;

/**
 * Rests on its callers, all in store/: the bytes behind `form` were compared with a hash that a verdict recorded, or
 * will be, MiB by MiB, before they leave.
 */
export const asProven = (form: Form): ProvenForm => form as ProvenForm;

/** What a look at a form's file came to. `damaged`: it is dropped. `unreadable`: nothing is known of its bytes. */
export type Confirmed =
  | { readonly kind: 'held'; readonly form: ProvenForm }
  | { readonly kind: 'absent' | 'damaged' | 'unreadable' };

/** The bytes of an identity form are its digest's: no others can ever stand under its name. */
const isReplaceable = (name: string): boolean => !name.endsWith('.identity');

export interface HeldFormsParts {
  readonly formsDir: string;
  readonly maxBytes: number;
  readonly memoryBytes: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly files: Files;
  /** By name: whoever changes the file of a form has its turn. Making room waits for turns: nobody asks for it in one. */
  readonly turns: Turns;
  readonly behind: Backlog;
}

export class HeldForms {
  readonly #parts: HeldFormsParts;
  readonly index: FormIndex;
  /**
   * Small forms by body, large ones by footer. What is in them is in the index too, but for small forms that the disk
   * would not take: those live here alone.
   */
  readonly #small: Lru<ProvenForm>;
  readonly #large = new Lru<ProvenForm>(FOOTERS);
  /** Askers of one form share one look at the disk. */
  readonly #loading = new Map<Entry, Promise<Confirmed>>();
  readonly #replaced: ReplacedForms;
  readonly #unreadableLog: Log;

  constructor(parts: HeldFormsParts) {
    this.#parts = parts;
    this.index = new FormIndex(parts.maxBytes);
    this.#small = new Lru({ maxEntries: Number.POSITIVE_INFINITY, maxBytes: parts.memoryBytes });
    this.#replaced = new ReplacedForms(parts.clock);
    this.#unreadableLog = new SeldomLog(parts.clock, parts.log);
  }

  has(name: string): boolean {
    return this.index.get(name) !== undefined || this.#small.has(name);
  }

  async find(name: string): Promise<ProvenForm | undefined> {
    const entry = this.index.touch(name);
    if (entry !== undefined) this.#stamp(entry);
    const known = this.#small.get(name) ?? this.#large.get(name) ?? entry?.pending;
    if (known !== undefined || entry === undefined || this.#isUnreadable(entry)) return known;
    const loaded = await this.#load(entry);
    return loaded.kind === 'held' ? loaded.form : undefined;
  }

  /** Whether what is held under the name would outlive a loss of power. */
  isSynced(name: string): boolean {
    const entry = this.index.get(name);
    return entry !== undefined && entry.pending === undefined && entry.isUnsynced !== true;
  }

  /**
   * The form whose file is whole, as far as `find` would know without memory. One that is unreadable keeps its entry and
   * its file until another has taken their place: out of file descriptors, say, it is still the only copy.
   */
  async confirm(name: string): Promise<Confirmed> {
    const entry = this.index.touch(name);
    if (entry === undefined) return { kind: 'absent' };
    if (entry.pending !== undefined) return { kind: 'held', form: entry.pending };
    return this.#isUnreadable(entry) ? { kind: 'unreadable' } : await this.#load(entry);
  }

  /** A form's file at the start, least recently used first. Resolves when what there is no room for is gone. */
  async found(name: string, diskBytes: number, usedAtMs: number): Promise<void> {
    if (diskBytes > this.#parts.maxBytes) return await this.#unlink(name);
    const entry = { name, diskBytes, stampedAtMs: usedAtMs, pending: undefined, fileHash: undefined };
    await this.#unlinkAll(this.index.add(entry));
  }

  /** Takes in a form that has its file, or (`entry.pending`) is about to get it. */
  admit(entry: Entry, form: ProvenForm): void {
    this.#evict(this.index.add(entry));
    this.#remember(entry.name, form);
    if (isReplaceable(entry.name)) this.#replaced.kept(entry.name, form.fileHash);
  }

  diskForm(entry: Entry, footer: Footer): ProvenForm {
    const { files, formsDir } = this.#parts;
    const path = formPath(formsDir, entry.name);
    const onRot = () => void this.remove(entry);
    const onUnreadable = () => this.#doubt(entry);
    return asProven(new DiskForm(footer, { files, path, onRot, onUnreadable }));
  }

  /** The disk would not take it: it stays as long as memory has room. What it was to replace has its file still. */
  async disown(entry: Entry): Promise<void> {
    const { older } = entry;
    const isCurrent = this.index.remove(entry);
    if (isCurrent && older !== undefined) this.#evict(this.index.add(older));
    else await this.#unlink(entry.name);
  }

  /** Nothing, if another entry has its name by now. Resolves when the file is gone; nobody need wait. */
  async remove(entry: Entry): Promise<void> {
    if (this.index.remove(entry)) await this.#goes(entry);
  }

  async drop(name: string): Promise<void> {
    this.#small.delete(name);
    const entry = this.index.get(name);
    if (entry !== undefined) await this.remove(entry);
  }

  /** Lets go of at least `bytes` of unpinned forms, if there are as many; resolves when their files are gone. */
  async shrink(bytes: number): Promise<void> {
    const gone = this.index.shrink(bytes);
    for (const entry of gone) this.#forget(entry);
    await this.#unlinkAll(gone);
  }

  replacedWithin(name: string, ms: number): boolean {
    return this.#replaced.within(name, ms);
  }

  /** Nothing is found any more; resolves when no file is open. */
  async close(): Promise<void> {
    await Promise.all(this.#loading.values());
    this.#small.clear();
    this.#large.clear();
  }

  #isUnreadable({ unreadableUntilMs }: Entry): boolean {
    return unreadableUntilMs !== undefined && this.#parts.clock.monotonic() < unreadableUntilMs;
  }

  /** A miss for a while: then whoever has an upstream fetches it anew, and keeping it replaces the file. */
  #doubt(entry: Entry): void {
    if (this.index.get(entry.name) !== entry) return;
    entry.unreadableUntilMs = this.#parts.clock.monotonic() + UNREADABLE_MS;
    this.#large.delete(entry.name);
    this.#unreadableLog.warn({ form: entry.name }, 'a form cannot be read now');
  }

  #load(entry: Entry): Promise<Confirmed> {
    let loading = this.#loading.get(entry);
    if (loading === undefined) {
      loading = this.#loadNow(entry).finally(() => this.#loading.delete(entry));
      this.#loading.set(entry, loading);
    }
    return loading;
  }

  async #loadNow(entry: Entry): Promise<Confirmed> {
    const { files, formsDir, log } = this.#parts;
    const { name, diskBytes } = entry;
    const loaded = await loadForm(files, { path: formPath(formsDir, name), name, diskBytes });
    const isCurrent = this.index.get(name) === entry;
    if (loaded.kind === 'unreadable') {
      this.#unreadableLog.warn({ form: name, err: loaded.error }, 'a form cannot be read now');
      return { kind: 'unreadable' };
    }
    if (loaded.kind === 'damaged') {
      if (isCurrent) log.warn({ form: name, reason: loaded.reason }, 'a form on disk is damaged, and dropped');
      void this.remove(entry);
      return { kind: 'damaged' };
    }
    entry.fileHash = loaded.footer.fileHash;
    const form =
      loaded.kind === 'large'
        ? this.diskForm(entry, loaded.footer)
        : asProven(new MemoryForm(loaded.footer, loaded.body));
    if (isCurrent) this.#remember(name, form);
    return { kind: 'held', form };
  }

  #remember(name: string, form: ProvenForm): void {
    if (form.body !== undefined) this.#small.set(name, form, form.body.length + FORM_OVERHEAD_BYTES);
    else this.#large.set(name, form, 32 * Math.ceil(form.fileBytes / MIB));
  }

  /** One job for all: one body may cost tens of thousands of others, and whoever keeps the next waits for few jobs. */
  #evict(gone: readonly Entry[]): void {
    if (gone.length === 0) return;
    for (const entry of gone) this.#forget(entry);
    void this.#parts.behind.add(0, async () => {
      for (const { name } of gone) await this.#unlink(name);
    });
  }

  /** For an entry that has left the index: forgotten at once, so that a newer one is not mixed up with it. */
  async #goes(entry: Entry): Promise<void> {
    this.#forget(entry);
    await this.#parts.behind.add(0, () => this.#unlink(entry.name));
  }

  #forget({ name, fileHash }: Entry): void {
    this.#small.delete(name);
    this.#large.delete(name);
    if (fileHash !== undefined && isReplaceable(name)) this.#replaced.left(name, fileHash);
  }

  /** A few at a time: one large form may cost thousands of small ones, and reads wait for the same four threads. */
  async #unlinkAll(entries: readonly Entry[]): Promise<void> {
    const rest = entries.values();
    const unlinkRest = async () => {
      for (const { name } of rest) await this.#unlink(name);
    };
    await Promise.all([unlinkRest(), unlinkRest()]);
  }

  #unlink(name: string): Promise<void> {
    const { formsDir, log, turns } = this.#parts;
    return turns.run(name, async () => {
      // A newer form has the name, and its file took or will take the place of this one.
      if (this.index.get(name) !== undefined) return;
      await unlink(formPath(formsDir, name)).catch((error: unknown) => {
        if (!isCode(error, 'ENOENT')) log.warn({ form: name, err: error }, 'a form cannot be removed from disk');
      });
    });
  }

  #stamp(entry: Entry): void {
    const { behind, clock, formsDir } = this.#parts;
    const now = clock.now();
    if (now - entry.stampedAtMs < STAMP_EVERY_MS || behind.jobs >= STAMP_BELOW_JOBS) return;
    entry.stampedAtMs = now;
    // The file may be gone by then; a stamp that fails costs a place in the order of eviction, no more.
    void behind.add(0, () => utimes(formPath(formsDir, entry.name), now / 1000, now / 1000).catch(() => undefined));
  }
}
