// A REAPI cache over gRPC: what it has, what it lacks, and what it takes.

import { create } from '@bufbuild/protobuf';
import { Client, credentials as channelCredentials, type Metadata, status } from '@grpc/grpc-js';
import type { Breaker } from '../core/breaker.ts';
import { type Clock, limited } from '../core/clock.ts';
import { type Digest, digestKey } from '../core/digest.ts';
import { unavailable } from '../core/verdict.ts';
import type { Fetch } from '../proof/fetch.ts';
import type { Credentials } from '../store/access.ts';
import type { BatchUpdate } from './batch-envelope.ts';
import type { CallError } from './call-error.ts';
import { blobFetch } from './fetch-blob.ts';
import {
  Compressor_Value,
  type GetActionResultRequest,
  GetCapabilitiesRequestSchema,
  type UpdateActionResultRequest,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { GrpcCalls } from './grpc-calls.ts';
import { GrpcUpload } from './grpc-upload.ts';
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

/** 20,000 digests a call are 1.4 MB: below every server's 4 MiB. */
const MAX_DIGESTS = 20_000;
const CAPABILITIES_FRESH_MS = 600_000;
const CAPABILITIES_RETRY_MS = 10_000;
const CAPABILITIES_WAIT_MS = 1_000;
/** What one call to the upstream carries of a batch: it accepts 4 MiB. */
const BATCH_BYTES = 3 * 1024 * 1024;

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

export class GrpcUpstream implements ReapiUpstream {
  readonly isThere = true;
  readonly #clock: Clock;
  readonly #client: Client;
  readonly #calls: GrpcCalls;
  #zstd: { readonly isSpoken: Promise<boolean>; readonly until: number } | null = null;

  /** Whoever makes one closes it. It connects when it is first asked. */
  constructor({ clock, breaker, address, isTls }: GrpcUpstreamPorts) {
    this.#clock = clock;
    const secure = isTls ? channelCredentials.createSsl() : channelCredentials.createInsecure();
    this.#client = new Client(address, secure, channelOptions);
    this.#calls = new GrpcCalls({ clock, breaker, client: this.#client });
  }

  fetch(blob: Blob, { credentials, metadata }: Omit<Behalf, 'signal'>): Fetch {
    const ports = {
      client: this.#client,
      metadata,
      isZstdSpoken: () => this.#speaksZstd(credentials, metadata),
      failureOf: (error: unknown) => this.#calls.failureOf(error, credentials),
    };
    return blobFetch(ports, blob);
  }

  async findMissing(instance: string, digests: readonly Digest[], behalf: Behalf) {
    const keys = new Set<string>();
    // Of no digests as well: whether it answers at all is what `Access` asks.
    for (let at = 0; at === 0 || at < digests.length; at += MAX_DIGESTS) {
      const blobDigests = digests.slice(at, at + MAX_DIGESTS).map(wireDigest);
      const request = { instanceName: instance, blobDigests, digestFunction: 0 };
      const answer = await this.#calls.unary(casService.FindMissingBlobs, request, behalf);
      if (answer.kind !== 'answer') return answer;
      for (const { hash, sizeBytes } of answer.value.missingBlobDigests)
        keys.add(digestKey({ sha256: hash, sizeBytes: Number(sizeBytes) }));
    }
    return { kind: 'missing', keys } as const;
  }

  async getActionResult(request: GetActionResultRequest, behalf: Behalf) {
    const answer = await this.#calls.unary(actionCacheService.GetActionResult, request, behalf);
    return answer.kind === 'answer' ? ({ kind: 'result', result: answer.value } as const) : answer;
  }

  async updateActionResult(request: UpdateActionResultRequest, behalf: Behalf) {
    const answer = await this.#calls.unary(actionCacheService.UpdateActionResult, request, behalf);
    return answer.kind === 'answer' ? ({ kind: 'result', result: answer.value } as const) : answer;
  }

  upload(blob: Blob, { credentials, metadata, signal }: Behalf): GrpcUpload {
    return new GrpcUpload(
      {
        open: (callback) => {
          const { path, requestSerialize, responseDeserialize } = byteStreamService.Write;
          return this.#client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, metadata, callback);
        },
        failureOf: (error) => this.#calls.failureOf(error, credentials),
      },
      blob,
      signal,
    );
  }

  async batchUpdate(batch: BatchUpdate, behalf: Behalf): Promise<Stored> {
    for (const requests of inBatches(batch.requests)) {
      const answer = await this.#calls.unary(casService.BatchUpdateBlobs, { ...batch, requests }, behalf);
      if (answer.kind !== 'answer') return answer;
      const refused = answer.value.responses.find(({ status }) => (status?.code ?? 0) !== 0)?.status;
      if (refused !== undefined) return unavailable('status', `${status[refused.code]}: ${refused.message}`);
    }
    return { kind: 'stored' };
  }

  refusal(credentials: Credentials): CallError {
    return this.#calls.refusal(credentials);
  }

  close(): void {
    this.#calls.close();
    this.#client.close();
  }

  async #speaksZstd(credentials: Credentials, metadata: Metadata): Promise<boolean> {
    const clock = this.#clock;
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
    const answer = await this.#calls.unary(capabilitiesService.GetCapabilities, request, behalf);
    if (answer.kind !== 'answer') return null;
    return answer.value.cacheCapabilities?.supportedCompressors.includes(Compressor_Value.ZSTD) ?? false;
  }
}

const wireDigest = ({ sha256, sizeBytes }: Digest) => ({ hash: sha256, sizeBytes });

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
