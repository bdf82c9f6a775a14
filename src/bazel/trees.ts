// Reads what directories and Trees list: proven bytes, parsed, within bounds.

import { fromBinary } from '@bufbuild/protobuf';
import type { Digest } from '../core/digest.ts';
import { digestKey } from '../core/digest.ts';
import { Limiter } from '../core/limiter.ts';
import { Lru } from '../store/lru.ts';
import type { Blobs } from './blobs.ts';
import { notFound } from './call-error.ts';
import type { Caller } from './caller.ts';
import { readDigest } from './digest.ts';
import {
  type Directory,
  DirectorySchema,
  TreeSchema,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';

/**
 * A Tree of 100,000 files is some 10 MB, and so are all directories of one. Larger ones are not read: what can't be looked
 * through can't be promised.
 */
const MAX_TREE_BYTES = 32 * 1024 * 1024;
/** Of one walk over directories. */
const MAX_DIRECTORIES = 100_000;
/** What Trees list, by their digest: of 64 bytes and some for each file. */
const LISTED = { maxEntries: 10_000, maxBytes: 32 * 1024 * 1024 };
const LISTED_BYTES = 150;
/** Directories of one walk that are obtained at the same time: as many fills as one client may have. */
const PARALLEL = 16;
/** Of one message of GetTree, but for a directory that is larger by itself: clients take 4 MiB. */
const PAGE_BYTES = 1024 * 1024;

export class Trees {
  readonly #blobs: Blobs;
  readonly #listed = new Lru<readonly Digest[]>(LISTED);

  constructor(blobs: Blobs) {
    this.#blobs = blobs;
  }

  /** The files that a Tree lists. Null where it can't be had, or is none. */
  async filesOfTree(instance: string, tree: Digest, caller: Caller): Promise<readonly Digest[] | null> {
    const key = `${instance}\n${digestKey(tree)}`;
    const known = this.#listed.get(key);
    if (known !== undefined) return known;
    try {
      const bytes = await this.#bytes(instance, tree, caller);
      if (bytes === null) return null;
      const { root, children } = fromBinary(TreeSchema, bytes);
      const directories = root === undefined ? children : [root, ...children];
      const digests = directories.flatMap(({ files }) => files.map(({ digest }) => readDigest(digest)));
      this.#listed.set(key, digests, LISTED_BYTES * digests.length);
      return digests;
    } catch {
      return null;
    }
  }

  /** The directories and files below a Directory. Null where one can't be had, or is none. */
  async allBelow(instance: string, root: Digest, caller: Caller): Promise<readonly Digest[] | null> {
    try {
      const digests: Digest[] = [];
      for await (const page of this.walk(instance, root, caller)) {
        for (const { directories, files } of page)
          for (const { digest } of [...directories, ...files]) digests.push(readDigest(digest));
      }
      return digests;
    } catch {
      return null;
    }
  }

  /**
   * A directory and all below it, each once, from the root down. Throws NOT_FOUND where one is missing or is none;
   * `omitsAbsent`, as GetTree of REAPI does, leaves out those below the root that are nowhere.
   */
  async *walk(
    instance: string,
    root: Digest,
    caller: Caller,
    { omitsAbsent = false } = {},
  ): AsyncGenerator<Directory[], void, void> {
    const seen = new Set([digestKey(root)]);
    const limiter = new Limiter(PARALLEL);
    let bytes = root.sizeBytes;
    let level: Digest[] = [root];
    while (level.length > 0) {
      const isRoot = level[0] === root;
      let isGivenUp = false;
      const read = level.map((digest) =>
        limiter.run(async () => (isGivenUp ? null : await this.#directory(instance, digest, caller))),
      );
      const all = await Promise.all(read).finally(() => {
        isGivenUp = true;
      });
      const listed = all.filter((one) => one !== null);
      const directories = listed.map(({ directory }) => directory);
      if (directories.length < level.length && (isRoot || !omitsAbsent)) throw notFound('a directory is missing');
      yield* inPages(listed);
      level = [];
      for (const { digest } of directories.flatMap((directory) => directory.directories)) {
        const child = readDigest(digest);
        if (seen.has(digestKey(child))) continue;
        seen.add(digestKey(child));
        level.push(child);
        bytes += child.sizeBytes;
      }
      if (seen.size > MAX_DIRECTORIES) throw notFound(`a tree of more than ${MAX_DIRECTORIES} directories`);
      if (bytes > MAX_TREE_BYTES) throw notFound(`directories of more than ${MAX_TREE_BYTES} bytes in one tree`);
    }
  }

  /** Null where it is nowhere. */
  async #directory(instance: string, digest: Digest, caller: Caller): Promise<Listed | null> {
    const bytes = await this.#bytes(instance, digest, caller);
    if (bytes === null) return null;
    try {
      return { directory: fromBinary(DirectorySchema, bytes), sizeBytes: digest.sizeBytes };
    } catch {
      throw notFound(`${digestKey(digest)} is no Directory`);
    }
  }

  /** Null where it is nowhere; throws where that cannot be told, or what is there is something else. */
  async #bytes(instance: string, digest: Digest, caller: Caller): Promise<Buffer | null> {
    if (digest.sizeBytes === 0) return Buffer.alloc(0);
    if (digest.sizeBytes > MAX_TREE_BYTES) throw notFound(`${digest.sizeBytes} bytes are too many for a tree`);
    const read = await this.#blobs.bytes({ instance, digest, encoding: 'identity' }, caller);
    if (read.kind === 'absent') return null;
    if (read.kind !== 'whole') throw this.#blobs.errorOf(read, caller);
    return read.bytes;
  }
}

interface Listed {
  readonly directory: Directory;
  readonly sizeBytes: number;
}

function* inPages(listed: readonly Listed[]): Generator<Directory[], void, void> {
  let page: Directory[] = [];
  let bytes = 0;
  for (const { directory, sizeBytes } of listed) {
    if (page.length > 0 && bytes + sizeBytes > PAGE_BYTES) {
      yield page;
      page = [];
      bytes = 0;
    }
    page.push(directory);
    bytes += sizeBytes;
  }
  if (page.length > 0) yield page;
}
