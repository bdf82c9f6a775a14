// The right answers of a REAPI cache, method by method, but for what the call's plan makes of them.

import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import type { BatchReadItem, BlobDigest } from '../../../src/bazel/batch-envelope.ts';
import { encodeReadResponse } from '../../../src/bazel/envelope.ts';
import {
  BatchUpdateBlobsResponseSchema,
  Compressor_Value,
  DigestFunction_Value,
  FindMissingBlobsResponseSchema,
  GetTreeResponseSchema,
  ServerCapabilitiesSchema,
  SymlinkAbsolutePathStrategy_Value,
} from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { QueryWriteStatusResponseSchema } from '../../../src/bazel/generated/google/bytestream/bytestream_pb.ts';
import {
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
} from '../../../src/bazel/generated/grpc/health/v1/health_pb.ts';
import {
  actionCacheService,
  byteStreamService,
  capabilitiesService,
  casService,
  healthService,
} from '../../../src/bazel/services.ts';
import { digestOf, type ReapiCache, readDigest, wireDigest } from './cache.ts';
import type { ReapiCall, ReapiMethod } from './call.ts';
import { parseReadName, parseWriteName } from './names.ts';
import type { Plan } from './plan.ts';
import { invalid, notFound, Refused } from './status.ts';
import { decodeZstd, encodeLikeBazelRemote } from './zstd.ts';

/** What goes over the wire: bytes, of which each piece is sent as `frame` makes it. */
export interface Reply {
  readonly bytes: Buffer;
  readonly pieceBytes: number;
  readonly frame: (piece: Buffer) => Buffer;
  /** Watch goes on until the client leaves. */
  readonly isEndless?: true;
}

/** A message as gRPC frames it. */
const framed = (message: Buffer): Buffer => {
  const frame = Buffer.allocUnsafe(5 + message.length);
  frame.writeUInt8(0);
  frame.writeUInt32BE(message.length, 1);
  message.copy(frame, 5);
  return frame;
};

export const messages = (...all: readonly Buffer[]): Reply => ({
  bytes: Buffer.concat(all.map(framed)),
  pieceBytes: Number.POSITIVE_INFINITY,
  frame: (piece) => piece,
});

const OK = status.OK;

/** An item's status as bazel-remote words it: a code, and no text. */
const itemStatus = (code: number) => ({ code, message: '' });

export interface Answer {
  /** Fills in what the request names, before behaviours are chosen. */
  readonly note: (call: ReapiCall) => void;
  readonly reply: (plan: Plan, call: ReapiCall) => Reply;
}

