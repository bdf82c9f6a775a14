// Capabilities, health, and calls that no service knows.

import { create, toBinary } from '@bufbuild/protobuf';
import { HealthCheckRequestSchema } from '../../../src/bazel/generated/grpc/health/v1/health_pb.ts';
import { codeOf, type Row } from './wire.ts';

const REAPI = '/build.bazel.remote.execution.v2';
const HEALTH = '/grpc.health.v1.Health';

const said = {
  code: 'OK',
  functions: [1],
  isUpdated: true,
  symlinks: 2,
  compressors: [[1], [1]],
  from: [2, 0],
  to: [2, 3],
  executes: false,
};

const capabilities: Row[] = ['', 'any/instance'].map((instance) => ({
  reason: `GetCapabilities of "${instance}"`,
  ask: async (wire) => {
    const { response, ...end } = await wire.client.getCapabilities({ instance });
    const cache = response?.cacheCapabilities;
    return {
      code: codeOf(end),
      functions: cache?.digestFunctions,
      isUpdated: cache?.actionCacheUpdateCapabilities?.updateEnabled,
      maxBatch: Number(cache?.maxBatchTotalSizeBytes),
      symlinks: cache?.symlinkAbsolutePathStrategy,
      compressors: [cache?.supportedCompressors, cache?.supportedBatchUpdateCompressors],
      splices: [cache?.splitBlobSupport, cache?.spliceBlobSupport],
      from: [response?.lowApiVersion?.major, response?.lowApiVersion?.minor],
      to: [response?.highApiVersion?.major, response?.highApiVersion?.minor],
      executes: response?.executionCapabilities !== undefined,
    };
  },
  sees: { ...said, maxBatch: 3 * 1024 * 1024, splices: [false, false] },
  differs: {
    remote: { sees: { ...said, maxBatch: 0, splices: [false, true] }, why: 'it names no limit, though it has one' },
  },
}));

const healthRequest = (service: string): Buffer =>
  Buffer.from(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema, { service })));

/** The first status that a watcher is told; then it leaves. */
const watched =
  (service: string): Row['ask'] =>
  async (wire) => {
    const { code, messages } = await wire.raw(`${HEALTH}/Watch`, healthRequest(service), AbortSignal.timeout(300));
    return [code, messages.map((bytes) => bytes.toString('hex'))];
  };

const health: Row[] = [
  {
    reason: 'Check of the server',
    ask: async (wire) => {
      const { response, ...end } = await wire.client.health('');
      return [codeOf(end), response];
    },
    sees: ['OK', 1],
  },
  {
    reason: 'Check of a service that nobody knows',
    ask: async (wire) => codeOf(await wire.client.health('a.service')),
    sees: 'NOT_FOUND',
  },
  { reason: 'Watch of the server, which goes on', ask: watched(''), sees: ['CANCELLED', ['0801']] },
  {
    reason: 'Watch of a service that nobody knows, which goes on',
    ask: watched('a.service'),
    sees: ['CANCELLED', ['0803']],
  },
];

const strangers: Row[] = [
  `${REAPI}.Execution/Execute`,
  `${REAPI}.ContentAddressableStorage/NoSuchMethod`,
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/no.such.Service/Method',
].map((path) => ({
  reason: `${path}, which is not served`,
  ask: async (wire) => (await wire.raw(path, Buffer.alloc(0))).code,
  sees: 'UNIMPLEMENTED',
}));

/** A length that goes past the end. */
const malformed = Buffer.from([0x0a, 0x7f, 1]);

const noMessages: Row[] = [
  `${REAPI}.Capabilities/GetCapabilities`,
  `${REAPI}.ActionCache/GetActionResult`,
  `${REAPI}.ActionCache/UpdateActionResult`,
  `${REAPI}.ContentAddressableStorage/FindMissingBlobs`,
  `${REAPI}.ContentAddressableStorage/BatchUpdateBlobs`,
  `${REAPI}.ContentAddressableStorage/BatchReadBlobs`,
  `${REAPI}.ContentAddressableStorage/GetTree`,
  '/google.bytestream.ByteStream/Read',
  '/google.bytestream.ByteStream/QueryWriteStatus',
  `${HEALTH}/Check`,
].map((path) => ({
  reason: `${path} of bytes that are no message`,
  ask: async (wire) => (await wire.raw(path, malformed)).code,
  sees: 'INVALID_ARGUMENT',
  differs: { remote: { sees: 'INTERNAL', why: 'the client erred; Bazel would try INTERNAL again' } },
}));

export const others: readonly Row[] = [...capabilities, ...health, ...strangers, ...noMessages];
