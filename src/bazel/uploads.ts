// Takes blobs from clients: proven on their way in, sent on to the upstream, kept. One upload of a blob at a time.

import type { Clock } from '../core/clock.ts';
import { type Digest, digestKey } from '../core/digest.ts';
import { isCode } from '../core/errors.ts';
import type { Failure } from '../core/verdict.ts';
import type { Suspects } from '../proof/suspects.ts';
import { type UploadPorts as ProofPorts, type ProvenUpload, proveUpload } from '../proof/upload.ts';
import type { Ledger } from '../store/ledger.ts';
import { Turns } from '../store/turns.ts';
import { type Blobs, claimOf, tenantOf } from './blobs.ts';
import { type CallError, invalid, notStored } from './call-error.ts';
import type { Caller } from './caller.ts';
import { isEmpty } from './digest.ts';
import type { WriteChunk } from './envelope.ts';
import type { GatedWrites } from './gated.ts';
import { type ResourceName, readWriteName } from './resource-name.ts';
import type { Blob, BlobUpload, ReapiUpstream } from './upstream.ts';

export interface UploadPorts extends ProofPorts {
  readonly clock: Clock;
  readonly blobs: Blobs;
  readonly upstream: ReapiUpstream;
  readonly ledger: Ledger;
  readonly suspects: Suspects;
  readonly gated: GatedWrites;
}

export class Uploads {
  readonly #ports: UploadPorts;
  readonly #turns = new Turns();

  constructor(ports: UploadPorts) {
    this.#ports = ports;
  }

  /** One ByteStream.Write; answers with the committed size. */
  async write(chunks: AsyncIterable<WriteChunk>, caller: Caller): Promise<number> {
    const iterator = chunks[Symbol.asyncIterator]();
    const first = await iterator.next();
    if (first.done) throw invalid('an upload must begin with a resource name');
    const blob = readWriteName(first.value.resourceName);
    await this.#ports.gated.admit(blob.instance, 'Write', caller);
    const bytes = readChunks(first.value, { [Symbol.asyncIterator]: () => iterator });
    return await this.#turns.run(blobKey(blob), async () => {
      if (await this.#isStoredHere(blob, caller)) return blob.encoding === 'zstd' ? -1 : blob.digest.sizeBytes;
      return await this.#take(blob, bytes, caller);
    });
  }

  /** Whether the client need not send it. */
  async isStored(instance: string, digest: Digest, caller: Caller): Promise<boolean> {
    const { blobs } = this.#ports;
    if (await blobs.holds(instance, digest)) return true;
    if (blobs.isSuspect(instance, digest)) return false;
    const missing = await blobs.missingUpstream(instance, [digest], caller);
    return Array.isArray(missing) && missing.length === 0;
  }

  /** A blob that came whole, in a message of its own or among others. Its failure says what is wrong with it. */
  async prove(blob: Blob, data: Buffer): Promise<ProvenUpload | Failure> {
    return await proveUpload(this.#ports, claimOf(blob), single(data), { onBytes: () => Promise.resolve() });
  }

  /** The upstream has it, or nothing is behind us: from now on it stands here. */
  async keep(blob: Blob, proven: ProvenUpload): Promise<void> {
    const { blobs, ledger, suspects } = this.#ports;
    await proven.keep();
    await ledger.add(tenantOf(blob.instance), proven.digest);
    for (const encoding of ['identity', 'zstd'] as const) suspects.clear(claimOf({ ...blob, encoding }));
    blobs.notePresent(blob.instance, proven.digest);
  }

  /** Proven here, and there as well: an early OK says no more than that. */
  async #isStoredHere({ instance, digest }: ResourceName, caller: Caller): Promise<boolean> {
    const { blobs, upstream } = this.#ports;
    if (isEmpty(digest)) return true;
    if (!(await blobs.holds(instance, digest))) return false;
    if (!upstream.isThere) return true;
    // To a stranger it tells nothing: the upstream has the word on what they send.
    if ((await blobs.mayRead(instance, caller)) !== 'yes') return false;
    const missing = await blobs.missingUpstream(instance, [digest], caller);
    return Array.isArray(missing) && missing.length === 0;
  }

  async #take(blob: Blob, bytes: AsyncIterable<Buffer>, caller: Caller): Promise<number> {
    const { upstream } = this.#ports;
    const refused = (failure: Failure) =>
      failure.kind === 'denied' ? upstream.refusal(caller.credentials) : notStored();
    const forward = new Forward(upstream.upload(blob, caller), TAIL_BYTES[blob.encoding], refused);
    let proven: ProvenUpload | Failure | null = null;
    try {
      proven = await proveUpload(this.#ports, claimOf(blob), bytes, {
        onBytes: (batch) => forward.take(batch),
        signal: caller.signal,
      });
      if (proven.kind !== 'proven') throw uploadError(proven);
      await forward.finish();
      await this.keep(blob, proven);
      return blob.encoding === 'zstd' ? proven.fileBytes : proven.digest.sizeBytes;
    } catch (error) {
      if (isCode(error, 'DISK') || isCode(error, 'BUSY')) throw notStored();
      throw error;
    } finally {
      forward.close();
      if (proven?.kind === 'proven') await proven.discard();
    }
  }
}

