// Keeps proven bodies within its bounds, in memory and on disk, and gives them out only as proven forms.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Encoding } from '../core/claim.ts';
import type { Clock } from '../core/clock.ts';
import type { Digest } from '../core/digest.ts';
import { CleanmissError } from '../core/errors.ts';
import { Backlog } from './backlog.ts';
import { DirectorySyncs } from './directory-syncs.ts';
import { DiskRoom } from './disk-room.ts';
import { asDiskError, type Files, systemFiles } from './files.ts';
import { Filing, type Proof } from './filing.ts';
import { MIB, type ProvenForm, type Spool } from './form.ts';
import { encodings, formName } from './form-name.ts';
import { HeldForms } from './held-forms.ts';
import type { Log } from './log.ts';
import { emptyDirectory, scanForms } from './scan.ts';
import { StoreSpool } from './spool.ts';
import { Turns } from './turns.ts';

/** Files written after the answer: at a median of 20 KiB some 5 MiB, at most 64 MiB of memory. */
const BEHIND = { maxJobs: 256, maxBytes: 64 * MIB };

/** As many as may be small and whole at once: all fills, and as many uploads. */
const SPOOLS_IN_MEMORY = 128;

export interface FormStoreOptions {
  /** Ours alone (`ownDirectory`), and of a layout we know (`settleFormat`). */
  readonly dir: string;
  /** What all forms together may take on disk, footers included. */
  readonly maxBytes: number;
  /** What bodies of small forms may take in memory. */
  readonly memoryBytes: number;
  /** Up to this size, and to one MiB always, a body waits for its verdict in memory. One MiB by default. */
  readonly spoolMemoryBytes?: number;
  readonly clock: Clock;
  /** What `keep` is by default: true, and what it gave back outlives a loss of power. */
  readonly durable: boolean;
  readonly freeBytesFloor?: number;
  readonly spoolShare?: number;
  readonly log: Log;
  readonly files?: Files;
}

export interface FormStats {
  readonly bytes: number;
  readonly maxBytes: number;
  readonly objects: number;
  readonly spoolBytes: number;
}

export class FormStore {
  readonly #options: FormStoreOptions;
  readonly #files: Files;
  readonly #turns = new Turns();
  readonly #behind: Backlog;
  readonly #held: HeldForms;
  readonly #room: DiskRoom;
  readonly #filing: Filing;
  readonly #spools = new Set<StoreSpool>();
  #filesMade = 0;
  #isClosed = false;

  /** Whoever opens it closes it. Rejects with code DISK when the directory cannot be made or read. */
  static async open(options: FormStoreOptions): Promise<FormStore> {
    const store = new FormStore(options);
    try {
      await store.#scan();
      return store;
    } catch (error) {
      throw asDiskError(`cannot open the store in ${options.dir}`, error);
    }
  }

