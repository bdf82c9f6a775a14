// The services over a real socket: names and paths, unknown fields, and what grpc-js makes of a message that is malformed.

import { create, fromBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import {
  Client,
  credentials,
  Metadata,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import t from 'tap';
import { LentReadResponse, type WriteChunk } from '../../../src/bazel/envelope.ts';
import {
  ActionResultSchema,
  BatchReadBlobsRequestSchema,
  BatchUpdateBlobsResponseSchema,
  Compressor_Value,
} from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import {
  ReadRequestSchema,
  WriteResponseSchema,
} from '../../../src/bazel/generated/google/bytestream/bytestream_pb.ts';
import {
  actionCacheService,
  byteStreamService,
  capabilitiesService,
  casService,
  type Handlers,
  healthService,
} from '../../../src/bazel/services.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { until } from '../../support/waiting.ts';

const malformed = Buffer.from([0x0a, 0x7f, 1]);
const asIs = (bytes: Buffer): Buffer => bytes;

interface Scope {
  teardown(action: () => unknown): unknown;
}

const serve = async (t: Scope, add: (server: Server) => void): Promise<Client> => {
  refuseLeaks(t);
  const server = new Server();
  add(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  t.teardown(() => {
    client.close();
    server.forceShutdown();
  });
  return client;
};

interface Definition<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (message: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

/** Resolves also where the call fails. */
const ask = <Request, Response>(client: Client, method: Definition<Request, Response>, request: Request) =>
  new Promise<{ error: ServiceError | null; response: Response | undefined }>((resolve) => {
    const { path, requestSerialize, responseDeserialize } = method;
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, new Metadata(), (error, response) =>
      resolve({ error, response }),
    );
  });

const read = async (client: Client, request: Buffer) => {
  const { path, responseDeserialize } = byteStreamService.Read;
  const pieces: Buffer[] = [];
  const call = client.makeServerStreamRequest(path, asIs, responseDeserialize, request, new Metadata());
  const error = await new Promise<ServiceError | null>((resolve) => {
    call.on('data', (piece: Buffer) => pieces.push(piece));
    call.once('error', (thrown: ServiceError) => resolve(thrown));
    call.once('end', () => resolve(null));
  });
  return { pieces, error };
};

const write = (client: Client, messages: readonly Buffer[]) =>
  new Promise<{ error: ServiceError | null; committed: bigint | undefined }>((resolve) => {
    const { path, responseDeserialize } = byteStreamService.Write;
    const call = client.makeClientStreamRequest(path, asIs, responseDeserialize, new Metadata(), (error, response) =>
      resolve({ error, committed: response?.committedSize }),
    );
    for (const message of messages) call.write(message);
    call.end();
  });

/** What the handler of Write has seen. */
const seen: string[] = [];

const byteStream: Handlers<typeof byteStreamService> = {
  Read: (call) => {
    const name = Buffer.from(call.request.resourceName);
    call.write(name);
    call.write(new LentReadResponse(name));
    call.end();
  },
  Write: (call, done) => {
    let bytes = 0;
    call.on('data', (chunk: WriteChunk) => {
      bytes += chunk.data.length;
    });
    for (const event of ['end', 'error', 'cancelled', 'close']) call.on(event, () => seen.push(event));
    call.on('end', () => done(null, create(WriteResponseSchema, { committedSize: BigInt(bytes) })));
  },
  QueryWriteStatus: (_call, done) => done({ code: status.UNIMPLEMENTED }),
};

t.test('paths are those of the protos', async (t) => {
  const services = [capabilitiesService, actionCacheService, casService, byteStreamService, healthService];
  const methods = services.flatMap((service) => Object.values(service));
  t.strictSame(
    methods.map((method) => `${method.path}${method.requestStream ? ' <' : ''}${method.responseStream ? ' >' : ''}`),
    [
      '/build.bazel.remote.execution.v2.Capabilities/GetCapabilities',
      '/build.bazel.remote.execution.v2.ActionCache/GetActionResult',
      '/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult',
      '/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs',
      '/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs',
      '/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs',
      '/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree >',
      '/build.bazel.remote.execution.v2.ContentAddressableStorage/SplitBlob',
      '/build.bazel.remote.execution.v2.ContentAddressableStorage/SpliceBlob',
      '/google.bytestream.ByteStream/Read >',
      '/google.bytestream.ByteStream/Write <',
      '/google.bytestream.ByteStream/QueryWriteStatus',
      '/grpc.health.v1.Health/Check',
      '/grpc.health.v1.Health/Watch >',
    ],
  );
  for (const service of services) {
    for (const [name, { path }] of Object.entries(service)) t.ok(path.endsWith(`/${name}`), path);
  }
});

t.test('blobs in both directions, sealed or not', async (t) => {
  const client = await serve(t, (server) => server.addService(byteStreamService, byteStream));
  const request = create(ReadRequestSchema, { resourceName: 'blobs/x' });
  t.strictSame(await read(client, byteStreamService.Read.requestSerialize(request)), {
    error: null,
    pieces: [Buffer.from('blobs/x'), Buffer.from('blobs/x')],
  });
  const piece = { resourceName: 'n', writeOffset: 0, finishWrite: false, data: Buffer.alloc(70_000) };
  const messages = [piece, { ...piece, writeOffset: 70_000, finishWrite: true }];
  const sent = await write(client, messages.map(byteStreamService.Write.requestSerialize));
  t.strictSame(sent, { error: null, committed: 140_000n });
});

t.test('batches in both directions', async (t) => {
  const handlers: Partial<Handlers<typeof casService>> = {
    BatchUpdateBlobs: (call, done) => {
      const { instanceName, digestFunction, requests } = call.request;
      t.match({ instanceName, digestFunction, requests }, sent);
      done(null, create(BatchUpdateBlobsResponseSchema));
    },
    BatchReadBlobs: (call, done) => {
      const [digest] = call.request.digests;
      const named = { hash: digest?.hash ?? '', sizeBytes: Number(digest?.sizeBytes) };
      const item = { digest: named, data: Buffer.from('abc'), compressor: Compressor_Value.ZSTD, status: null };
      done(null, { responses: [item, { ...item, status: { code: status.NOT_FOUND, message: 'gone' } }] });
    },
  };
  const digest = { hash: 'ab', sizeBytes: 3 };
  const sent = {
    instanceName: 'a/b',
    digestFunction: 1,
    requests: [{ digest, data: Buffer.from('abc'), compressor: 0 }],
  };
  const client = await serve(t, (server) => {
    const { BatchUpdateBlobs, BatchReadBlobs } = casService;
    server.addService({ BatchUpdateBlobs, BatchReadBlobs }, handlers);
  });
  t.match(await ask(client, casService.BatchUpdateBlobs, sent), { error: null, response: { responses: [] } });
  const wanted = create(BatchReadBlobsRequestSchema, { digests: [{ hash: 'ab', sizeBytes: 3n }] });
  const { response } = await ask(client, casService.BatchReadBlobs, wanted);
  t.strictSame(response, {
    responses: [
      { digest, data: Buffer.from('abc'), compressor: 1, status: null },
      { digest, data: Buffer.from('abc'), compressor: 1, status: { code: 5, message: 'gone' } },
    ],
  });
});

t.test('a client that grpc-js makes of a service calls it by name', async (t) => {
  const client = await serve(t, (server) => server.addService(byteStreamService, byteStream));
  const Typed = makeGenericClientConstructor(byteStreamService, 'google.bytestream.ByteStream');
  const named = new Typed(client.getChannel().getTarget().replace(/^dns:/, ''), credentials.createInsecure());
  const pieces = await named['Read']?.(create(ReadRequestSchema, { resourceName: 'abc' })).toArray();
  t.strictSame(pieces, [Buffer.from('abc'), Buffer.from('abc')]);
  named.close();
});

/** Fields that no version of ours knows, in every wire type. */
const unknown = (): BinaryWriter => {
  const writer = new BinaryWriter();
  writer.tag(1_000, WireType.Varint).uint64(2n ** 63n);
  writer.tag(1_001, WireType.LengthDelimited).bytes(Buffer.from('from tomorrow'));
  writer.tag(1_002, WireType.Bit64).fixed64(1n).tag(1_003, WireType.Bit32).fixed32(1);
  return writer;
};

/** Our own fields, and around them, or after them, the unknown ones. */
const withUnknown = (where: 'first' | 'last', write: (writer: BinaryWriter) => void): Uint8Array => {
  const own = new BinaryWriter();
  write(own);
  const parts = [own.finish(), unknown().finish()];
  return Buffer.concat(where === 'last' ? parts : parts.reverse());
};

const actionResult = (where: 'first' | 'last'): Buffer => {
  const digest = withUnknown(where, (to) =>
    to.tag(1, WireType.LengthDelimited).string('ab').tag(2, WireType.Varint).int64(7),
  );
  const file = withUnknown(where, (to) =>
    to.tag(1, WireType.LengthDelimited).string('bin/a').tag(2, WireType.LengthDelimited).bytes(digest),
  );
  const tree = withUnknown(where, (to) =>
    to.tag(1, WireType.LengthDelimited).string('d').tag(3, WireType.LengthDelimited).bytes(digest),
  );
  const metadata = withUnknown(where, (to) => to.tag(1, WireType.LengthDelimited).string('worker'));
  const result = withUnknown(where, (to) => {
    to.tag(2, WireType.LengthDelimited).bytes(file).tag(2, WireType.LengthDelimited).bytes(file);
    to.tag(3, WireType.LengthDelimited).bytes(tree);
    to.tag(6, WireType.LengthDelimited).bytes(digest).tag(9, WireType.LengthDelimited).bytes(metadata);
  });
  return Buffer.from(result);
};

t.test('an action result keeps its unknown fields', async (t) => {
  const { responseDeserialize, responseSerialize } = actionCacheService.GetActionResult;
  const last = actionResult('last');
  t.ok(
    responseSerialize(responseDeserialize(last)).equals(last),
    'byte for byte where they come last, as encoders put them',
  );
  const first = actionResult('first');
  const once = responseSerialize(responseDeserialize(first));
  t.equal(once.length, first.length);
  t.strictSame(responseDeserialize(once), responseDeserialize(first), 'field for field where they come first');
  const update = Buffer.concat([Buffer.from([0x1a, ...new BinaryWriter().uint32(last.length).finish()]), last]);
  const { requestDeserialize, requestSerialize } = actionCacheService.UpdateActionResult;
  t.ok(requestSerialize(requestDeserialize(update)).equals(update), 'in an upload too');
});

t.test('an enum value that has no name yet is kept', async (t) => {
  const bytes = Buffer.from([0x0a, 4, 0x32, 2, 1, 77]);
  const { responseDeserialize, responseSerialize } = capabilitiesService.GetCapabilities;
  t.strictSame(responseDeserialize(bytes).cacheCapabilities?.supportedCompressors, [1, 77]);
  t.ok(responseSerialize(responseDeserialize(bytes)).equals(bytes));
});

t.test('messages nested without end are an error', async (t) => {
  const deep = Buffer.alloc(100_000, Buffer.from([0x7b]));
  t.throws(() => fromBinary(ActionResultSchema, deep));
});

t.test('a malformed request is INTERNAL by grpc-js, and the handler never gets it', async (t) => {
  seen.length = 0;
  const client = await serve(t, (server) => {
    server.addService(byteStreamService, byteStream);
    const { FindMissingBlobs, BatchUpdateBlobs } = casService;
    const never = () => t.fail('a handler was asked');
    server.addService({ FindMissingBlobs, BatchUpdateBlobs }, { FindMissingBlobs: never, BatchUpdateBlobs: never });
  });
  const refused = { code: status.INTERNAL, details: 'Error deserializing request' };
  const raw = { requestSerialize: asIs };
  t.match(await ask(client, { ...casService.FindMissingBlobs, ...raw }, malformed), { error: refused });
  t.match(await ask(client, { ...casService.BatchUpdateBlobs, ...raw }, malformed), { error: refused });
  t.match(await read(client, malformed), { error: refused, pieces: [] });
  t.strictSame(seen, []);
  const first = byteStreamService.Write.requestSerialize({
    resourceName: 'n',
    writeOffset: 0,
    finishWrite: false,
    data: Buffer.alloc(10),
  });
  t.match(await write(client, [first, malformed]), { error: refused });
  await until(() => seen.includes('close'));
  t.strictSame(seen, ['cancelled', 'close'], 'its stream is cancelled and closed: no end, and no error');
  t.match(await write(client, [first]), { error: null, committed: 10n }, 'the server goes on');
});

t.test('a malformed response is INTERNAL at the client, and the call is cancelled', async (t) => {
  const response = { responseSerialize: asIs };
  const { FindMissingBlobs, BatchReadBlobs } = casService;
  const cas = {
    FindMissingBlobs: { ...FindMissingBlobs, ...response },
    BatchReadBlobs: { ...BatchReadBlobs, ...response },
  };
  const { Read, Write } = byteStreamService;
  const streams = { Read: { ...Read, ...response }, Write: { ...Write, ...response } };
  let cancelled = 0;
  const client = await serve(t, (server) => {
    const casHandlers: Handlers<typeof cas> = {
      FindMissingBlobs: (_call, done) => done(null, malformed),
      BatchReadBlobs: (_call, done) => done(null, malformed),
    };
    const streamHandlers: Handlers<typeof streams> = {
      Read: (call) => {
        call.on('cancelled', () => {
          cancelled += 1;
        });
        call.write(Read.responseSerialize(Buffer.from('abc')));
        call.write(malformed);
      },
      Write: (call, done) => call.resume().on('end', () => done(null, malformed)),
    };
    server.addService(cas, casHandlers);
    server.addService(streams, streamHandlers);
  });
  const failed = { code: status.INTERNAL, details: /^Response message parsing error: / };
  const noBytes = Buffer.alloc(0);
  const request = { requestSerialize: asIs };
  t.match(await ask(client, { ...FindMissingBlobs, ...request }, noBytes), { error: failed });
  t.match(await ask(client, { ...BatchReadBlobs, ...request }, noBytes), { error: failed });
  t.match(await read(client, noBytes), { error: failed, pieces: [Buffer.from('abc')] });
  t.match(await write(client, []), { error: failed });
  await until(() => cancelled === 1);
});
