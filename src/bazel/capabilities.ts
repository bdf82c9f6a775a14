// What this cache can do, said at once: a client that does not hear it builds without a cache, or not at all.

import { create } from '@bufbuild/protobuf';
import { notFound } from './call-error.ts';
import {
  Compressor_Value,
  DigestFunction_Value,
  type ServerCapabilities,
  ServerCapabilitiesSchema,
  SymlinkAbsolutePathStrategy_Value,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import type { Handlers } from './handlers.ts';
import type { capabilitiesService, Handlers as ServiceHandlers } from './services.ts';

/** Of one batch: clients that keep to it stay below the 4 MiB that gRPC itself accepts. */
const MAX_BATCH_BYTES = 3 * 1024 * 1024;

const capabilities = (): ServerCapabilities =>
  create(ServerCapabilitiesSchema, {
    cacheCapabilities: {
      digestFunctions: [DigestFunction_Value.SHA256],
      // Never less, whatever the gate says: Bazel before 6 refuses to build.
      actionCacheUpdateCapabilities: { updateEnabled: true },
      cachePriorityCapabilities: { priorities: [{ minPriority: 0, maxPriority: 0 }] },
      maxBatchTotalSizeBytes: BigInt(MAX_BATCH_BYTES),
      symlinkAbsolutePathStrategy: SymlinkAbsolutePathStrategy_Value.ALLOWED,
      supportedCompressors: [Compressor_Value.ZSTD],
      supportedBatchUpdateCompressors: [Compressor_Value.ZSTD],
    },
    lowApiVersion: { major: 2 },
    highApiVersion: { major: 2, minor: 3 },
  });

export const capabilitiesHandlers = (handlers: Handlers): ServiceHandlers<typeof capabilitiesService> => {
  const answer = capabilities();
  return {
    GetCapabilities: handlers.unary(
      () => notFound('capabilities'),
      () => Promise.resolve(answer),
    ),
  };
};
