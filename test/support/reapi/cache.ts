// What the scripted REAPI upstream holds: blobs by hash, action results by action, both in memory.

import { createHash } from 'node:crypto';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import type { BlobDigest } from '../../../src/bazel/batch-envelope.ts';
import {
  type ActionResult,
  ActionResultSchema,
  type Directory,
  DirectorySchema,
} from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { checkDigest } from './names.ts';
import { notFound, Refused } from './status.ts';

export const digestOf = (bytes: Uint8Array): BlobDigest => ({
  hash: createHash('sha256').update(bytes).digest('hex'),
  sizeBytes: bytes.length,
});

interface WireDigest {
  readonly hash: string;
  readonly sizeBytes: bigint | number;
}

/** Throws INVALID_ARGUMENT. */
export const readDigest = (digest: WireDigest | undefined): BlobDigest =>
  checkDigest({ hash: digest?.hash ?? '', sizeBytes: Number(digest?.sizeBytes ?? 0) });

/** As generated messages have it. */
export const wireDigest = ({ hash, sizeBytes }: BlobDigest) => ({ hash, sizeBytes: BigInt(sizeBytes) });

const noBytes = Buffer.alloc(0);

export class ReapiCache {
  readonly #blobs = new Map<string, Buffer>();
  readonly #results = new Map<string, ActionResult>();
  readonly #isSeparate: boolean;

  /** `isSeparate`: each instance has its own blobs and results. bazel-remote has one keyspace for all. */
  constructor(isSeparate: boolean) {
    this.#isSeparate = isSeparate;
  }

  add(bytes: Buffer, instance = ''): BlobDigest {
    const digest = digestOf(bytes);
    this.#blobs.set(this.#key(instance, digest.hash), bytes);
    return digest;
  }

  /** Null where it is not held, or at another size. */
  blob({ hash, sizeBytes }: BlobDigest, instance = ''): Buffer | null {
    if (sizeBytes === 0) return noBytes;
    const held = this.#blobs.get(this.#key(instance, hash));
    return held?.length === sizeBytes ? held : null;
  }

  has(digest: BlobDigest, instance = ''): boolean {
    return this.blob(digest, instance) !== null;
  }

  remove(hash: string, instance = ''): void {
    this.#blobs.delete(this.#key(instance, hash));
  }

  addResult(actionHash: string, result: MessageInitShape<typeof ActionResultSchema>, instance = ''): ActionResult {
    const held = create(ActionResultSchema, result);
    this.#results.set(this.#key(instance, actionHash), held);
    return held;
  }

  /** Whatever became of the blobs that it names: nothing is checked here. */
  result(actionHash: string, instance = ''): ActionResult | null {
    return this.#results.get(this.#key(instance, actionHash)) ?? null;
  }

  removeResult(actionHash: string, instance = ''): void {
    this.#results.delete(this.#key(instance, actionHash));
  }

  /** The directory and all below it, each once; what is missing below is left out, as in bazel-remote. */
  tree(root: BlobDigest, instance = ''): Directory[] {
    const found = new Map<string, Directory>();
    const waiting = [root];
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      if (found.has(next.hash)) continue;
      const bytes = this.blob(next, instance);
      if (bytes === null) {
        if (next === root) throw notFound(`no directory ${root.hash}`);
        continue;
      }
      const directory = parseDirectory(bytes, next.hash);
      found.set(next.hash, directory);
      waiting.push(...directory.directories.map(({ digest }) => readDigest(digest)));
    }
    return [...found.values()];
  }

  #key(instance: string, hash: string): string {
    return this.#isSeparate ? `${instance} ${hash}` : hash;
  }
}

const parseDirectory = (bytes: Buffer, hash: string): Directory => {
  try {
    return fromBinary(DirectorySchema, bytes);
  } catch {
    throw new Refused(status.DATA_LOSS, `${hash} is no directory`);
  }
};

/** A directory as a blob. */
export const directoryBytes = (directory: MessageInitShape<typeof DirectorySchema>): Buffer =>
  Buffer.from(toBinary(DirectorySchema, create(DirectorySchema, directory)));
