// A small REAPI client for tests, which also does what no good client does. Calls resolve however they end.

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Client, type ClientOptions, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { BatchRead, BlobDigest } from '../../src/bazel/batch-envelope.ts';
import type { WriteChunk } from '../../src/bazel/envelope.ts';
import {
  type ActionResult,
  type ActionResultSchema,
  BatchReadBlobsRequestSchema,
  type BatchUpdateBlobsResponse,
  Compressor_Value,
  type Directory,
  GetActionResultRequestSchema,
  GetCapabilitiesRequestSchema,
  GetTreeRequestSchema,
  type ServerCapabilities,
  UpdateActionResultRequestSchema,
} from '../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import {
  QueryWriteStatusRequestSchema,
  ReadRequestSchema,
} from '../../src/bazel/generated/google/bytestream/bytestream_pb.ts';
import { HealthCheckRequestSchema } from '../../src/bazel/generated/grpc/health/v1/health_pb.ts';
import {
  actionCacheService,
  byteStreamService,
  capabilitiesService,
  casService,
  healthService,
} from '../../src/bazel/services.ts';

type Encoding = 'identity' | 'zstd';

export interface CallOptions {
  readonly instance?: string;
  readonly metadata?: Readonly<Record<string, string | Buffer>>;
  /** From now. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface Ended {
  readonly code: number;
  readonly details: string;
}

/** Null where the call failed. */
export type Answered<Response> = Ended & { readonly response: Response | null };

export interface ReadAnswer extends Ended {
  readonly bytes: Buffer;
  /** How many bytes each had. */
  readonly messages: readonly number[];
}

export interface EncodedOptions extends CallOptions {
  readonly encoding?: Encoding;
}

export interface ReadOptions extends EncodedOptions {
  readonly offset?: number;
  readonly limit?: number;
  /** In place of the one that digest, instance and encoding make. */
  readonly resourceName?: string;
  /** Called with each message; the next is only read when it has resolved. */
  readonly onData?: (data: Buffer) => void | Promise<void>;
  /** False: the bytes are counted and dropped. */
  readonly keepsBytes?: boolean;
}

export interface WriteOptions extends EncodedOptions {
  readonly uuid?: string;
  readonly resourceName?: string;
  /** False: the last message does not say that it is. */
  readonly finishes?: boolean;
  /** False: the request is left open. */
  readonly halfCloses?: boolean;
  /** Changes each message before it is sent, by number. */
  readonly change?: (chunk: WriteChunk, index: number) => WriteChunk;
  /** Waited for before each message. */
  readonly before?: (index: number) => Promise<unknown>;
}

export interface WriteAnswer extends Ended {
  readonly committedSize: number | null;
  /** Messages that were handed to grpc-js before the answer came. */
  readonly messages: number;
}

export interface TreeAnswer extends Ended {
  readonly directories: readonly Directory[];
  /** How many directories each had. */
  readonly pages: readonly number[];
}

interface Definition<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (message: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

const ok: Ended = { code: status.OK, details: '' };
const endOf = (error: ServiceError | null): Ended => (error ? { code: error.code, details: error.details } : ok);

const wireDigest = ({ hash, sizeBytes }: BlobDigest) => ({ hash, sizeBytes: BigInt(sizeBytes) });

const metadataOf = ({ metadata = {} }: CallOptions): Metadata => {
  const sent = new Metadata();
  for (const [key, value] of Object.entries(metadata)) sent.set(key, value);
  return sent;
};

const limitsOf = ({ deadlineMs }: CallOptions) =>
  deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };

const blobPath = ({ hash, sizeBytes }: BlobDigest, encoding: Encoding): string =>
  `${encoding === 'zstd' ? 'compressed-blobs/zstd' : 'blobs'}/${hash}/${sizeBytes}`;

const inInstance = (instance: string, path: string): string => (instance === '' ? path : `${instance}/${path}`);

export class ReapiClient {
  readonly #client: Client;

