// Receives a ByteStream.Write as its plan says, keeps what is right, and answers.

import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { WriteChunk } from '../../../src/bazel/envelope.ts';
import { Compressor_Value } from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { WriteResponseSchema } from '../../../src/bazel/generated/google/bytestream/bytestream_pb.ts';
import { byteStreamService } from '../../../src/bazel/services.ts';
import { pause } from '../../../src/core/clock.ts';
import { decodeUpload, messages, type Reply } from './answers.ts';
import type { ReapiCache } from './cache.ts';
import type { ReapiCall } from './call.ts';
import { carryOut, passPlace, type Wire, whileThere } from './carry-out.ts';
import { parseWriteName } from './names.ts';
import type { Plan } from './plan.ts';
import { invalid } from './status.ts';

/** `choose` gives the plan once the first message has named the blob. */
export const takeWrite = async (
  wire: Wire & { readonly call: ServerDuplexStream<Buffer, Buffer> },
  cache: ReapiCache,
  choose: (call: ReapiCall) => Plan,
): Promise<void> => {
  const { call, record, gone, clock, onProgress } = wire;
  // An answer may come before the last message; the stream must outlive the iterator then.
  const received = call.iterator({ destroyOnReturn: false });
  const next = async (): Promise<WriteChunk | null> => {
    const { value, done } = await whileThere(gone, received.next());
    if (done === true) return null;
    record.messagesReceived += 1;
    return byteStreamService.Write.requestDeserialize(value);
  };

  const first = await next();
  if (first === null) throw invalid('Empty resource name');
  const { instance, digest, encoding } = parseWriteName(first.resourceName);
  const { resourceName, writeOffset: offset } = first;
  Object.assign(record, { resourceName, instance, digests: [digest], encoding, offset });
  const plan = choose(record);
  if (await passPlace(wire, plan, (at) => at === 'before' || at === 0)) return;

  /** Only what stands at the end is left of the plan. */
  const answer = (committedSize: number): Promise<void> => {
    const holds = plan.holds.filter(({ at }) => at === 'after');
    const end = plan.end?.at === 'after' ? plan.end : null;
    return carryOut(wire, { ...plan, holds, end, pace: null }, () => committed(committedSize));
  };
  if (cache.has(digest, instance)) return answer(encoding === 'zstd' ? -1 : digest.sizeBytes);

  const parts: Buffer[] = [];
  for (let chunk: WriteChunk | null = first; chunk !== null; chunk = await next()) {
    const before = record.bytesReceived;
    if (chunk.resourceName !== '' && chunk.resourceName !== resourceName) throw invalid('Resource name changed');
    if (chunk.writeOffset !== before) throw invalid(`offset ${chunk.writeOffset} where ${before} were received`);
    parts.push(chunk.data);
    const now = before + chunk.data.length;
    if (encoding === 'identity' && now > digest.sizeBytes) throw invalid(`more than ${digest.sizeBytes} bytes`);
    record.bytesReceived = now;
    record.isFinished = chunk.finishWrite;
    onProgress();
    if (await passPlace(wire, plan, (at) => typeof at === 'number' && at > before && at <= now)) return;
    if (plan.pace) await pause(clock, (1_000 * chunk.data.length) / plan.pace.bytesPerSecond, gone);
    if (record.isFinished) break;
  }
  // Complete without finish_write is accepted, as by bazel-remote.
  const compressor = encoding === 'zstd' ? Compressor_Value.ZSTD : Compressor_Value.IDENTITY;
  cache.add(decodeUpload(digest, Buffer.concat(parts), compressor), instance);
  return answer(record.bytesReceived);
};

const committed = (size: number): Reply =>
  messages(byteStreamService.Write.responseSerialize(create(WriteResponseSchema, { committedSize: BigInt(size) })));
