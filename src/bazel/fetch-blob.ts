// Fetches a blob's encoded bytes for the heart by ByteStream.Read, in the encoding that costs the upstream least.

import { create } from '@bufbuild/protobuf';
import type { Client, ClientReadableStream, Metadata } from '@grpc/grpc-js';
import { decode } from '../codec/decode.ts';
import { encodeZstd } from '../codec/encode-zstd.ts';
import type { Failure } from '../core/verdict.ts';
import type { Fetch } from '../proof/fetch.ts';
import { ReadRequestSchema } from './generated/google/bytestream/bytestream_pb.ts';
import { readName } from './resource-name.ts';
import { byteStreamService } from './services.ts';
import type { Blob } from './upstream.ts';

export interface BlobFetchPorts {
  readonly client: Client;
  readonly metadata: Metadata;
  /** Whether the upstream speaks zstd. */
  isZstdSpoken(): Promise<boolean>;
  failureOf(error: unknown): Failure;
}

/** bazel-remote decodes for identity, and sends in crumbs of 64 KiB; what it stores is zstd (measured). */
const WORTH_ZSTD_BYTES = 64 * 1024;

export const blobFetch =
  ({ client, metadata, isZstdSpoken, failureOf }: BlobFetchPorts, blob: Blob): Fetch =>
  async ({ fromByte, signal }) => {
    const wanted = blob.encoding === 'zstd' || blob.digest.sizeBytes > WORTH_ZSTD_BYTES ? 'zstd' : 'identity';
    const asked = (await isZstdSpoken()) ? wanted : 'identity';
    // An offset counts decoded bytes: it says where to go on with identity, whatever it is asked as.
    const readOffset = blob.encoding === 'identity' ? fromByte : 0;
    const request = create(ReadRequestSchema, {
      resourceName: readName({ ...blob, encoding: asked }),
      readOffset: BigInt(readOffset),
    });
    const { path, requestSerialize, responseDeserialize } = byteStreamService.Read;
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata);
    const cancel = () => call.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    const messages = messagesOf(call, () => signal.removeEventListener('abort', cancel));
    try {
      const first = await messages.next();
      const bytes = startedWith(first.done ? null : first.value, messages);
      return { kind: 'body', fromByte: readOffset, validator: null, bytes: recoded(bytes, asked, blob.encoding) };
    } catch (error) {
      return failureOf(error);
    }
  };

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
