// ByteStream.Read: offsets, limits, empty blobs, and names of every kind.

import { type Blob, codeOf, newBlob, type Row, readAll, toldOfRead } from './wire.ts';

const MIB = 1024 * 1024;
const SIZE = 3 * MIB + 4321;
const EMPTY = { hash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', sizeBytes: 0 };
const encodings = ['identity', 'zstd'] as const;

const twice = async (ask: () => Promise<string>): Promise<readonly string[]> => [await ask(), await ask()];

const offsets: Row[] = encodings.flatMap((encoding) =>
  [0, 1, MIB, MIB + 1, 1_500_001, SIZE - 1].map((offset) => ({
    reason: `read_offset ${offset} of ${SIZE}, ${encoding}, as it comes and once it is known`,
    ask: async (wire) => {
      const blob = await wire.lying(SIZE);
      return twice(() => readAll(wire, blob, { offset, encoding }));
    },
    sees: ['OK', 'OK'],
  })),
);

const beyond: Row[] = encodings.flatMap((encoding) => [
  {
    reason: `read_offset at the very end, ${encoding}`,
    ask: async (wire) => readAll(wire, await wire.lying(5000), { offset: 5000, encoding }),
    sees: 'OK',
    differs: { remote: { sees: 'INVALID_ARGUMENT', why: 'ByteStream refuses only what is greater than the size' } },
  },
  {
    reason: `read_offset beyond the end, ${encoding}`,
    ask: async (wire) => readAll(wire, await wire.lying(5000), { offset: 5001, encoding }),
    sees: 'OUT_OF_RANGE',
  },
  {
    reason: `read_offset below 0, ${encoding}`,
    ask: async (wire) => readAll(wire, await wire.lying(5000), { offset: -1, encoding }),
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: `a read_limit below 0, ${encoding}`,
    ask: async (wire) => readAll(wire, await wire.lying(5000), { limit: -1, encoding }),
    sees: 'INVALID_ARGUMENT',
    ...(encoding === 'identity' && {
      differs: { remote: { sees: 'OUT_OF_RANGE', why: 'ByteStream names no code for it' } },
    }),
  },
]);

const limited =
  (sizeBytes: number, limit: number, offset = 0): Row['ask'] =>
  async (wire) => {
    const { bytes, digest } = await wire.lying(sizeBytes);
    const expected = bytes.subarray(offset, offset + limit);
    return twice(async () => toldOfRead(await wire.client.read(digest, { limit, offset }), expected));
  };

const truncates = { remote: { sees: ['OUT_OF_RANGE', 'OUT_OF_RANGE'], why: 'a limit truncates, as ByteStream says' } };

const limits: Row[] = [
  { reason: 'read_limit within a blob', ask: limited(SIZE, 1000), sees: ['OK', 'OK'], differs: truncates },
  { reason: 'read_limit behind an offset', ask: limited(5000, 7, 1234), sees: ['OK', 'OK'], differs: truncates },
  { reason: 'read_limit of just the size', ask: limited(SIZE, SIZE), sees: ['OK', 'OK'] },
  { reason: 'read_limit beyond the size', ask: limited(5000, 2 ** 52), sees: ['OK', 'OK'] },
  { reason: 'read_limit of just the rest', ask: limited(5000, 3766, 1234), sees: ['OK', 'OK'] },
  {
    reason: 'read_limit with zstd',
    ask: async (wire) => readAll(wire, await wire.lying(5000), { limit: 5000, encoding: 'zstd' }),
    sees: 'INVALID_ARGUMENT',
  },
];

const empties: Row[] = [
  {
    reason: 'the empty blob has no message',
    ask: async (wire) => {
      const answer = await wire.client.read(EMPTY);
      return [codeOf(answer), answer.messages];
    },
    sees: ['OK', []],
  },
  {
    reason: 'the empty blob as zstd is one frame of 9 bytes',
    ask: async (wire) => {
      const answer = await wire.client.read(EMPTY, { encoding: 'zstd' });
      return [codeOf(answer), answer.bytes.toString('hex')];
    },
    sees: ['OK', '28b52ffd2000010000'],
  },
  {
    reason: 'an offset into the empty blob',
    ask: async (wire) => codeOf(await wire.client.read(EMPTY, { offset: 1 })),
    sees: 'OUT_OF_RANGE',
    differs: { remote: { sees: 'OK', why: 'ByteStream: greater than the size' } },
  },
  {
    reason: 'size 0 with another hash',
    ask: async (wire) => codeOf(await wire.client.read({ ...newBlob(5).digest, sizeBytes: 0 })),
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: 'the hash of no bytes with another size',
    ask: async (wire) => codeOf(await wire.client.read({ ...EMPTY, sizeBytes: 5 })),
    sees: 'NOT_FOUND',
  },
];

const misses: Row[] = encodings.flatMap((encoding) => [
  {
    reason: `a blob that is nowhere, ${encoding}`,
    ask: async (wire) => codeOf(await wire.client.read(newBlob(5000).digest, { encoding })),
    sees: 'NOT_FOUND',
  },
  ...[4999, 5001, 2 ** 53 - 1].map(
    (sizeBytes) =>
      ({
        reason: `size ${sizeBytes} with the hash of 5000 bytes, ${encoding}; the right one after it`,
        ask: async (wire) => {
          const blob = await wire.lying(5000);
          const wrong = codeOf(await wire.client.read({ ...blob.digest, sizeBytes }, { encoding }));
          return [wrong, await readAll(wire, blob, { encoding })];
        },
        sees: ['NOT_FOUND', 'OK'],
      }) satisfies Row,
  ),
]);

interface NameRow {
  readonly reason: string;
  name(blob: Blob['digest']): string;
  readonly sees: string;
  readonly encoding?: 'zstd';
  readonly differs?: Row['differs'];
}

const nested = { alone: { sees: 'NOT_FOUND', why: 'without an upstream each instance has blobs of its own' } };

const nameRows: readonly NameRow[] = [
  { reason: 'without an instance', name: ({ hash, sizeBytes }) => `blobs/${hash}/${sizeBytes}`, sees: 'OK' },
  {
    reason: 'an instance of several segments',
    name: ({ hash, sizeBytes }) => `main/of/us/blobs/${hash}/${sizeBytes}`,
    sees: 'OK',
    differs: nested,
  },
  {
    reason: 'an instance, zstd',
    name: ({ hash, sizeBytes }) => `main/compressed-blobs/zstd/${hash}/${sizeBytes}`,
    sees: 'OK',
    encoding: 'zstd',
    differs: nested,
  },
  {
    reason: 'an instance of other letters',
    name: ({ hash, sizeBytes }) => `größe 1/blobs/${hash}/${sizeBytes}`,
    sees: 'OK',
    differs: nested,
  },
  {
    reason: 'metadata behind the size',
    name: ({ hash, sizeBytes }) => `blobs/${hash}/${sizeBytes}/foo.o`,
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: 'a slash behind the size',
    name: ({ hash, sizeBytes }) => `blobs/${hash}/${sizeBytes}/`,
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: 'a digest function',
    name: ({ hash, sizeBytes }) => `blobs/blake3/${hash}/${sizeBytes}`,
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: 'deflate',
    name: ({ hash, sizeBytes }) => `compressed-blobs/deflate/${hash}/${sizeBytes}`,
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: 'no compressor',
    name: ({ hash, sizeBytes }) => `compressed-blobs/${hash}/${sizeBytes}`,
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: 'an upload that is no read',
    name: ({ hash, sizeBytes }) => `uploads/a-uuid/blobs/${hash}/${sizeBytes}/foo`,
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: 'upper case',
    name: ({ hash, sizeBytes }) => `blobs/${hash.toUpperCase()}/${sizeBytes}`,
    sees: 'INVALID_ARGUMENT',
  },
  {
    reason: 'a hash of 63 digits',
    name: ({ hash, sizeBytes }) => `blobs/${hash.slice(1)}/${sizeBytes}`,
    sees: 'INVALID_ARGUMENT',
  },
  { reason: 'the length of SHA-1', name: ({ hash }) => `blobs/${hash.slice(0, 40)}/5`, sees: 'INVALID_ARGUMENT' },
  { reason: 'no hex', name: ({ hash }) => `blobs/${hash.slice(1)}g/5`, sees: 'INVALID_ARGUMENT' },
  { reason: 'no size', name: ({ hash }) => `blobs/${hash}`, sees: 'INVALID_ARGUMENT' },
  { reason: 'an empty size', name: ({ hash }) => `blobs/${hash}/`, sees: 'INVALID_ARGUMENT' },
  { reason: 'a size that is no number', name: ({ hash }) => `blobs/${hash}/5k`, sees: 'INVALID_ARGUMENT' },
  { reason: 'a size below 0', name: ({ hash }) => `blobs/${hash}/-5`, sees: 'INVALID_ARGUMENT' },
  { reason: 'a size past 2^63', name: ({ hash }) => `blobs/${hash}/9223372036854775808`, sees: 'INVALID_ARGUMENT' },
  { reason: 'no name', name: () => '', sees: 'INVALID_ARGUMENT' },
  { reason: 'any other name', name: () => 'a blob, please', sees: 'INVALID_ARGUMENT' },
];

const names: Row[] = nameRows.map(({ reason, name, sees, encoding, differs }) => ({
  reason: `a name with ${reason}`,
  ask: async (wire) => {
    const blob = await wire.lying(5000);
    return readAll(wire, blob, { resourceName: name(blob.digest), ...(encoding && { encoding }) });
  },
  sees,
  differs,
}));

export const reads: readonly Row[] = [...offsets, ...beyond, ...limits, ...empties, ...misses, ...names];