/** All methods with one request message. Each takes the request's bytes, and throws `Refused`. */
export const answersOf = (cache: ReapiCache): Record<Exclude<ReapiMethod, 'Write'>, (bytes: Buffer) => Answer> => ({
  GetCapabilities: (bytes) => {
    const { instanceName } = capabilitiesService.GetCapabilities.requestDeserialize(bytes);
    return {
      note: (call) => {
        call.instance = instanceName;
      },
      reply: () => messages(capabilitiesService.GetCapabilities.responseSerialize(capabilities())),
    };
  },

  GetActionResult: (bytes) => {
    const request = actionCacheService.GetActionResult.requestDeserialize(bytes);
    return {
      note: (call) => {
        call.instance = request.instanceName;
        call.digests = noted([request.actionDigest]);
      },
      reply: (plan) => {
        const { hash } = readDigest(request.actionDigest);
        const result = cache.result(hash, request.instanceName);
        if (result === null) throw notFound(`${hash} not found in AC`);
        return messages(actionCacheService.GetActionResult.responseSerialize(plan.result(result)));
      },
    };
  },

  UpdateActionResult: (bytes) => {
    const request = actionCacheService.UpdateActionResult.requestDeserialize(bytes);
    return {
      note: (call) => {
        call.instance = request.instanceName;
        call.digests = noted([request.actionDigest]);
      },
      reply: () => {
        const { hash } = readDigest(request.actionDigest);
        if (!request.actionResult) throw invalid('no action result');
        const kept = cache.addResult(hash, request.actionResult, request.instanceName);
        return messages(actionCacheService.UpdateActionResult.responseSerialize(kept));
      },
    };
  },

  FindMissingBlobs: (bytes) => {
    const request = casService.FindMissingBlobs.requestDeserialize(bytes);
    return {
      note: (call) => {
        call.instance = request.instanceName;
        call.digests = noted(request.blobDigests);
      },
      reply: (plan) => {
        const asked = request.blobDigests.map(readDigest);
        const missing = asked.filter((digest) => !cache.has(digest, request.instanceName));
        const missingBlobDigests = plan.missing(missing, asked).map(wireDigest);
        const response = create(FindMissingBlobsResponseSchema, { missingBlobDigests });
        return messages(casService.FindMissingBlobs.responseSerialize(response));
      },
    };
  },

  BatchUpdateBlobs: (bytes) => {
    const request = casService.BatchUpdateBlobs.requestDeserialize(bytes);
    return {
      note: (call) => {
        call.instance = request.instanceName;
        call.digests = request.requests.map(({ digest }) => digest);
        if (request.requests.some(({ compressor }) => compressor === Compressor_Value.ZSTD)) call.encoding = 'zstd';
      },
      reply: (plan) => {
        const responses = request.requests.map(({ digest, data, compressor }) => {
          const decoded = codeOf(() => decodeUpload(digest, data, compressor));
          const code = plan.item(digest, decoded.code) ?? OK;
          if (code === OK && decoded.bytes) cache.add(decoded.bytes, request.instanceName);
          return { digest: wireDigest(digest), status: itemStatus(code) };
        });
        const response = create(BatchUpdateBlobsResponseSchema, { responses });
        return messages(casService.BatchUpdateBlobs.responseSerialize(response));
      },
    };
  },

  BatchReadBlobs: (bytes) => {
    const request = casService.BatchReadBlobs.requestDeserialize(bytes);
    const isZstd = request.acceptableCompressors.includes(Compressor_Value.ZSTD);
    return {
      note: (call) => {
        call.instance = request.instanceName;
        call.digests = noted(request.digests);
        if (isZstd) call.encoding = 'zstd';
      },
      reply: (plan, { encoding }) => {
        const responses = request.digests.map(readDigest).map((digest): BatchReadItem => {
          const held = cache.blob(digest, request.instanceName);
          const code = plan.item(digest, held === null ? status.NOT_FOUND : OK);
          const isSent = held !== null && (code ?? OK) === OK;
          return {
            digest,
            data: isSent ? encoded(plan, held, encoding, 0) : Buffer.alloc(0),
            compressor: isSent && isZstd ? Compressor_Value.ZSTD : Compressor_Value.IDENTITY,
            status: code === null ? null : itemStatus(code),
          };
        });
        return messages(casService.BatchReadBlobs.responseSerialize({ responses }));
      },
    };
  },

  GetTree: (bytes) => {
    const request = casService.GetTree.requestDeserialize(bytes);
    return {
      note: (call) => {
        call.instance = request.instanceName;
        call.digests = noted([request.rootDigest]);
      },
      reply: () => {
        const all = cache.tree(readDigest(request.rootDigest), request.instanceName);
        const start = Number(request.pageToken);
        const pageSize = request.pageSize > 0 ? request.pageSize : all.length;
        const pages = [];
        for (let at = start; at < all.length; at += pageSize) {
          const nextPageToken = at + pageSize < all.length ? String(at + pageSize) : '';
          const page = create(GetTreeResponseSchema, { directories: all.slice(at, at + pageSize), nextPageToken });
          pages.push(casService.GetTree.responseSerialize(page));
        }
        return messages(...pages);
      },
    };
  },

  SplitBlob: () => unimplemented,
  SpliceBlob: () => unimplemented,

  Read: (bytes) => {
    const { resourceName, readOffset, readLimit } = byteStreamService.Read.requestDeserialize(bytes);
    const offset = Number(readOffset);
    const limit = Number(readLimit);
    return {
      note: (call) => {
        const { instance, digest, encoding } = parseReadName(resourceName);
        Object.assign(call, { resourceName, instance, digests: [digest], encoding, offset, limit });
      },
      reply: (plan, { instance, digests, encoding }) => {
        const [digest = { hash: '', sizeBytes: 0 }] = digests;
        const held = cache.blob(digest, instance);
        if (held === null) throw notFound(`GRPC BYTESTREAM READ BLOB NOT FOUND: ${digest.hash}`);
        if (offset < 0 || (limit !== 0 && encoding === 'zstd')) throw invalid(`offset ${offset}, limit ${limit}`);
        if (offset > held.length || limit < 0)
          throw new Refused(status.OUT_OF_RANGE, `offset ${offset}, limit ${limit}`);
        const all = encoded(plan, held, encoding, offset);
        return {
          bytes: limit > 0 ? all.subarray(0, limit) : all,
          pieceBytes: plan.pieceBytes ?? (encoding === 'zstd' ? zstdPieceBytes : identityPieceBytes),
          frame: (piece) => framed(encodeReadResponse(piece)),
        };
      },
    };
  },

  QueryWriteStatus: (bytes) => {
    const { resourceName } = byteStreamService.QueryWriteStatus.requestDeserialize(bytes);
    return {
      note: (call) => {
        const { instance, digest, encoding } = parseWriteName(resourceName);
        Object.assign(call, { resourceName, instance, digests: [digest], encoding });
      },
      reply: (_plan, { instance, digests }) => {
        const [digest] = digests;
        const complete = digest !== undefined && cache.has(digest, instance);
        const committedSize = BigInt(complete ? digest.sizeBytes : 0);
        const response = create(QueryWriteStatusResponseSchema, { committedSize, complete });
        return messages(byteStreamService.QueryWriteStatus.responseSerialize(response));
      },
    };
  },

  Check: (bytes) => ({
    note: () => undefined,
    reply: () => messages(health(bytes)),
  }),

  Watch: (bytes) => ({
    note: () => undefined,
    reply: () => ({ ...messages(health(bytes)), isEndless: true }),
  }),
});

