// The hand-written messages say the same as protobuf-es, in both directions, and no bytes bring anything but the documented error.

import { deepEqual } from 'node:assert/strict';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import t from 'tap';
import {
  type BatchRead,
  type BatchUpdate,
  decodeBatchRead,
  decodeBatchUpdate,
  decodeFindMissing,
  encodeBatchRead,
  encodeBatchUpdate,
  encodeFindMissing,
  type FindMissing,
} from '../../../src/bazel/batch-envelope.ts';
import {
  decodeReadResponse,
  decodeWriteRequest,
  encodeReadResponse,
  encodeWriteRequest,
  LentReadResponse,
  type WriteChunk,
} from '../../../src/bazel/envelope.ts';
import {
  BatchReadBlobsResponseSchema,
  BatchUpdateBlobsRequestSchema,
  type Compressor_Value,
  type DigestFunction_Value,
  FindMissingBlobsRequestSchema,
} from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import {
  ReadResponseSchema,
  WriteRequestSchema,
} from '../../../src/bazel/generated/google/bytestream/bytestream_pb.ts';
import { MalformedMessage } from '../../../src/bazel/wire-reader.ts';

const data = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const text = fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }), fc.constant('\ufeffa name with a byte order mark'));
const int32 = fc.oneof(fc.integer(), fc.constant(0), fc.constant(1));
const int64 = fc.oneof(fc.maxSafeInteger(), fc.nat(), fc.constant(-1));
const digest = fc.record({ hash: text, sizeBytes: int64 });

const chunk: fc.Arbitrary<WriteChunk> = fc.record({
  resourceName: text,
  writeOffset: int64,
  finishWrite: fc.boolean(),
  data,
});
const update: fc.Arbitrary<BatchUpdate> = fc.record({
  instanceName: text,
  digestFunction: int32,
  requests: fc.array(fc.record({ digest, data, compressor: int32 }), { maxLength: 5 }),
});
const find: fc.Arbitrary<FindMissing> = fc.record({
  instanceName: text,
  blobDigests: fc.array(digest, { maxLength: 5 }),
  digestFunction: int32,
});
const read: fc.Arbitrary<BatchRead> = fc.record({
  responses: fc.array(
    fc.record({
      digest,
      data,
      compressor: int32,
      status: fc.option(fc.record({ code: int32, message: text }), { nil: null }),
    }),
    { maxLength: 5 },
  ),
});

/** Enums are open: on the wire each is an int32, and protobuf-es keeps those that it has no name for. */
const compressorOf = (value: number) => value as Compressor_Value;
const functionOf = (value: number) => value as DigestFunction_Value;

const wide = ({ hash, sizeBytes }: { hash: string; sizeBytes: number }) => ({ hash, sizeBytes: BigInt(sizeBytes) });

/** The same message as protobuf-es takes it. */
const chunkInit = (one: WriteChunk): MessageInitShape<typeof WriteRequestSchema> => ({
  ...one,
  writeOffset: BigInt(one.writeOffset),
});
const updateInit = (batch: BatchUpdate): MessageInitShape<typeof BatchUpdateBlobsRequestSchema> => ({
  ...batch,
  digestFunction: functionOf(batch.digestFunction),
  requests: batch.requests.map(({ digest, data, compressor }) => ({
    digest: wide(digest),
    data,
    compressor: compressorOf(compressor),
  })),
});
const findInit = (request: FindMissing): MessageInitShape<typeof FindMissingBlobsRequestSchema> => ({
  ...request,
  digestFunction: functionOf(request.digestFunction),
  blobDigests: request.blobDigests.map(wide),
});
const readInit = (batch: BatchRead): MessageInitShape<typeof BatchReadBlobsResponseSchema> => ({
  responses: batch.responses.map(({ digest, data, compressor, status }) => ({
    digest: wide(digest),
    data,
    compressor: compressorOf(compressor),
    ...(status && { status }),
  })),
});

