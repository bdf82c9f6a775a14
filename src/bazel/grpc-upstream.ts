// Asks a REAPI cache over gRPC, within limits, and reads its answers: what it lacks, what it refuses, what it can't do now.

import { create } from '@bufbuild/protobuf';
import {
  Client,
  type ClientReadableStream,
  credentials as channelCredentials,
  type Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { decode } from '../codec/decode.ts';
import { encodeZstd } from '../codec/encode-zstd.ts';
import type { Breaker } from '../core/breaker.ts';
import { type Clock, limited } from '../core/clock.ts';
import { type Digest, digestKey } from '../core/digest.ts';
import { type Failure, unavailable } from '../core/verdict.ts';
import type { Fetch } from '../proof/fetch.ts';
import type { Credentials } from '../store/access.ts';
import { Lru } from '../store/lru.ts';
import { CallError } from './call-error.ts';
import type { BatchUpdate } from './envelope.ts';
import {
  Compressor_Value,
  FindMissingBlobsRequestSchema,
  type GetActionResultRequest,
  GetCapabilitiesRequestSchema,
  type UpdateActionResultRequest,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { ReadRequestSchema } from './generated/google/bytestream/bytestream_pb.ts';
import { GrpcUpload } from './grpc-upload.ts';
import { readName } from './resource-name.ts';
import { actionCacheService, byteStreamService, capabilitiesService, casService } from './services.ts';
import type { Behalf, Blob, ReapiUpstream, Stored } from './upstream.ts';
import { clientWindow } from './windows.ts';

export interface GrpcUpstreamPorts {
  readonly clock: Clock;
  /** Of unary calls: how long they may take, and whether they are worth it. */
  readonly breaker: Breaker;
  /** "host:port". */
  readonly address: string;
  readonly isTls: boolean;
}

/** bazel-remote decodes for identity, and sends in crumbs of 64 KiB; what it stores is zstd (measured). */
const WORTH_ZSTD_BYTES = 64 * 1024;
/** 20,000 digests a call are 1.4 MB: below every server's 4 MiB. */
const MAX_DIGESTS = 20_000;
/** bazel-remote tries a refused S3 for 4 s before it says UNKNOWN, at each call (measured): as bad as no answer. */
const SLOW_ERROR_MS = 1_000;
const CAPABILITIES_FRESH_MS = 600_000;
const CAPABILITIES_RETRY_MS = 10_000;
const CAPABILITIES_WAIT_MS = 1_000;
/** What one call to the upstream carries of a batch: it accepts 4 MiB. */
const BATCH_BYTES = 3 * 1024 * 1024;
const MAX_REFUSED_CLIENTS = 10_000;

const channelOptions = {
  ...clientWindow,
  // Answers of BatchReadBlobs and large action results go beyond grpc-js's own 4 MiB.
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
  'grpc.max_send_message_length': -1,
  // What is worth another try is ours to say.
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
};

type UnaryMethod<Request, Response> = {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
};

export class GrpcUpstream implements ReapiUpstream {
  readonly isThere = true;
  readonly #ports: GrpcUpstreamPorts;
  readonly #client: Client;
  readonly #refused = new Lru<CallError>({ maxEntries: MAX_REFUSED_CLIENTS, maxBytes: Number.POSITIVE_INFINITY });
  /** Of unary calls under way: nobody's, where several wait for one. */
  readonly #cancels = new Set<() => void>();
  #isClosed = false;
  #zstd: { readonly isSpoken: Promise<boolean>; readonly until: number } | null = null;

  /** Whoever makes one closes it. It connects when it is first asked. */
  constructor(ports: GrpcUpstreamPorts) {
    this.#ports = ports;
    const secure = ports.isTls ? channelCredentials.createSsl() : channelCredentials.createInsecure();
    this.#client = new Client(ports.address, secure, channelOptions);
  }

  fetch(blob: Blob, { credentials, metadata }: Omit<Behalf, 'signal'>): Fetch {
    return async ({ fromByte, signal }) => {
      const isZstdSpoken = await this.#speaksZstd(credentials, metadata);
      const wanted = blob.encoding === 'zstd' || blob.digest.sizeBytes > WORTH_ZSTD_BYTES ? 'zstd' : 'identity';
      const asked = isZstdSpoken ? wanted : 'identity';
      // An offset counts decoded bytes: it says where to go on with identity, whatever it is asked as.
      const readOffset = blob.encoding === 'identity' ? fromByte : 0;
      const call = this.#read({ ...blob, encoding: asked }, readOffset, metadata);
      const cancel = () => call.cancel();
      signal.addEventListener('abort', cancel, { once: true });
      if (signal.aborted) cancel();
      const messages = messagesOf(call, () => signal.removeEventListener('abort', cancel));
      try {
        const first = await messages.next();
        const bytes = startedWith(first.done ? null : first.value, messages);
        return { kind: 'body', fromByte: readOffset, validator: null, bytes: recoded(bytes, asked, blob.encoding) };
      } catch (error) {
        return this.#failure(error, credentials);
      }
    };
  }

  async findMissing(instance: string, digests: readonly Digest[], behalf: Behalf) {
    const keys = new Set<string>();
    // Of no digests as well: whether it answers at all is what `Access` asks.
    for (let at = 0; at === 0 || at < digests.length; at += MAX_DIGESTS) {
      const blobDigests = digests.slice(at, at + MAX_DIGESTS).map(wireDigest);
      const request = create(FindMissingBlobsRequestSchema, { instanceName: instance, blobDigests });
      const answer = await this.#unary(casService.FindMissingBlobs, request, behalf);
      if (answer.kind !== 'answer') return answer;
      for (const { hash, sizeBytes } of answer.value.missingBlobDigests)
        keys.add(digestKey({ sha256: hash, sizeBytes: Number(sizeBytes) }));
    }
    return { kind: 'missing', keys } as const;
  }

  async getActionResult(request: GetActionResultRequest, behalf: Behalf) {
    const answer = await this.#unary(actionCacheService.GetActionResult, request, behalf);
    return answer.kind === 'answer' ? ({ kind: 'result', result: answer.value } as const) : answer;
  }

  async updateActionResult(request: UpdateActionResultRequest, behalf: Behalf) {
    const answer = await this.#unary(actionCacheService.UpdateActionResult, request, behalf);
    return answer.kind === 'answer' ? ({ kind: 'result', result: answer.value } as const) : answer;
  }

  upload(blob: Blob, { credentials, metadata, signal }: Behalf): GrpcUpload {
    return new GrpcUpload(
      {
        open: (callback) => {
          const { path, requestSerialize, responseDeserialize } = byteStreamService.Write;
          return this.#client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, metadata, callback);
        },
        failureOf: (error) => this.#failure(error, credentials),
      },
      blob,
      signal,
    );
  }

  async batchUpdate(batch: BatchUpdate, behalf: Behalf): Promise<Stored> {
    for (const requests of inBatches(batch.requests)) {
      const answer = await this.#unary(casService.BatchUpdateBlobs, { ...batch, requests }, behalf);
      if (answer.kind !== 'answer') return answer;
      const refused = answer.value.responses.find(({ status }) => (status?.code ?? 0) !== 0)?.status;
      if (refused !== undefined) return unavailable('status', `${status[refused.code]}: ${refused.message}`);
    }
    return { kind: 'stored' };
  }

  refusal({ key }: Credentials): CallError {
    return (
      this.#refused.get(key) ?? new CallError(status.PERMISSION_DENIED, 'the cache behind refuses these credentials')
    );
  }

  close(): void {
    this.#isClosed = true;
    for (const cancel of this.#cancels) cancel();
    this.#client.close();
  }

  #read(blob: Blob, readOffset: number, metadata: Metadata): ClientReadableStream<Buffer> {
    const { path, requestSerialize, responseDeserialize } = byteStreamService.Read;
    const request = create(ReadRequestSchema, { resourceName: readName(blob), readOffset: BigInt(readOffset) });
    return this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata);
  }

  async #unary<Request, Response>(
    { path, requestSerialize, responseDeserialize }: UnaryMethod<Request, Response>,
    request: Request,
    { credentials, metadata, signal }: Behalf,
  ): Promise<{ readonly kind: 'answer'; readonly value: Response } | Failure> {
    const { breaker, clock } = this.#ports;
    if (!breaker.admits() && !(await breaker.closesSoon())) return unavailable('breaker');
    if (signal.aborted || this.#isClosed) return unavailable('aborted');
    const { promise, resolve } = Promise.withResolvers<{ readonly value?: Response; readonly error?: ServiceError }>();
    const call = this.#client.makeUnaryRequest<Request, Response>(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      (error, value) => resolve(error === null ? { value: value as Response } : { error }),
    );
    const cancel = () => call.cancel();
    const askedAt = clock.monotonic();
    let isLate = false;
    const timer = clock.after(breaker.firstByteMs, () => {
      isLate = true;
      cancel();
    });
    signal.addEventListener('abort', cancel, { once: true });
    this.#cancels.add(cancel);
    const { value, error } = await promise;
    timer.cancel();
    this.#cancels.delete(cancel);
    signal.removeEventListener('abort', cancel);
    if (isLate) {
      breaker.failed();
      return unavailable('first-byte');
    }
    if (signal.aborted || this.#isClosed) return unavailable('aborted');
    if (error === undefined) {
      breaker.succeeded();
      return { kind: 'answer', value: value as Response };
    }
    const failure = this.#failure(error, credentials);
    const isSlow = clock.monotonic() - askedAt > SLOW_ERROR_MS;
    if (failure.kind !== 'unavailable') breaker.succeeded();
    else if (failure.reason === 'refused' || isSlow) breaker.failed();
    return failure;
  }

  #failure(error: unknown, { key }: Credentials): Failure {
    const { code, details } = error as Partial<ServiceError>;
    switch (code) {
      case status.NOT_FOUND:
        return { kind: 'absent' };
      case status.UNAUTHENTICATED:
      case status.PERMISSION_DENIED:
        this.#refused.set(key, new CallError(code, details ?? ''));
        return { kind: 'denied' };
      case status.UNAVAILABLE:
        return unavailable('refused', details);
      case status.CANCELLED:
      case status.DEADLINE_EXCEEDED:
        return unavailable('first-byte', details);
      case undefined:
        return unavailable('protocol', error instanceof Error ? error.message : String(error));
      default:
        return unavailable('status', `${status[code]}: ${details}`);
    }
  }

  async #speaksZstd(credentials: Credentials, metadata: Metadata): Promise<boolean> {
    const { clock } = this.#ports;
    const now = clock.monotonic();
    if (this.#zstd === null || this.#zstd.until < now) {
      const isSpoken = limited(clock, CAPABILITIES_WAIT_MS, (signal) =>
        this.#askZstd({ credentials, metadata, signal }),
      );
      this.#zstd = { isSpoken: isSpoken.then((known) => known === true), until: now + CAPABILITIES_RETRY_MS };
      const known = await isSpoken;
      if (known !== null) this.#zstd = { isSpoken: Promise.resolve(known), until: now + CAPABILITIES_FRESH_MS };
    }
    return await this.#zstd.isSpoken;
  }

  /** Null where it does not say. */
  async #askZstd(behalf: Behalf): Promise<boolean | null> {
    const request = create(GetCapabilitiesRequestSchema, {});
    const answer = await this.#unary(capabilitiesService.GetCapabilities, request, behalf);
    if (answer.kind !== 'answer') return null;
    return answer.value.cacheCapabilities?.supportedCompressors.includes(Compressor_Value.ZSTD) ?? false;
  }
}

const wireDigest = ({ sha256, sizeBytes }: Digest) => ({ hash: sha256, sizeBytes: BigInt(sizeBytes) });

/** A call that is left early is cancelled. */
async function* messagesOf(call: ClientReadableStream<Buffer>, onEnd: () => void): AsyncGenerator<Buffer, void, void> {
  call.on('error', () => {});
  try {
    for await (const message of call) yield message as Buffer;
  } finally {
    onEnd();
    call.cancel();
  }
}

async function* startedWith(first: Buffer | null, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  if (first !== null) yield first;
  yield* rest;
}

const recoded = (bytes: AsyncIterable<Buffer>, from: Blob['encoding'], to: Blob['encoding']): AsyncIterable<Buffer> => {
  if (from === to) return bytes;
  return to === 'identity' ? decode(bytes, 'zstd') : encodeZstd(bytes);
};

function* inBatches(requests: BatchUpdate['requests']): Generator<BatchUpdate['requests'], void, void> {
  let batch: BatchUpdate['requests'][number][] = [];
  let bytes = 0;
  for (const request of requests) {
    if (batch.length > 0 && bytes + request.data.length > BATCH_BYTES) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(request);
    bytes += request.data.length;
  }
  if (batch.length > 0) yield batch;
}