  private constructor(options: FormStoreOptions) {
    const { clock, dir, files = systemFiles, freeBytesFloor = 2 * 1024 * MIB, log, maxBytes, memoryBytes } = options;
    this.#options = options;
    this.#files = files;
    this.#behind = new Backlog(BEHIND, (err) => log.warn({ err }, 'background work of the store failed'));
    const formsDir = this.#formsDir;
    const parts = { formsDir, maxBytes, memoryBytes, clock, log, files, turns: this.#turns, behind: this.#behind };
    this.#held = new HeldForms(parts);
    const spoolBytes = Math.floor((options.spoolShare ?? 0.25) * maxBytes);
    const makeRoom = (bytes: number) => this.#held.shrink(bytes);
    const spoolMemoryBytes = SPOOLS_IN_MEMORY * Math.max(MIB, options.spoolMemoryBytes ?? 0);
    this.#room = new DiskRoom({ dir, files, spoolBytes, memoryBytes: spoolMemoryBytes, freeBytesFloor, makeRoom });
    const syncs = new DirectorySyncs();
    const newFile = () => this.#newFile('form');
    this.#filing = new Filing({ ...parts, held: this.#held, room: this.#room, syncs, newFile });
  }

  /** The form, checked as far as can be without reading a large one. Undefined when it is not held, or damaged. */
  async find(digest: Digest, encoding: Encoding): Promise<ProvenForm | undefined> {
    return this.#isClosed ? undefined : this.#held.find(formName(digest, encoding));
  }

  /** Whether it seems to be held; only `find` knows. */
  has(digest: Digest, encoding: Encoding): boolean {
    return this.#held.has(formName(digest, encoding));
  }

  /** What seems to be held; only `find` knows. */
  encodings(digest: Digest): Encoding[] {
    return encodings.filter((encoding) => this.#held.has(formName(digest, encoding)));
  }

  /** A new spool: the caller's to `keep` or to discard, on every path. */
  spool(): Spool {
    this.#refuseIfClosed();
    const path = this.#newFile('spool');
    const onEnd = (spool: StoreSpool) => void this.#spools.delete(spool);
    const spool = new StoreSpool({
      path,
      files: this.#files,
      room: this.#room,
      memoryBytes: this.#options.spoolMemoryBytes ?? MIB,
      onEnd,
    });
    this.#spools.add(spool);
    return spool;
  }

  /**
   * For `proof/` alone: files the spooled bytes, which matched `proof`, and discards the spool. A form that is held
   * already under that digest and encoding stays, and is what comes back. Rejects with DISK when it cannot be kept;
   * the spool is then left as it was. Not durable, a small form comes back even so, at once, and lives in memory.
   */
  async keep(spool: Spool, proof: Proof, isDurable = this.#options.durable): Promise<ProvenForm> {
    if (!(spool instanceof StoreSpool)) throw new TypeError('a spool of another store');
    this.#refuseIfClosed();
    const name = formName(proof.digest, proof.encoding);
    await this.#filing.prepare(name, spool, isDurable);
    const form = await this.#turns.run(name, async () => {
      const held = await this.#held.confirm(name);
      const isEnough = !isDurable || this.#held.isSynced(name);
      return held.kind === 'held' && isEnough ? held.form : await this.#filing.file(name, spool, proof, isDurable);
    });
    await spool.discard();
    return form;
  }

  /** Whether a body of so many encoded bytes can be proven here, busy or not. */
  mayEverHold(bytes: number): boolean {
    return this.#room.mayEverTake(bytes);
  }

  async drop(digest: Digest, encoding: Encoding): Promise<void> {
    await this.#held.drop(formName(digest, encoding));
  }

  /** Pinned forms are evicted last. Counted: each pin wants its unpin. A pin may come before its form. */
  pin(digest: Digest, encoding: Encoding): void {
    this.#held.index.pin(formName(digest, encoding));
  }

  unpin(digest: Digest, encoding: Encoding): void {
    this.#held.index.unpin(formName(digest, encoding));
  }

  /** Whether other bytes were held under this digest and encoding within the last `ms`. Forgotten at a restart. */
  replacedWithin(digest: Digest, encoding: Encoding, ms: number): boolean {
    return this.#held.replacedWithin(formName(digest, encoding), ms);
  }

  /** Room for files of others on the same file system: asked before `bytes` are written. Rejects with code DISK at the floor. */
  allow(bytes: number): Promise<void> {
    return this.#room.allow(bytes);
  }

  stats(): FormStats {
    const { bytes, objects } = this.#held.index;
    return { bytes, maxBytes: this.#options.maxBytes, objects, spoolBytes: this.#room.spooled };
  }

  /** Ends open spools, waits for what is being written. Readers of large forms close their own files. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#spools].map((spool) => spool.discard()));
    await this.#turns.idle();
    await this.#behind.idle();
    await this.#held.close();
  }

  get #formsDir(): string {
    return join(this.#options.dir, 'forms');
  }

  get #spoolDir(): string {
    return join(this.#options.dir, 'spool');
  }

  /** Unique: the directory is ours alone, and was emptied when it was opened. */
  #newFile(kind: 'spool' | 'form'): string {
    return join(this.#spoolDir, `${++this.#filesMade}.${kind}`);
  }

  async #scan(): Promise<void> {
    await emptyDirectory(this.#spoolDir, (name) => /^\d+\.(spool|form)$/.test(name));
    await mkdir(this.#formsDir, { recursive: true });
    const syncs = new DirectorySyncs();
    // Also of what an earlier process made and did not sync: durable keeps rest on it.
    for (const dir of [this.#options.dir, this.#formsDir]) await syncs.sync(dir);
    for (const { name, diskBytes, usedAtMs } of await scanForms(this.#formsDir))
      await this.#held.found(name, diskBytes, usedAtMs);
    await this.#room.warnIfHopeless(this.#held.index.bytes, this.#options.log);
  }

  #refuseIfClosed(): void {
    if (this.#isClosed) throw new CleanmissError('CLOSED', 'self', 'the store is closed');
  }
}
