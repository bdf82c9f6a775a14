// google.bytestream.ByteStream: blobs of any size, one a call.

import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import type { Clock } from '../core/clock.ts';
import { isCode } from '../core/errors.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { ProvenForm } from '../store/form.ts';
import type { Blobs } from './blobs.ts';
import { CallError, invalid, notFound, notStored } from './call-error.ts';
import type { Caller } from './caller.ts';
import { isEmpty } from './digest.ts';
import type { LentReadResponse } from './envelope.ts';
import {
  QueryWriteStatusResponseSchema,
  type ReadRequest,
  WriteResponseSchema,
} from './generated/google/bytestream/bytestream_pb.ts';
import type { Handlers, Send } from './handlers.ts';
import { inMessages } from './read-messages.ts';
import { readReadName, readWriteName } from './resource-name.ts';
import { sendFollowed, sendForm, sendRecoded } from './send.ts';
import type { byteStreamService, Handlers as ServiceHandlers } from './services.ts';
import type { Uploads } from './uploads.ts';
import type { Blob } from './upstream.ts';

export interface ByteStreamPorts {
  readonly clock: Clock;
  readonly handlers: Handlers;
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly telemetry: Telemetry;
}

/** A zstd frame of no bytes, as REAPI wants it of the empty blob: 9 bytes with size and block. */
const EMPTY_FRAME = Buffer.from('28b52ffd2000010000', 'hex');
/** Bazel reads small blobs as identity, whatever else it asks for. */
const TELLING_BYTES = 1024;
const late = () => notFound('the blob cannot be had in time');

export const byteStream = (ports: ByteStreamPorts): ServiceHandlers<typeof byteStreamService> => {
  const { handlers, uploads, blobs } = ports;
  return {
    Read: handlers.serverStream(late, (request: ReadRequest, caller, send: Send<Buffer | LentReadResponse>) =>
      read(ports, request, caller, inMessages(send)),
    ),
    Write: handlers.clientStream(notStored, async (chunks, caller) => {
      const committedSize = await uploads.write(chunks, caller);
      return create(WriteResponseSchema, { committedSize: BigInt(committedSize) });
    }),
    QueryWriteStatus: handlers.unary(notStored, async ({ resourceName }, caller) => {
      const { instance, digest } = readWriteName(resourceName);
      await blobs.requireReader(instance, caller, notStored);
      const isComplete = await uploads.isStored(instance, digest, caller);
      return create(QueryWriteStatusResponseSchema, {
        committedSize: isComplete ? BigInt(digest.sizeBytes) : 0n,
        complete: isComplete,
      });
    }),
  };
};

interface Span {
  readonly start: number;
  readonly end: number;
}

const read = async (
  ports: ByteStreamPorts,
  request: ReadRequest,
  caller: Caller,
  send: Send<Buffer>,
): Promise<void> => {
  const { blobs, telemetry } = ports;
  const blob = readReadName(request.resourceName);
  const span = readSpan(request, blob);
  await blobs.requireReader(blob.instance, caller);
  if (isEmpty(blob.digest)) return blob.encoding === 'zstd' ? await send(EMPTY_FRAME) : undefined;
  if (blob.digest.sizeBytes > TELLING_BYTES) blobs.noteRead(blob);
  const isWhole = span.start === 0 && span.end === blob.digest.sizeBytes;
  // An offset counts decoded bytes, so the rest of a zstd body is encoded anew.
  const obtained = await blobs.obtain(isWhole ? blob : { ...blob, encoding: 'identity' }, caller, {
    mayFollow: isWhole,
    isNamedByClient: true,
  });
  switch (obtained.kind) {
    case 'proven':
      telemetry.request('bazel', obtained.source);
      return await sendProven(ports, blob, obtained.form, span, caller, send);
    case 'followed':
      telemetry.request('bazel', 'fill');
      try {
        return await sendFollowed(obtained.followed, ports.clock, caller.endBy, send);
      } catch (error) {
        // Never a code that is tried again, once a byte has left: Bazel would go on at an offset.
        if (isCode(error, 'NOT_PROVEN') || isCode(error, 'LATE')) throw notFound('the blob could not be proven');
        throw error;
      }
    default:
      telemetry.request('bazel', 'miss');
      throw blobs.errorOf(obtained, caller);
  }
};

/** Decoded bytes [start, end) that are asked for. */
const readSpan = ({ readOffset, readLimit }: ReadRequest, { digest, encoding }: Blob): Span => {
  const { sizeBytes } = digest;
  if (readOffset < 0n) throw invalid('read_offset must be at least 0');
  if (readLimit < 0n) throw invalid('read_limit must be at least 0');
  if (readLimit > 0n && encoding === 'zstd') throw invalid('read_limit must be 0 for compressed blobs');
  if (readOffset > BigInt(sizeBytes))
    throw new CallError(status.OUT_OF_RANGE, `read_offset is beyond the blob's ${sizeBytes} bytes`);
  const start = Number(readOffset);
  const end = readLimit === 0n ? sizeBytes : Number(readOffset + readLimit);
  return { start, end: Math.min(end, sizeBytes) };
};

/** Where our disk fails under it, once: the rest comes from what is obtained anew. */
const sendProven = async (
  { blobs }: ByteStreamPorts,
  blob: Blob,
  form: ProvenForm,
  { start, end }: Span,
  caller: Caller,
  send: Send<Buffer>,
): Promise<void> => {
  if (form.encoding !== blob.encoding) return await sendRecoded(form, start, end, send);
  const isIdentity = form.encoding === 'identity';
  let at = isIdentity ? start : 0;
  const counted = async (piece: Buffer) => {
    await send(piece);
    at += piece.length;
  };
  try {
    await sendForm(form, at, isIdentity ? end : form.fileBytes, counted);
  } catch (error) {
    if (!isCode(error, 'ROT') && !isCode(error, 'DISK')) throw error;
    const again = await blobs.obtain(blob, caller, { isNamedByClient: true });
    // Another zstd form of the same digest is no continuation of what was sent.
    if (again.kind !== 'proven' || again.form.fileHash !== form.fileHash) throw notFound('our disk failed');
    await sendForm(again.form, at, isIdentity ? end : form.fileBytes, send);
  }
};