/** Each message: our bytes, theirs, and what each makes of the other's. */
const kinds = [
  {
    name: 'ReadResponse',
    any: data.map((bytes) => {
      const init = { data: bytes };
      return {
        ours: encodeReadResponse(bytes),
        theirs: toBinary(ReadResponseSchema, create(ReadResponseSchema, init)),
      };
    }),
    decode: (bytes: Buffer): unknown => ({ data: decodeReadResponse(bytes) }),
    decodeTheirs: (bytes: Buffer): unknown => ({ data: Buffer.from(fromBinary(ReadResponseSchema, bytes).data) }),
  },
  {
    name: 'WriteRequest',
    any: chunk.map((one) => ({
      ours: encodeWriteRequest(one),
      theirs: toBinary(WriteRequestSchema, create(WriteRequestSchema, chunkInit(one))),
    })),
    decode: decodeWriteRequest,
    decodeTheirs: (bytes: Buffer): WriteChunk => {
      const { resourceName, writeOffset, finishWrite, data } = fromBinary(WriteRequestSchema, bytes);
      return { resourceName, writeOffset: Number(writeOffset), finishWrite, data: Buffer.from(data) };
    },
  },
  {
    name: 'BatchUpdateBlobsRequest',
    any: update.map((batch) => ({
      ours: encodeBatchUpdate(batch),
      theirs: toBinary(BatchUpdateBlobsRequestSchema, create(BatchUpdateBlobsRequestSchema, updateInit(batch))),
    })),
    decode: decodeBatchUpdate,
    decodeTheirs: (bytes: Buffer): BatchUpdate => {
      const { instanceName, digestFunction, requests } = fromBinary(BatchUpdateBlobsRequestSchema, bytes);
      return {
        instanceName,
        digestFunction,
        requests: requests.map(({ digest, data, compressor }) => ({
          digest: { hash: digest?.hash ?? '', sizeBytes: Number(digest?.sizeBytes ?? 0) },
          data: Buffer.from(data),
          compressor,
        })),
      };
    },
  },
  {
    name: 'FindMissingBlobsRequest',
    any: find.map((request) => ({
      ours: encodeFindMissing(request),
      theirs: toBinary(FindMissingBlobsRequestSchema, create(FindMissingBlobsRequestSchema, findInit(request))),
    })),
    decode: decodeFindMissing,
    decodeTheirs: (bytes: Buffer): FindMissing => {
      const { instanceName, blobDigests, digestFunction } = fromBinary(FindMissingBlobsRequestSchema, bytes);
      const narrow = blobDigests.map(({ hash, sizeBytes }) => ({ hash, sizeBytes: Number(sizeBytes) }));
      return { instanceName, blobDigests: narrow, digestFunction };
    },
  },
  {
    name: 'BatchReadBlobsResponse',
    any: read.map((batch) => ({
      ours: encodeBatchRead(batch),
      theirs: toBinary(BatchReadBlobsResponseSchema, create(BatchReadBlobsResponseSchema, readInit(batch))),
    })),
    decode: decodeBatchRead,
    decodeTheirs: (bytes: Buffer): BatchRead => ({
      responses: fromBinary(BatchReadBlobsResponseSchema, bytes).responses.map(
        ({ digest, data, compressor, status }) => ({
          digest: { hash: digest?.hash ?? '', sizeBytes: Number(digest?.sizeBytes ?? 0) },
          data: Buffer.from(data),
          compressor,
          status: status ? { code: status.code, message: status.message } : null,
        }),
      ),
    }),
  },
] as const;

/** What it decodes to, or null where it throws the documented error. Any other error is the test's. */
const decoded = (decode: (bytes: Buffer) => unknown, bytes: Buffer): unknown => {
  try {
    return decode(bytes);
  } catch (error) {
    if (error instanceof MalformedMessage) return null;
    throw error;
  }
};

for (const { name, any, decode, decodeTheirs } of kinds) {
  t.test(`${name}: the bytes are protobuf-es's, and so is what they mean`, async () => {
    fc.assert(
      fc.property(any, ({ ours, theirs }) => {
        deepEqual(ours, Buffer.from(theirs));
        deepEqual(decode(ours), decodeTheirs(ours));
      }),
      { numRuns: 300 },
    );
  });

  t.test(`${name}: cut anywhere it is an error, or a shorter message that protobuf-es reads alike`, async () => {
    fc.assert(
      fc.property(any, ({ ours }) => {
        for (let end = 0; end < ours.length; end += 1) {
          const cut = ours.subarray(0, end);
          const here = decoded(decode, cut);
          if (here !== null) deepEqual(here, decodeTheirs(cut));
        }
      }),
      { numRuns: 40 },
    );
  });

  t.test(`${name}: noise brings nothing but the documented error`, async () => {
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      // A right message with a few bytes changed gets further in.
      fc.tuple(any, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 })).map(([{ ours }, changes]) => {
        const bytes = Buffer.from(ours);
        for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
        return bytes;
      }),
    );
    fc.assert(
      fc.property(noise, (bytes) => void decoded(decode, Buffer.from(bytes))),
      { numRuns: 2_000 },
    );
  });

  t.test(`${name}: unknown fields of every wire type are passed over, wherever they stand`, async () => {
    const unknown = fc.record({
      field: fc.integer({ min: 16, max: 2 ** 29 - 1 }),
      kind: fc.integer({ min: 0, max: 4 }),
    });
    fc.assert(
      fc.property(any, unknown, unknown, ({ ours }, before, after) => {
        const message = Buffer.concat([fieldOf(before), ours, fieldOf(after)]);
        deepEqual(decode(message), decode(ours));
      }),
      { numRuns: 100 },
    );
  });
}

