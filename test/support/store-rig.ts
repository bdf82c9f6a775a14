// Stores in a test's own directory, bodies to keep in them, and a disk that can be made to fail.

import { createHash } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { type FileHandle, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Encoding } from '../../src/core/claim.ts';
import { type Files, systemFiles } from '../../src/store/files.ts';
import type { Proof } from '../../src/store/filing.ts';
import { type Form, MIB, type ProvenForm } from '../../src/store/form.ts';
import { FormStore, type FormStoreOptions } from '../../src/store/forms.ts';
import type { Log } from '../../src/store/log.ts';
import { FakeClock } from './fake-clock.ts';
import { seededBytes } from './seeded.ts';

export const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

/** Bytes that depend on the seed; a period of a prime length makes every MiB differ from every other. */
export const bytesOf = (seed: string | number, sizeBytes: number): Buffer =>
  Buffer.alloc(sizeBytes, seededBytes(seed, Math.min(Math.max(sizeBytes, 1), 65_521)));

export interface Body {
  readonly bytes: Buffer;
  readonly proof: Proof;
}

/** A body of `sizeBytes` that depends on its seed alone, as identity: its bytes are what the digest names. */
export const identityBody = (seed: string | number, sizeBytes: number): Body => {
  const bytes = bytesOf(seed, sizeBytes);
  const digest = { sha256: sha256(bytes), sizeBytes };
  return { bytes, proof: { digest, encoding: 'identity', fileHash: digest.sha256 } };
};

/** One of many possible encodings of a digest. The store decodes nothing, so any bytes will do. */
export const encodedBody = (
  of: string,
  seed: string | number,
  sizeBytes: number,
  encoding: Encoding = 'zstd',
): Body => {
  const bytes = bytesOf(seed, sizeBytes);
  return { bytes, proof: { digest: { sha256: sha256(of), sizeBytes: of.length }, encoding, fileHash: sha256(bytes) } };
};

export class CollectedLog implements Log {
  readonly lines: { readonly fields: object; readonly message: string }[] = [];

  warn(fields: object, message: string): void {
    this.lines.push({ fields, message });
  }
}

/** A disk whose free space and whose writes a test decides. */
export class FakeFiles implements Files {
  /** Told by statfs; null: what there is. */
  freeBytes: number | null = null;
  statfsCalls = 0;
  /** Decides the fate of each write: throws what the disk throws. */
  onWrite: () => void | Promise<void> = () => {};
  onOpen: (path: string) => void = () => {};
  /** Bytes in each writev. */
  readonly writes: number[] = [];

  async open(path: string, flags: string): Promise<FileHandle> {
    this.onOpen(path);
    const file = await systemFiles.open(path, flags);
    const writev = file.writev.bind(file);
    file.writev = async (buffers, position) => {
      await this.onWrite();
      const written = await writev(buffers, position);
      this.writes.push(written.bytesWritten);
      return written;
    };
    return file;
  }

  async statfs(path: string): Promise<{ bavail: number; bsize: number }> {
    this.statfsCalls++;
    return this.freeBytes === null ? await systemFiles.statfs(path) : { bavail: this.freeBytes, bsize: 1 };
  }
}

export const diskError = (code: string): Error => Object.assign(new Error(`${code}: the disk says no`), { code });

interface Test {
  testdir(): string;
  teardown(action: () => Promise<void>): unknown;
}

export interface Rig {
  readonly store: FormStore;
  readonly dir: string;
  readonly clock: FakeClock;
  readonly log: CollectedLog;
  readonly files: FakeFiles;
}

/** Throws when this process has a file below `dir` open: a teardown that throws fails its test. */
export const refuseOpenFiles = (dir: string): void => {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The descriptor of the listing itself is closed by now.
      return '';
    }
  });
  const open = targets.filter((target) => target.startsWith(`${dir}/`));
  if (open.length > 0) throw new Error(`left open: ${open.join(', ')}`);
};

/** A store that is closed, with every file of its directory, when the test ends. Floor 0: the machine that runs the tests may be full. */
export const openForms = async (t: Test, options: Partial<FormStoreOptions> = {}): Promise<Rig> => {
  let store: FormStore | undefined;
  // Before the first testdir(): tap removes the directory ahead of teardowns that come after that.
  t.teardown(async () => {
    await store?.close();
    refuseOpenFiles(dir);
  });
  const dir = options.dir ?? t.testdir();
  const clock = new FakeClock();
  const log = new CollectedLog();
  const files = new FakeFiles();
  const bounds = { maxBytes: 256 * MIB, memoryBytes: 16 * MIB, freeBytesFloor: 0 };
  store = await FormStore.open({ dir, ...bounds, clock, durable: false, log, files, ...options });
  return { store, dir, clock, log, files };
};

/** Spools the body in pieces, and keeps it. */
export const keep = async (store: FormStore, { bytes, proof }: Body, pieceBytes = 64 * 1024): Promise<ProvenForm> => {
  const spool = store.spool();
  try {
    for (let at = 0; at < bytes.length; at += pieceBytes) await spool.append(bytes.subarray(at, at + pieceBytes));
    return await store.keep(spool, proof);
  } finally {
    await spool.discard();
  }
};

export const readAll = async (form: Form, start = 0, end = form.fileBytes): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(form.read(start, end)));

export const pathOf = (dir: string, { digest, encoding }: Proof): string =>
  join(dir, 'forms', digest.sha256.slice(0, 2), `${digest.sha256}-${digest.sizeBytes}.${encoding}`);

export const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );

/** Every file below `dir`, with its size. */
export const filesBelow = async (dir: string): Promise<Map<string, number>> => {
  const items = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = items.filter((item) => item.isFile()).map((item) => join(item.parentPath, item.name));
  return new Map(await Promise.all(files.map(async (path) => [path, (await stat(path)).size] as const)));
};
