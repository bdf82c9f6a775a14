// ContentAddressableStorage: which blobs are missing, many small ones a call, and whole trees.

import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { type Digest, digestKey } from '../core/digest.ts';
import { isCode } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Failure } from '../core/verdict.ts';
import type { ProvenUpload } from '../proof/upload.ts';
import type { BatchRead, BatchReadItem, BatchUpdate, BlobDigest, FindMissing } from './batch-envelope.ts';
import type { Blobs } from './blobs.ts';
import { CallError, invalid, notFound, notStored } from './call-error.ts';
import type { Caller } from './caller.ts';
import { isEmpty, readDigest, requireSha256 } from './digest.ts';
import type { GatedWrites } from './gated.ts';
import {
  type BatchReadBlobsRequest,
  BatchUpdateBlobsResponseSchema,
  Compressor_Value,
  FindMissingBlobsResponseSchema,
  type GetTreeRequest,
  type GetTreeResponse,
  GetTreeResponseSchema,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { type Handlers, type Send, unimplemented } from './handlers.ts';
import { readInstance } from './resource-name.ts';
import type { casService, Handlers as ServiceHandlers } from './services.ts';
import type { Trees } from './trees.ts';
import { type Uploads, uploadError } from './uploads.ts';
import type { Blob, ReapiUpstream } from './upstream.ts';

export interface CasPorts {
  readonly handlers: Handlers;
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly trees: Trees;
  readonly upstream: ReapiUpstream;
  readonly gated: GatedWrites;
  readonly telemetry: Telemetry;
}

/** What one call may carry of blobs, in either direction: gRPC's own limit is 4 MiB a message. */
const MAX_BATCH_BYTES = 4 * 1024 * 1024;
/** A request within gRPC's limit can name no more. */
const MAX_DIGESTS = 100_000;

export const contentAddressableStorage = (ports: CasPorts): ServiceHandlers<typeof casService> => {
  const { handlers, gated } = ports;
  const late = () => notFound('the blobs cannot be had in time');
  return {
    FindMissingBlobs: handlers.unary(notStored, async (request, caller) => {
      const missing = await findMissing(ports, request, caller);
      return create(FindMissingBlobsResponseSchema, { missingBlobDigests: missing.map(toWire) });
    }),
    BatchUpdateBlobs: handlers.unary(notStored, (batch, caller) => batchUpdate(ports, batch, caller)),
    BatchReadBlobs: handlers.unary(late, (request, caller) => batchRead(ports, request, caller)),
    GetTree: handlers.serverStream(late, (request, caller, send) => getTree(ports, request, caller, send)),
    SplitBlob: handlers.unary(unimplemented, () => Promise.reject(unimplemented())),
    SpliceBlob: handlers.unary(unimplemented, async ({ instanceName }, caller) => {
      await gated.admit(readInstance(instanceName), 'SpliceBlob', caller);
      throw unimplemented();
    }),
  };
};

const toWire = ({ sha256, sizeBytes }: Digest) => ({ hash: sha256, sizeBytes: BigInt(sizeBytes) });

const findMissing = async (ports: CasPorts, request: FindMissing, caller: Caller): Promise<Digest[]> => {
  const { blobs, gated } = ports;
  requireSha256(request.digestFunction);
  const instance = readInstance(request.instanceName);
  if (request.blobDigests.length > MAX_DIGESTS) throw invalid(`at most ${MAX_DIGESTS} digests a call`);
  const digests = new Map(request.blobDigests.map(readDigest).map((digest) => [digestKey(digest), digest]));
  await blobs.requireReader(instance, caller, notStored);
  const unheld: Digest[] = [];
  for (const digest of digests.values()) if (!(await blobs.holds(instance, digest))) unheld.push(digest);
  if (unheld.length === 0) return [];
  // It opens an upload, so it asks the gate; but for what is held here nothing would be sent.
  await gated.admit(instance, 'FindMissingBlobs', caller);
  const suspects = unheld.filter((digest) => blobs.isSuspect(instance, digest));
  const asked = suspects.length === 0 ? unheld : unheld.filter((digest) => !suspects.includes(digest));
  const missing = await blobs.missingUpstream(instance, asked, caller);
  if ('kind' in missing) throw missing.kind === 'denied' ? blobs.errorOf(missing, caller) : notStored();
  return [...suspects, ...missing];
};

const IDENTITY = Compressor_Value.IDENTITY;
const ZSTD = Compressor_Value.ZSTD;

const batchUpdate = async (ports: CasPorts, batch: BatchUpdate, caller: Caller) => {
  const { gated, uploads, upstream } = ports;
  requireSha256(batch.digestFunction);
  const instance = readInstance(batch.instanceName);
  requireBatchSize(batch.requests.reduce((sum, { data }) => sum + data.length, 0));
  await gated.admit(instance, 'BatchUpdateBlobs', caller);
  const proven: {
    readonly blob: Blob;
    readonly upload: ProvenUpload;
    readonly request: BatchUpdate['requests'][number];
  }[] = [];
  try {
    const responses = [];
    for (const request of batch.requests) {
      const refused = await ownStatus(async () => {
        const blob = readItem(instance, request);
        if (isEmpty(blob.digest) && request.data.length === 0) return;
        const upload = await uploads.prove(blob, request.data);
        if (upload.kind !== 'proven') throw uploadError(upload);
        proven.push({ blob, upload, request });
      });
      responses.push({
        digest: { hash: request.digest.hash, sizeBytes: BigInt(request.digest.sizeBytes) },
        status: refused,
      });
    }
    if (proven.length > 0) {
      const stored = await upstream.batchUpdate({ ...batch, requests: proven.map(({ request }) => request) }, caller);
      if (stored.kind === 'denied') throw upstream.refusal(caller.credentials);
      // As a whole: recc overlooks what a single item says, and publishes an action result without its blobs.
      if (stored.kind !== 'stored') throw notStored();
      await Promise.all(proven.map(({ blob, upload }) => uploads.keep(blob, upload)));
    }
    return create(BatchUpdateBlobsResponseSchema, { responses });
  } catch (error) {
    if (isCode(error, 'DISK') || isCode(error, 'BUSY')) throw notStored();
    throw error;
  } finally {
    await Promise.all(proven.map(({ upload }) => upload.discard()));
  }
};

const requireBatchSize = (bytes: number): void => {
  if (bytes > MAX_BATCH_BYTES)
    throw invalid(`${bytes} bytes in one batch, of ${MAX_BATCH_BYTES} at most: use ByteStream for large blobs`);
};

const readItem = (instance: string, { digest, compressor }: BatchUpdate['requests'][number]): Blob => {
  if (compressor !== IDENTITY && compressor !== ZSTD)
    throw invalid(`compressor number ${compressor} is not served here: use identity or zstd`);
  return { instance, digest: readDigest(digest), encoding: compressor === ZSTD ? 'zstd' : 'identity' };
};

/** What went wrong with one item, as its own status; `{ code: 0 }` where nothing did. */
const ownStatus = async (work: () => Promise<void>): Promise<{ readonly code: number; readonly message: string }> => {
  try {
    await work();
    return { code: status.OK, message: '' };
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    return { code: error.code, message: error.message };
  }
};

const batchRead = async (ports: CasPorts, request: BatchReadBlobsRequest, caller: Caller): Promise<BatchRead> => {
  requireSha256(request.digestFunction);
  const instance = readInstance(request.instanceName);
  const named = request.digests.map(({ hash, sizeBytes }) => ({ hash, sizeBytes: Number(sizeBytes) }));
  requireBatchSize(named.reduce((sum, { sizeBytes }) => sum + Math.max(0, sizeBytes), 0));
  await ports.blobs.requireReader(instance, caller);
  const encoding = request.acceptableCompressors.includes(ZSTD) ? 'zstd' : 'identity';
  const items = await Promise.all(named.map((digest) => readOne(ports, instance, digest, encoding, caller)));
  const denied = items.find(({ denied }) => denied !== undefined)?.denied;
  if (denied !== undefined) throw ports.blobs.errorOf(denied, caller);
  return { responses: items.map(({ item }) => item) };
};

const readOne = async (
  { blobs, telemetry }: CasPorts,
  instance: string,
  wire: BlobDigest,
  wanted: Blob['encoding'],
  caller: Caller,
): Promise<{ readonly item: BatchReadItem; readonly denied?: Failure }> => {
  const failed = (code: number, message: string) => ({
    item: { digest: wire, data: Buffer.alloc(0), compressor: IDENTITY, status: { code, message } },
  });
  let digest: Digest;
  try {
    digest = readDigest(wire);
  } catch (error) {
    if (error instanceof CallError) return failed(error.code, error.message);
    throw error;
  }
  if (isEmpty(digest)) return { item: { digest: wire, data: Buffer.alloc(0), compressor: IDENTITY, status: null } };
  // A blob that zstd would hardly shrink is not worth a decoder's time, and REAPI leaves the choice to us.
  const encoding = digest.sizeBytes < WORTH_ZSTD_BYTES ? 'identity' : wanted;
  const read = await blobs.bytes({ instance, digest, encoding }, caller, true);
  if (read.kind !== 'whole') {
    telemetry.request('bazel', 'miss');
    if (read.kind === 'denied') return { ...failed(0, ''), denied: read };
    const { code, message } = blobs.errorOf(read, caller);
    return failed(code, message);
  }
  telemetry.request('bazel', read.source);
  return { item: { digest: wire, data: read.bytes, compressor: encoding === 'zstd' ? ZSTD : IDENTITY, status: null } };
};

const WORTH_ZSTD_BYTES = 1024;

const getTree = async (
  { blobs, trees }: CasPorts,
  request: GetTreeRequest,
  caller: Caller,
  send: Send<GetTreeResponse>,
): Promise<void> => {
  requireSha256(request.digestFunction);
  const instance = readInstance(request.instanceName);
  const root = readDigest(request.rootDigest);
  await blobs.requireReader(instance, caller);
  for await (const directories of trees.walk(instance, root, caller, { omitsAbsent: true }))
    await send(create(GetTreeResponseSchema, { directories }));
};