  /** `address` as `host:port`. Whoever makes it closes it. Each has its own connection. */
  constructor(address: string, options: ClientOptions = {}) {
    this.#client = new Client(address, credentials.createInsecure(), {
      // Else grpc-js shares connections between clients of one address.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
      'grpc.enable_retries': 0,
      // It waits out the last of these even when closed, and by default that is a second and more.
      'grpc.initial_reconnect_backoff_ms': 20,
      'grpc.max_reconnect_backoff_ms': 100,
      ...options,
    });
  }

  close(): void {
    this.#client.close();
  }

  async read(digest: BlobDigest, options: ReadOptions = {}): Promise<ReadAnswer> {
    const { instance = '', encoding = 'identity', offset = 0, limit = 0, onData, keepsBytes = true } = options;
    const { resourceName = inInstance(instance, blobPath(digest, encoding)) } = options;
    const request = { resourceName, readOffset: BigInt(offset), readLimit: BigInt(limit) };
    const bytes: Buffer[] = [];
    const messages: number[] = [];
    const end = await this.#stream(
      byteStreamService.Read,
      create(ReadRequestSchema, request),
      options,
      async (data) => {
        messages.push(data.length);
        if (keepsBytes) bytes.push(data);
        await onData?.(data);
      },
    );
    return { ...end, bytes: Buffer.concat(bytes), messages };
  }

  /** Sends each piece in a message of its own, and half-closes. */
  write(digest: BlobDigest, pieces: readonly Buffer[], options: WriteOptions = {}): Promise<WriteAnswer> {
    const { instance = '', encoding = 'identity', uuid = 'a-uuid', finishes = true, halfCloses = true } = options;
    const { resourceName = inInstance(instance, `uploads/${uuid}/${blobPath(digest, encoding)}`) } = options;
    const { path, requestSerialize, responseDeserialize } = byteStreamService.Write;
    return new Promise((resolve, reject) => {
      let messages = 0;
      let isOver = false;
      const over = Promise.withResolvers<void>();
      const call = this.#client.makeClientStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        metadataOf(options),
        limitsOf(options),
        (error, response) => {
          isOver = true;
          over.resolve();
          resolve({ ...endOf(error), committedSize: response ? Number(response.committedSize) : null, messages });
        },
      );
      options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
      const send = async () => {
        let writeOffset = 0;
        for (const [index, data] of pieces.entries()) {
          await options.before?.(index);
          if (isOver) return;
          const finishWrite = finishes && index === pieces.length - 1;
          const chunk = { resourceName: index === 0 ? resourceName : '', writeOffset, finishWrite, data };
          writeOffset += data.length;
          messages += 1;
          const taken = new Promise((taken) => call.write(options.change?.(chunk, index) ?? chunk, taken));
          await Promise.race([taken, over.promise]);
        }
        if (halfCloses && !isOver) call.end();
      };
      send().catch(reject);
    });
  }

  batchRead(digests: readonly BlobDigest[], options: EncodedOptions = {}): Promise<Answered<BatchRead>> {
    const { instance: instanceName = '', encoding = 'identity' } = options;
    const acceptableCompressors = encoding === 'zstd' ? [Compressor_Value.ZSTD] : [];
    const request = { instanceName, digests: digests.map(wireDigest), acceptableCompressors };
    return this.#ask(casService.BatchReadBlobs, create(BatchReadBlobsRequestSchema, request), options);
  }

  batchUpdate(
    items: readonly { readonly digest: BlobDigest; readonly data: Buffer; readonly compressor?: number }[],
    options: CallOptions & { readonly digestFunction?: number } = {},
  ): Promise<Answered<BatchUpdateBlobsResponse>> {
    const { instance: instanceName = '', digestFunction = 0 } = options;
    const requests = items.map((item) => ({ compressor: Compressor_Value.IDENTITY, ...item }));
    return this.#ask(casService.BatchUpdateBlobs, { instanceName, digestFunction, requests }, options);
  }

  /** The hashes that are missing. */
  async findMissing(digests: readonly BlobDigest[], options: CallOptions = {}): Promise<Answered<readonly string[]>> {
    const request = { instanceName: options.instance ?? '', blobDigests: digests, digestFunction: 0 };
    const { response, ...end } = await this.#ask(casService.FindMissingBlobs, request, options);
    return { ...end, response: response?.missingBlobDigests.map(({ hash }) => hash) ?? null };
  }

  getActionResult(action: BlobDigest, options: CallOptions = {}): Promise<Answered<ActionResult>> {
    const request = { instanceName: options.instance ?? '', actionDigest: wireDigest(action) };
    return this.#ask(actionCacheService.GetActionResult, create(GetActionResultRequestSchema, request), options);
  }

  updateActionResult(
    action: BlobDigest,
    actionResult: MessageInitShape<typeof ActionResultSchema>,
    options: CallOptions = {},
  ): Promise<Answered<ActionResult>> {
    const request = { instanceName: options.instance ?? '', actionDigest: wireDigest(action), actionResult };
    return this.#ask(actionCacheService.UpdateActionResult, create(UpdateActionResultRequestSchema, request), options);
  }

  getCapabilities(options: CallOptions = {}): Promise<Answered<ServerCapabilities>> {
    const request = create(GetCapabilitiesRequestSchema, { instanceName: options.instance ?? '' });
    return this.#ask(capabilitiesService.GetCapabilities, request, options);
  }

  /** One call; each of its messages is a page. */
  async getTree(
    root: BlobDigest,
    options: CallOptions & { readonly pageSize?: number; readonly pageToken?: string } = {},
  ): Promise<TreeAnswer> {
    const { instance: instanceName = '', pageSize = 0, pageToken = '' } = options;
    const request = create(GetTreeRequestSchema, { instanceName, rootDigest: wireDigest(root), pageSize, pageToken });
    const directories: Directory[] = [];
    const pages: number[] = [];
    const end = await this.#stream(casService.GetTree, request, options, (page) => {
      directories.push(...page.directories);
      pages.push(page.directories.length);
    });
    return { ...end, directories, pages };
  }

  /** `resourceName` as for a write. */
  async queryWriteStatus(
    resourceName: string,
    options: CallOptions = {},
  ): Promise<Answered<{ readonly committedSize: number; readonly complete: boolean }>> {
    const request = create(QueryWriteStatusRequestSchema, { resourceName });
    const { response, ...end } = await this.#ask(byteStreamService.QueryWriteStatus, request, options);
    const told = response && { committedSize: Number(response.committedSize), complete: response.complete };
    return { ...end, response: told };
  }

  /** The serving status: 1 is SERVING. */
  async health(service = '', options: CallOptions = {}): Promise<Answered<number>> {
    const request = create(HealthCheckRequestSchema, { service });
    const { response, ...end } = await this.#ask(healthService.Check, request, options);
    return { ...end, response: response?.status ?? null };
  }

  #ask<Request, Response>(
    { path, requestSerialize, responseDeserialize }: Definition<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Answered<Response>> {
    return new Promise((resolve) => {
      const call = this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadataOf(options),
        limitsOf(options),
        (error, response) => resolve({ ...endOf(error), response: error ? null : (response ?? null) }),
      );
      options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
    });
  }

  async #stream<Request, Response>(
    { path, requestSerialize, responseDeserialize }: Definition<Request, Response>,
    request: Request,
    options: CallOptions,
    take: (message: Response) => void | Promise<void>,
  ): Promise<Ended> {
    const call = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadataOf(options),
      limitsOf(options),
    );
    options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
    const ended = new Promise<Ended>((resolve) =>
      call.once('status', ({ code, details }) => resolve({ code, details })),
    );
    try {
      for await (const message of call) await take(message);
    } catch (error) {
      // The status says it too.
      if (!(error instanceof Error && 'code' in error)) throw error;
    }
    return ended;
  }
}