/**
 * What waits for the verdict: of identity any byte will do; of zstd more than the 1 MiB of skippable and empty frames that an
 * upload may end in, which decode to nothing: bazel-remote takes a half-close, which precedes our reset, for the end.
 */
const TAIL_BYTES = { identity: 1, zstd: 2 ** 20 + 64 * 1024 };

/** Held together: as many buffers as a MiB has bytes would take a hundred times that. */
const CRUMB_BYTES = 4096;

/** Holds the newest bytes back until they are proven, so that nothing wrong is ever complete upstream. */
class Forward {
  readonly #upload: BlobUpload;
  readonly #tailBytes: number;
  readonly #refused: (failure: Failure) => CallError;
  readonly #held: Buffer[] = [];
  #heldBytes = 0;
  #isFinished = false;

  constructor(upload: BlobUpload, tailBytes: number, refused: (failure: Failure) => CallError) {
    this.#upload = upload;
    this.#tailBytes = tailBytes;
    this.#refused = refused;
  }

  /** The batch is another's again when this resolves. Throws where the upstream refuses more. */
  async take(batch: Buffer): Promise<void> {
    const last = this.#held.at(-1);
    if (last === undefined || last.length >= CRUMB_BYTES) this.#held.push(Buffer.from(batch));
    else this.#held[this.#held.length - 1] = Buffer.concat([last, batch]);
    this.#heldBytes += batch.length;
    for (let [first] = this.#held; first !== undefined; [first] = this.#held) {
      if (this.#heldBytes - first.length < this.#tailBytes) return;
      this.#held.shift();
      this.#heldBytes -= first.length;
      const failure = await this.#upload.send(first);
      if (failure !== null) throw this.#refused(failure);
    }
  }

  /** Throws unless the upstream has stored it. */
  async finish(): Promise<void> {
    const stored = await this.#upload.finish(Buffer.concat(this.#held));
    if (stored.kind !== 'stored') throw this.#refused(stored);
    this.#isFinished = true;
  }

  close(): void {
    if (!this.#isFinished) this.#upload.cancel();
  }
}

async function* readChunks(first: WriteChunk, rest: AsyncIterable<WriteChunk>): AsyncGenerator<Buffer, void, void> {
  let received = 0;
  let isFinished = false;
  const take = (chunk: WriteChunk): Buffer => {
    if (isFinished) throw invalid('bytes after finish_write');
    if (chunk.resourceName !== '' && chunk.resourceName !== first.resourceName)
      throw invalid('the resource name changed within an upload');
    if (chunk.writeOffset !== received)
      throw invalid(`write_offset is ${chunk.writeOffset} where ${received} bytes have come; uploads begin at 0`);
    received += chunk.data.length;
    isFinished = chunk.finishWrite;
    return chunk.data;
  };
  yield take(first);
  for await (const chunk of rest) yield take(chunk);
}

async function* single(data: Buffer): AsyncGenerator<Buffer, void, void> {
  yield data;
}

export const uploadError = (failure: Failure): CallError => {
  switch (failure.kind) {
    case 'refuted':
      return invalid(`the upload is not what its digest names (${failure.reason})`);
    case 'unavailable':
      if (['short', 'empty', 'cut', 'idle'].includes(failure.reason))
        return invalid('the upload ended before its last byte');
      return failure.reason === 'unprovable' ? invalid(`the upload cannot be proven: ${failure.detail}`) : notStored();
    case 'absent':
    case 'denied':
      return notStored();
  }
};

const blobKey = ({ instance, digest }: ResourceName): string => `${instance}\n${digestKey(digest)}`;
