// A gRPC relay that changes nothing, and notes what was called: what a client, or cleanmiss itself, really asks for.

import { fromBinary } from '@bufbuild/protobuf';
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { decodeWriteRequest } from '../../../src/bazel/envelope.ts';
import {
  FindMissingBlobsRequestSchema,
  GetActionResultRequestSchema,
  UpdateActionResultRequestSchema,
} from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { ReadRequestSchema } from '../../../src/bazel/generated/google/bytestream/bytestream_pb.ts';
import {
  actionCacheService,
  byteStreamService,
  capabilitiesService,
  casService,
  healthService,
} from '../../../src/bazel/services.ts';
import { clientWindow, widenConnections, widenStreams } from '../../../src/bazel/windows.ts';
import type { Scope } from './scope.ts';

export interface RelayedCall {
  /** `Read`, `GetActionResult`. */
  readonly method: string;
  /** The hashes that its first message names: of blobs, or of the action. */
  readonly hashes: readonly string[];
  /** Bytes of messages that the caller was sent. */
  readonly bytes: number;
  /** Null while it is open. */
  readonly code: status | null;
}

export interface GrpcRelay {
  /** `host:port`. */
  readonly address: string;
  readonly calls: readonly RelayedCall[];
  /** How often each hash was asked of this method. */
  counts(method: string): ReadonlyMap<string, number>;
  forget(): void;
}

export interface GrpcRelayOptions {
  /** `host:port`. */
  readonly to: string;
  /** Told of each message, before the caller is sent it. */
  readonly onAnswer?: (call: RelayedCall) => void;
}

const hashIn = (resourceName: string): string[] => /[0-9a-f]{64}(?=\/\d+)/.exec(resourceName) ?? [];

const hashesOf: Readonly<Record<string, (message: Buffer) => string[]>> = {
  Read: (message) => hashIn(fromBinary(ReadRequestSchema, message).resourceName),
  Write: (message) => hashIn(decodeWriteRequest(message).resourceName),
  FindMissingBlobs: (message) => fromBinary(FindMissingBlobsRequestSchema, message).blobDigests.map(({ hash }) => hash),
  GetActionResult: (message) => [fromBinary(GetActionResultRequestSchema, message).actionDigest?.hash ?? ''],
  UpdateActionResult: (message) => [fromBinary(UpdateActionResultRequestSchema, message).actionDigest?.hash ?? ''],
};

const asIs = (message: Buffer): Buffer => message;

/** Every method as one that streams both ways: on the wire the others are that, too. */
const asStreams = (service: object) =>
  Object.fromEntries(
    Object.entries(service).map(([name, { path }]: [string, { readonly path: string }]) => [
      name,
      {
        path,
        requestStream: true,
        responseStream: true,
        requestSerialize: asIs,
        requestDeserialize: asIs,
        responseSerialize: asIs,
        responseDeserialize: asIs,
      } as const,
    ]),
  );

const forwarded = (metadata: Metadata): Metadata => {
  const sent = new Metadata();
  for (const key of Object.keys(metadata.getMap())) {
    if (/^grpc-|^(accept-encoding|content-type|te|user-agent)$/.test(key)) continue;
    for (const value of metadata.get(key)) sent.add(key, value);
  }
  return sent;
};

interface Writable {
  write(message: Buffer, taken: () => void): unknown;
}

type Call = ServerDuplexStream<Buffer, Buffer>;

/** Goes with the scope, and all its connections with it. Never holds more than one message a call and direction. */
export const startGrpcRelay = async (scope: Scope, { to, onAnswer }: GrpcRelayOptions): Promise<GrpcRelay> => {
  const client = new Client(to, credentials.createInsecure(), {
    ...clientWindow,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': -1,
    'grpc.enable_retries': 0,
    // Who is back is seen at once.
    'grpc.initial_reconnect_backoff_ms': 20,
    'grpc.max_reconnect_backoff_ms': 100,
  });
  const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
  const calls: { method: string; hashes: string[]; bytes: number; code: status | null }[] = [];

  const relayed = (method: string, path: string) => async (call: Call) => {
    const noted = { method, hashes: [] as string[], bytes: 0, code: null as status | null };
    calls.push(noted);
    const behind = client.makeBidiStreamRequest(path, asIs, asIs, forwarded(call.metadata), {
      deadline: call.getDeadline(),
    });
    const ended = new Promise<StatusObject>((resolve) => behind.once('status', resolve));
    const gone = new Promise<void>((resolve) => call.once('cancelled', () => resolve()));
    gone.then(
      () => behind.cancel(),
      () => undefined,
    );
    call.on('error', () => behind.cancel());
    behind.on('error', () => {}); // Its status says it too.
    // After the end of either side a write's callback may never come.
    const written = (side: Writable, message: Buffer, over: Promise<unknown>) =>
      Promise.race([new Promise<void>((taken) => side.write(message, () => taken())), over]);
    const ask = async () => {
      let isFirst = true;
      for await (const message of call.iterator({ destroyOnReturn: false })) {
        if (isFirst) noted.hashes.push(...(hashesOf[method]?.(message as Buffer) ?? []));
        isFirst = false;
        await written(behind, message as Buffer, ended);
      }
      behind.end();
    };
    ask().catch(() => behind.cancel());
    try {
      for await (const message of behind) {
        noted.bytes += (message as Buffer).length;
        onAnswer?.(noted);
        await written(call, message as Buffer, gone);
      }
    } catch {
      // As above.
    }
    const { code, details, metadata } = await ended;
    noted.code = code;
    if (code === status.OK) call.end(metadata);
    else call.emit('error', { code, details, metadata });
    call.resume();
  };

  for (const service of [actionCacheService, byteStreamService, capabilitiesService, casService, healthService]) {
    const streams = asStreams(service);
    const handlers = Object.entries(streams).map(([name, { path }]) => [name, relayed(name, path)]);
    server.addService(streams, Object.fromEntries(handlers));
  }
  widenStreams(server);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  widenConnections(server);
  scope.teardown(() => {
    server.forceShutdown();
    client.close();
  });
  return {
    address: `127.0.0.1:${port}`,
    calls,
    counts(method) {
      const hashes = calls.filter((call) => call.method === method).flatMap((call) => call.hashes);
      const counts = new Map<string, number>();
      for (const hash of hashes) counts.set(hash, (counts.get(hash) ?? 0) + 1);
      return counts;
    },
    forget() {
      calls.length = 0;
    },
  };
};