const fieldOf = ({ field, kind }: { field: number; kind: number }): Buffer => {
  const writer = new BinaryWriter();
  switch (kind) {
    case 0:
      writer.tag(field, WireType.Varint).uint64(2n ** 64n - 1n);
      break;
    case 1:
      writer.tag(field, WireType.Bit64).fixed64(7n);
      break;
    case 2:
      writer.tag(field, WireType.LengthDelimited).bytes(Buffer.from('unknown'));
      break;
    case 3:
      writer.tag(field, WireType.Bit32).fixed32(7);
      break;
    default:
      writer.tag(field, WireType.StartGroup).tag(1, WireType.StartGroup).tag(3, WireType.Varint).int32(-1);
      writer.tag(1, WireType.EndGroup).tag(2, WireType.LengthDelimited).string('x').tag(field, WireType.EndGroup);
  }
  return Buffer.from(writer.finish());
};

const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(' ', ''), 'hex');

t.test('a WriteRequest', async (t) => {
  const rows: { reason: string; bytes: string; is: Partial<WriteChunk> | RegExp }[] = [
    {
      reason: 'nothing is a message of defaults',
      bytes: '',
      is: { resourceName: '', writeOffset: 0, finishWrite: false },
    },
    {
      reason: 'fields in any order',
      bytes: '52 01 41 18 01 10 05 0a 01 62',
      is: { resourceName: 'b', writeOffset: 5, finishWrite: true },
    },
    {
      reason: 'the last of a repeated scalar wins',
      bytes: '10 05 10 07 18 01 18 00',
      is: { writeOffset: 7, finishWrite: false },
    },
    { reason: 'the last data wins', bytes: '52 01 41 52 01 42', is: { data: Buffer.from('B') } },
    { reason: 'an empty last data wins', bytes: '52 01 41 52 00', is: { data: Buffer.alloc(0) } },
    { reason: 'zero in ten bytes', bytes: '10 80 80 80 80 80 80 80 80 80 00', is: { writeOffset: 0 } },
    { reason: 'any varint but zero is true', bytes: '18 80 80 80 80 80 80 80 80 80 01', is: { finishWrite: true } },
    { reason: '-1 takes ten bytes', bytes: '10 ff ff ff ff ff ff ff ff ff 01', is: { writeOffset: -1 } },
    { reason: '2^53 - 1', bytes: '10 ff ff ff ff ff ff ff 0f', is: { writeOffset: 2 ** 53 - 1 } },
    {
      reason: 'a known field of another wire type is unknown',
      bytes: '0d 01 02 03 04 12 01 00 52 01 41',
      is: { resourceName: '', writeOffset: 0, data: Buffer.from('A') },
    },
    { reason: 'data of another wire type is unknown', bytes: '50 05', is: { data: Buffer.alloc(0) } },
    { reason: '2^53', bytes: '10 80 80 80 80 80 80 80 10', is: /past 2\^53/ },
    { reason: 'eleven bytes', bytes: '10 80 80 80 80 80 80 80 80 80 80 00', is: /more than 10 bytes/ },
    { reason: 'eleven bytes, skipped', bytes: '78 80 80 80 80 80 80 80 80 80 80 00', is: /more than 10 bytes/ },
    { reason: 'a length past the end', bytes: '52 02 41', is: /past the end/ },
    { reason: 'a length of 2^64 - 1', bytes: '52 ff ff ff ff ff ff ff ff ff 01', is: /past the end/ },
    { reason: 'a length of 2^63 - 1', bytes: '52 ff ff ff ff ff ff ff ff 7f', is: /past the end/ },
    { reason: 'a skipped length past the end', bytes: '7a 7f 41', is: /past the end/ },
    { reason: 'a fixed32 past the end', bytes: '7d 00 00 00', is: /the end/ },
    { reason: 'a fixed64 past the end', bytes: '79 00 00 00 00 00 00 00', is: /the end/ },
    { reason: 'field 0', bytes: '00 00', is: /tag 0/ },
    { reason: 'field 0 as bytes', bytes: '02 00', is: /tag 2/ },
    { reason: 'a tag past 32 bits', bytes: '80 80 80 80 80 01 00', is: /tag/ },
    { reason: 'wire type 6', bytes: '7e', is: /wire type 6/ },
    { reason: 'wire type 7 of a known field', bytes: '17', is: /wire type 7/ },
    { reason: 'the end of a group that never began', bytes: '7c', is: /wire type 4/ },
    { reason: 'a group without end', bytes: '7b 08 00', is: /without end/ },
    { reason: 'groups that overlap', bytes: '7b 73 7c 74', is: /overlap/ },
    { reason: 'groups without bottom', bytes: '7b'.repeat(40), is: /groups 33 deep/ },
    { reason: 'text that is not UTF-8', bytes: '0a 01 ff', is: /UTF-8/ },
    { reason: 'half a varint', bytes: '10 80', is: /the end/ },
  ];
  for (const { reason, bytes, is } of rows) {
    if (is instanceof RegExp) {
      const expected = { code: 'MALFORMED_MESSAGE', blame: 'client', message: is };
      t.throws(() => decodeWriteRequest(hex(bytes)), expected, reason);
    } else t.match(decodeWriteRequest(hex(bytes)), is, reason);
  }
});