/** bazel-remote's: identity is decoded in small steps, zstd goes out as it is stored. */
const identityPieceBytes = 64 * 1024;
const zstdPieceBytes = 2 * 1024 * 1024;

const unimplemented: Answer = {
  note: () => undefined,
  reply: () => {
    throw new Refused(status.UNIMPLEMENTED, 'unimplemented');
  },
};

const noted = (digests: readonly ({ hash: string; sizeBytes: bigint | number } | undefined)[]): BlobDigest[] =>
  digests.map((digest) => ({ hash: digest?.hash ?? '', sizeBytes: Number(digest?.sizeBytes ?? 0) }));

const encoded = (plan: Plan, held: Buffer, encoding: 'identity' | 'zstd', offset: number): Buffer => {
  const content = plan.content(held);
  const rest = offset === 0 ? content : content.subarray(offset);
  return plan.wire(encoding === 'zstd' ? encodeLikeBazelRemote(rest) : rest, { encoding, offset });
};

/** Throws where the bytes are not the blob's. */
export const decodeUpload = (digest: BlobDigest, data: Buffer, compressor: number): Buffer => {
  checkCompressor(compressor);
  const { hash, sizeBytes } = readDigest(digest);
  const decoded = compressor === Compressor_Value.ZSTD ? decodeZstd(data) : Buffer.from(data);
  if (decoded === null) throw invalid('not zstd');
  const found = digestOf(decoded);
  if (found.hash !== hash || found.sizeBytes !== sizeBytes) {
    throw invalid(`expected ${hash}/${sizeBytes}, found ${found.hash}/${found.sizeBytes}`);
  }
  return decoded;
};

const checkCompressor = (compressor: number): void => {
  if (compressor !== Compressor_Value.IDENTITY && compressor !== Compressor_Value.ZSTD) {
    throw invalid(`compressor ${compressor}`);
  }
};

const codeOf = (decode: () => Buffer): { code: number; bytes: Buffer | null } => {
  try {
    return { code: OK, bytes: decode() };
  } catch (error) {
    if (error instanceof Refused) return { code: error.code, bytes: null };
    throw error;
  }
};

const health = (bytes: Buffer): Buffer => {
  const { service } = healthService.Check.requestDeserialize(bytes);
  if (service !== '') throw notFound('unknown service');
  const { SERVING } = HealthCheckResponse_ServingStatus;
  return healthService.Check.responseSerialize(create(HealthCheckResponseSchema, { status: SERVING }));
};

/** bazel-remote's. */
const capabilities = () =>
  create(ServerCapabilitiesSchema, {
    cacheCapabilities: {
      digestFunctions: [DigestFunction_Value.SHA256],
      actionCacheUpdateCapabilities: { updateEnabled: true },
      cachePriorityCapabilities: { priorities: [{}] },
      symlinkAbsolutePathStrategy: SymlinkAbsolutePathStrategy_Value.ALLOWED,
      supportedCompressors: [Compressor_Value.ZSTD],
      supportedBatchUpdateCompressors: [Compressor_Value.ZSTD],
      maxCasBlobSizeBytes: 2n ** 63n - 1n,
    },
    lowApiVersion: { major: 2 },
    highApiVersion: { major: 2, minor: 3 },
  });
