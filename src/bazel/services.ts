// The gRPC services as grpc-js takes them, on both sides: their paths, and how each message gets to and from bytes.
//
// Messages go through protobuf-es, which keeps unknown fields; those that carry or name many blobs go through `envelope.ts` and `batch-envelope.ts`. What is
// malformed throws in here, and grpc-js makes a status of it (services.test.ts shows which).

import { type DescMessage, type DescMethod, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import type { handleClientStreamingCall, handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import {
  decodeBatchRead,
  decodeBatchUpdate,
  decodeFindMissing,
  encodeBatchRead,
  encodeBatchUpdate,
  encodeFindMissing,
} from './batch-envelope.ts';
import { decodeReadResponse, decodeWriteRequest, encodeReadResponse, encodeWriteRequest } from './envelope.ts';
import {
  ActionCache,
  Capabilities,
  ContentAddressableStorage,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { ByteStream } from './generated/google/bytestream/bytestream_pb.ts';
import { Health } from './generated/grpc/health/v1/health_pb.ts';

type Method<Kind extends DescMethod['methodKind'], Request extends DescMessage, Response extends DescMessage> = Pick<
  DescMethod,
  'name' | 'parent'
> & { readonly methodKind: Kind; readonly input: Request; readonly output: Response };

const codec = <Request extends DescMessage, Response extends DescMessage>(
  method: Method<DescMethod['methodKind'], Request, Response>,
) => {
  const { input, output } = method;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestSerialize: (message: MessageShape<Request>): Buffer => bytesOf(input, message),
    requestDeserialize: (bytes: Buffer): MessageShape<Request> => fromBinary(input, bytes),
    responseSerialize: (message: MessageShape<Response>): Buffer => bytesOf(output, message),
    responseDeserialize: (bytes: Buffer): MessageShape<Response> => fromBinary(output, bytes),
  };
};

const bytesOf = <Message extends DescMessage>(schema: Message, message: MessageShape<Message>): Buffer => {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
};

const unary = <Request extends DescMessage, Response extends DescMessage>(method: Method<'unary', Request, Response>) =>
  ({ ...codec(method), requestStream: false, responseStream: false }) as const;

const serverStream = <Request extends DescMessage, Response extends DescMessage>(
  method: Method<'server_streaming', Request, Response>,
) => ({ ...codec(method), requestStream: false, responseStream: true }) as const;

const clientStream = <Request extends DescMessage, Response extends DescMessage>(
  method: Method<'client_streaming', Request, Response>,
) => ({ ...codec(method), requestStream: true, responseStream: false }) as const;

/** What `Server.addService` wants beside one of the services below, with its types. */
export type Handlers<Service> = { readonly [Name in keyof Service]: Handler<Service[Name]> };

type Handler<Definition> = Definition extends {
  requestDeserialize: (bytes: Buffer) => infer Request;
  responseSerialize: (message: infer Response) => Buffer;
}
  ? Definition extends { requestStream: true }
    ? handleClientStreamingCall<Request, Response>
    : Definition extends { responseStream: true }
      ? handleServerStreamingCall<Request, Response>
      : handleUnaryCall<Request, Response>
  : never;

export const capabilitiesService = {
  GetCapabilities: unary(Capabilities.method.getCapabilities),
};

export const actionCacheService = {
  GetActionResult: unary(ActionCache.method.getActionResult),
  UpdateActionResult: unary(ActionCache.method.updateActionResult),
};

export const casService = {
  FindMissingBlobs: {
    ...unary(ContentAddressableStorage.method.findMissingBlobs),
    requestSerialize: encodeFindMissing,
    requestDeserialize: decodeFindMissing,
  },
  BatchUpdateBlobs: {
    ...unary(ContentAddressableStorage.method.batchUpdateBlobs),
    requestSerialize: encodeBatchUpdate,
    requestDeserialize: decodeBatchUpdate,
  },
  BatchReadBlobs: {
    ...unary(ContentAddressableStorage.method.batchReadBlobs),
    responseSerialize: encodeBatchRead,
    responseDeserialize: decodeBatchRead,
  },
  GetTree: serverStream(ContentAddressableStorage.method.getTree),
  SplitBlob: unary(ContentAddressableStorage.method.splitBlob),
  SpliceBlob: unary(ContentAddressableStorage.method.spliceBlob),
};

export const byteStreamService = {
  /** A ReadResponse is its data; the server may also send a LentReadResponse. */
  Read: {
    ...serverStream(ByteStream.method.read),
    responseSerialize: encodeReadResponse,
    responseDeserialize: decodeReadResponse,
  },
  Write: {
    ...clientStream(ByteStream.method.write),
    requestSerialize: encodeWriteRequest,
    requestDeserialize: decodeWriteRequest,
  },
  QueryWriteStatus: unary(ByteStream.method.queryWriteStatus),
};

export const healthService = {
  Check: unary(Health.method.check),
  Watch: serverStream(Health.method.watch),
};
