// Turns a spool whose verdict is good into a form: the one way in which bytes become held.

import { hash } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import type { Encoding } from '../core/claim.ts';
import type { Clock } from '../core/clock.ts';
import type { Digest } from '../core/digest.ts';
import { CleanmissError } from '../core/errors.ts';
import type { Backlog } from './backlog.ts';
import type { DirectorySyncs } from './directory-syncs.ts';
import type { DiskRoom } from './disk-room.ts';
import { asDiskError, type Files } from './files.ts';
import { encodeFooter, type Footer } from './footer.ts';
import { MIB, type ProvenForm } from './form.ts';
import type { Entry } from './form-index.ts';
import { formPath } from './form-name.ts';
import { asProven, type HeldForms } from './held-forms.ts';
import type { Log } from './log.ts';
import { MemoryForm } from './memory-form.ts';
import { moveInto, publish } from './publish.ts';
import type { StoreSpool } from './spool.ts';
import type { Turns } from './turns.ts';

/** What a verdict says of the bytes in a spool. */
export interface Proof {
  readonly digest: Digest;
  readonly encoding: Encoding;
  /** SHA-256 of the encoded bytes, lower-case hex. */
  readonly fileHash: string;
}

export interface FilingParts {
  readonly formsDir: string;
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly files: Files;
  readonly turns: Turns;
  readonly behind: Backlog;
  readonly held: HeldForms;
  readonly room: DiskRoom;
  readonly syncs: DirectorySyncs;
  /** A path on the same file system that nobody has. */
  readonly newFile: () => string;
}

export class Filing {
  readonly #parts: FilingParts;
  #isDiskFailing = false;

  constructor(parts: FilingParts) {
    this.#parts = parts;
  }

  /** What `file` will rely on; before its turn, for room is made in the turns of others. Rejects with code DISK. */
  async prepare(name: string, spool: StoreSpool, isDurable: boolean): Promise<void> {
    const { behind, held, room } = this.#parts;
    await behind.room();
    await spool.settled();
    const isWrittenNow = spool.bytes > MIB || isDurable;
    if (isWrittenNow && held.index.get(name) === undefined) await room.allow(spool.heldBytes);
  }

  /**
   * In the turn of `name`, under which nothing is held that will do; what will not is replaced, and stays when that fails.
   * Rejects with code DISK when it cannot be kept: the spool can still be read then. Durable, it is on disk, whatever its
   * size, when this resolves. The caller discards the spool.
   */
  async file(name: string, spool: StoreSpool, proof: Proof, isDurable: boolean): Promise<ProvenForm> {
    const { clock, held, maxBytes } = this.#parts;
    const footer: Footer = { ...proof, fileBytes: spool.bytes, mibHashes: spool.mibHashes };
    refuseOtherBytes(footer);
    const end = encodeFooter(footer);
    const diskBytes = spool.bytes + end.length;
    if (diskBytes > maxBytes)
      throw new CleanmissError('DISK', 'self', `${diskBytes} bytes for one form, of ${maxBytes} for all`);
    const { fileHash } = proof;
    const older = held.index.get(name);
    const entry: Entry = { name, diskBytes, stampedAtMs: clock.now(), pending: undefined, fileHash, older };
    const body = spool.memoryBody;
    return body === undefined
      ? await this.#fileLarge(entry, footer, spool, end, isDurable)
      : await this.#fileSmall(entry, footer, body, end, isDurable);
  }

  async #fileLarge(
    entry: Entry,
    footer: Footer,
    spool: StoreSpool,
    end: Buffer,
    isDurable: boolean,
  ): Promise<ProvenForm> {
    const { held, syncs } = this.#parts;
    await spool.finish(end, isDurable);
    await this.#publish(entry, isDurable, (path) => moveInto(spool.path, path, { syncs, isDurable }));
    const form = held.diskForm(entry, footer);
    held.admit(entry, form);
    return form;
  }

  async #fileSmall(entry: Entry, footer: Footer, body: Buffer, end: Buffer, isDurable: boolean): Promise<ProvenForm> {
    const { behind, held } = this.#parts;
    const form = asProven(new MemoryForm(footer, body));
    if (isDurable) {
      await this.#write(entry, [body, end], true);
    } else {
      entry.pending = form;
      void behind.add(entry.diskBytes, () => this.#writeBehind(entry, [body, end]));
    }
    held.admit(entry, form);
    return form;
  }

  #write(entry: Entry, pieces: readonly Buffer[], isDurable: boolean): Promise<void> {
    const { files, newFile, syncs } = this.#parts;
    return this.#publish(entry, isDurable, (path) =>
      publish({ files, temporary: newFile(), path, pieces, syncs, isDurable }),
    );
  }

  async #publish(entry: Entry, isDurable: boolean, action: (path: string) => Promise<void>): Promise<void> {
    const path = formPath(this.#parts.formsDir, entry.name);
    try {
      await action(path);
      entry.older = undefined;
      entry.isUnsynced = !isDurable;
    } catch (error) {
      // Renamed and not synced, it would be found after a restart though its keep was refused.
      if (entry.older === undefined) await unlink(path).catch(() => undefined);
      throw asDiskError('cannot file a form', error);
    }
  }

  async #writeBehind(entry: Entry, pieces: readonly Buffer[]): Promise<void> {
    const { held, log, room, turns } = this.#parts;
    try {
      // Before its turn: making room may want the turn of this very form, to evict it.
      await room.allow(entry.diskBytes);
      await turns.run(entry.name, async () => {
        if (held.index.get(entry.name) === entry) await this.#write(entry, pieces, false);
        entry.pending = undefined;
      });
      this.#isDiskFailing = false;
    } catch (err) {
      await held.disown(entry);
      // Once until a write succeeds: a full disk fails every form.
      if (!this.#isDiskFailing) log.warn({ err }, 'forms are not written to disk: memory alone holds the small ones');
      this.#isDiskFailing = true;
    }
  }
}

/** Two checks that cost nothing, of what the spool hashed by itself against the verdict: memory rots too. */
const refuseOtherBytes = ({ digest, encoding, fileBytes, fileHash, mibHashes }: Footer): void => {
  const isOneHash = fileBytes > 0 && fileBytes <= MIB;
  const ownHash = isOneHash ? mibHashes.toString('hex') : fileBytes === 0 ? hash('sha256', '') : fileHash;
  const isIdentity = encoding !== 'identity' || (digest.sha256 === fileHash && digest.sizeBytes === fileBytes);
  if (ownHash !== fileHash || !isIdentity)
    throw new CleanmissError('ROT', 'self', 'the bytes in the spool are not those of the verdict');
};
