// Writes NARs, Nix's archive format, as `nix-store --dump` would (libutil/archive.cc).

import { createHash } from 'node:crypto';
import type { Digest } from '../../src/core/digest.ts';
import { type Seed, seededBytes, seededNumbers } from './seeded.ts';

export type NarNode =
  | { readonly kind: 'regular'; readonly contents: Buffer; readonly executable?: boolean }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'directory'; readonly entries: Readonly<Record<string, NarNode>> };

/** Length (8 bytes, little-endian), bytes, zeros up to a multiple of 8. */
const stringHead = (sizeBytes: number): Buffer => {
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(sizeBytes));
  return head;
};
const padding = (sizeBytes: number): Buffer => Buffer.alloc((8 - (sizeBytes % 8)) % 8);
const string = (value: string | Buffer): Buffer => {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([stringHead(bytes.length), bytes, padding(bytes.length)]);
};
const strings = (...values: readonly string[]): Buffer => Buffer.concat(values.map(string));

const writeNode = (node: NarNode): Buffer[] => {
  switch (node.kind) {
    case 'regular': {
      const mode = node.executable ? [strings('executable', '')] : [];
      const contents = [string('contents'), string(node.contents)];
      return [strings('(', 'type', 'regular'), ...mode, ...contents, string(')')];
    }
    case 'symlink':
      return [strings('(', 'type', 'symlink', 'target', node.target, ')')];
    case 'directory': {
      const names = Object.keys(node.entries).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      const entries = names.flatMap((name) => {
        const child = node.entries[name];
        if (!child) return [];
        return [strings('entry', '(', 'name', name, 'node'), ...writeNode(child), string(')')];
      });
      return [strings('(', 'type', 'directory'), ...entries, string(')')];
    }
  }
};

export const writeNar = (root: NarNode): Buffer => Buffer.concat([string('nix-archive-1'), ...writeNode(root)]);

/** What one small program looks like; `rest` is the file that takes up the wanted size. */
const program = (seed: Seed, rest: Buffer): NarNode => ({
  kind: 'directory',
  entries: {
    bin: {
      kind: 'directory',
      entries: {
        hello: { kind: 'regular', contents: Buffer.from(`#!/bin/sh\n# ${seed}\n`), executable: true },
        hi: { kind: 'symlink', target: 'hello' },
      },
    },
    empty: { kind: 'regular', contents: Buffer.alloc(0) },
    lib: { kind: 'directory', entries: { 'libhello.so.1': { kind: 'regular', contents: rest } } },
  },
});

export interface NarShape {
  readonly seed: Seed;
  readonly sizeBytes: number;
}

/**
 * A NAR of exactly `sizeBytes`, rounded up to a multiple of 8 (every NAR is one), and 112 bytes at least. From 4 KiB on it holds
 * directories, an executable and a symlink; below, it is one regular file.
 */
export const makeNar = ({ seed, sizeBytes }: NarShape): Buffer => {
  const lone = (rest: Buffer): NarNode => ({ kind: 'regular', contents: rest });
  const root = sizeBytes < 4096 ? lone : (rest: Buffer) => program(seed, rest);
  const room = Math.ceil(sizeBytes / 8) * 8 - writeNar(root(Buffer.alloc(0))).length;
  // Up to 7 bytes less are padded back: contents of every length occur.
  const contentBytes = room <= 0 ? 0 : room - (seededNumbers(seed)() % 8);
  return writeNar(root(seededBytes(seed, contentBytes)));
};

export const digestOf = (bytes: Buffer): Digest => ({
  sha256: createHash('sha256').update(bytes).digest('hex'),
  sizeBytes: bytes.length,
});

export interface LazyNar {
  readonly sizeBytes: number;
  chunks(): Generator<Buffer, void, void>;
  /** Reads all of it once: about 1.5 s for a GiB. */
  digest(): Digest;
}

/** A NAR of any size that is never held: one regular file, in which a seeded MiB repeats. */
export const lazyNar = ({ seed, sizeBytes }: NarShape): LazyNar => {
  const head = strings('nix-archive-1', '(', 'type', 'regular', 'contents');
  const tail = string(')');
  const contentBytes = Math.ceil(sizeBytes / 8) * 8 - head.length - 8 - tail.length;
  const mib = seededBytes(seed, 1024 * 1024);
  function* chunks(): Generator<Buffer, void, void> {
    yield Buffer.concat([head, stringHead(contentBytes)]);
    for (let left = contentBytes; left > 0; left -= mib.length) yield mib.subarray(0, left);
    yield tail;
  }
  return {
    sizeBytes: head.length + 8 + contentBytes + tail.length,
    chunks,
    digest() {
      const hash = createHash('sha256');
      for (const chunk of chunks()) hash.update(chunk);
      return { sha256: hash.digest('hex'), sizeBytes: this.sizeBytes };
    },
  };
};