t.test('a digest or status that comes twice is merged', async (t) => {
  const batch = decodeBatchUpdate(hex('12 0a  0a 03 0a 01 61  0a 03 10 88 01'));
  t.strictSame(batch.requests, [{ digest: { hash: 'a', sizeBytes: 136 }, data: Buffer.alloc(0), compressor: 0 }]);
  const { responses } = decodeBatchRead(hex('0a 09  1a 02 08 05  1a 03 12 01 78'));
  t.match(responses, [{ status: { code: 5, message: 'x' } }]);
});

t.test('an enum is the lower 32 bits of whatever was written', async (t) => {
  const rows: { reason: string; item: string; is: number }[] = [
    { reason: 'a negative number', item: '18 ff ff ff ff ff ff ff ff ff 01', is: -1 },
    { reason: '2^31', item: '18 80 80 80 80 08', is: -(2 ** 31) },
    { reason: '2^32 + 1', item: '18 81 80 80 80 10', is: 1 },
    { reason: '2^62 + 1', item: '18 81 80 80 80 80 80 80 80 40', is: 1 },
  ];
  for (const { reason, item, is } of rows) {
    const bytes = hex(item);
    const message = Buffer.concat([Buffer.from([0x12, bytes.length]), bytes]);
    t.equal(decodeBatchUpdate(message).requests[0]?.compressor, is, reason);
    t.equal(
      fromBinary(BatchUpdateBlobsRequestSchema, message).requests[0]?.compressor,
      is,
      `${reason}, to protobuf-es`,
    );
  }
});

t.test('an item ends where it says, whatever the message holds after it', async (t) => {
  t.throws(() => decodeBatchUpdate(hex('12 02  12 03  61 62 63')), { blame: 'client', message: /past the end/ });
  t.throws(() => decodeBatchRead(hex('0a 02  0a 03  61 62 63')), { blame: 'upstream', message: /past the end/ });
});

t.test('an unset status is no status, and an empty one is', async (t) => {
  t.match(decodeBatchRead(hex('0a 00')).responses, [{ status: null }]);
  t.match(decodeBatchRead(hex('0a 02 1a 00')).responses, [{ status: { code: 0, message: '' } }]);
});

t.test('more items than digests would fit are refused before they take memory', async (t) => {
  const items = (tag: number, count: number) => Buffer.alloc(count * 2, Buffer.from([tag, 0]));
  t.equal(decodeBatchUpdate(items(0x12, 1_000)).requests.length, 1_000);
  t.throws(() => decodeBatchUpdate(items(0x12, 10_000)), { message: /more items/ });
  t.throws(() => decodeBatchRead(items(0x0a, 10_000)), { message: /more items/ });
  const real = { digest: { hash: 'f'.repeat(64), sizeBytes: 0 }, data: Buffer.alloc(0), compressor: 0 };
  const batch = { instanceName: '', digestFunction: 0, requests: Array(50_000).fill(real) };
  t.equal(decodeBatchUpdate(encodeBatchUpdate(batch)).requests.length, 50_000);
});

t.test('data is a view of the message', async (t) => {
  const bytes = Buffer.from('data');
  const message = encodeWriteRequest({ resourceName: 'n', writeOffset: 0, finishWrite: true, data: bytes });
  t.equal(decodeWriteRequest(message).data.buffer, message.buffer);
  const sent = encodeReadResponse(bytes);
  t.equal(decodeReadResponse(sent).buffer, sent.buffer);
});

t.test('a lent ReadResponse is the encoded one, where it is copied to', async (t) => {
  for (const size of [0, 1, 127, 128, 16_383, 16_384, 65_536, 2 ** 21 - 1, 2 ** 21]) {
    const bytes = Buffer.alloc(size, 'cleanmiss');
    const lent = new LentReadResponse(bytes);
    const message = encodeReadResponse(bytes);
    t.equal(lent.byteLength, message.length);
    const frame = Buffer.alloc(5 + lent.byteLength);
    encodeReadResponse(lent).copy(frame, 5);
    t.ok(frame.subarray(5).equals(message), `${size} bytes`);
    t.equal(lent.frame, frame);
  }
});
