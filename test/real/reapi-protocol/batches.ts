// The unary calls of the CAS: FindMissingBlobs, BatchUpdateBlobs, BatchReadBlobs, Split and Splice; and GetTree.

import { zstdDecompressSync } from 'node:zlib';
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { type BlobDigest, decodeBatchRead } from '../../../src/bazel/batch-envelope.ts';
import {
  BatchReadBlobsRequestSchema,
  Compressor_Value,
  DigestFunction_Value,
  DigestSchema,
  DirectorySchema,
  FindMissingBlobsRequestSchema,
  GetTreeRequestSchema,
} from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { damaged, encodeLikeBazelRemote } from '../../support/reapi/zstd.ts';
import { type Blob, codeOf, digestOf, newBlob, type Row, readAll, type Wire } from './wire.ts';

const CAS = '/build.bazel.remote.execution.v2.ContentAddressableStorage';
const EMPTY = { hash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', sizeBytes: 0 };
const { IDENTITY, ZSTD, DEFLATE, BROTLI } = Compressor_Value;

const wireDigest = ({ hash, sizeBytes }: BlobDigest) => create(DigestSchema, { hash, sizeBytes: BigInt(sizeBytes) });
const CODE = 'REAPI: INVALID_ARGUMENT';
const remote = (sees: unknown, why = CODE): Row['differs'] => ({ remote: { sees, why } });

/** As many as it takes; that nobody has. */
const absent = (count: number): BlobDigest[] =>
  Array.from({ length: count }, (_, index) => digestOf(Buffer.from(`nowhere ${index}`)));

const missing = async (wire: Wire, digests: readonly BlobDigest[], instance = ''): Promise<unknown> => {
  const { response, ...end } = await wire.client.findMissing(digests, { instance });
  return response === null ? codeOf(end) : [...new Set(response)].length;
};

const findMissing: Row[] = [
  { reason: 'FindMissingBlobs of nothing', ask: (wire) => missing(wire, []), sees: 0 },
  { reason: 'the empty blob is everywhere', ask: (wire) => missing(wire, [EMPTY], 'any/instance'), sees: 0 },
  {
    reason: 'one present, one absent, each twice',
    ask: async (wire) => {
      const { digest } = await wire.lying(5000);
      const [other = EMPTY] = absent(1);
      return missing(wire, [digest, other, digest, other]);
    },
    sees: 1,
  },
  {
    reason: 'the right hash with another size',
    ask: async (wire) => {
      const { digest } = await wire.lying(5000);
      return missing(wire, [{ ...digest, sizeBytes: 4999 }, digest]);
    },
    sees: 1,
  },
  { reason: '20,000 absent digests', ask: (wire) => missing(wire, absent(20_000)), sees: 20_000 },
  {
    reason: '60,000 absent digests, 4.2 MB',
    ask: (wire) => missing(wire, absent(60_000)),
    sees: 60_000,
    differs: { remote: { sees: 'RESOURCE_EXHAUSTED', why: 'gRPC takes 4 MiB there; ours go on in calls of 20,000' } },
  },
  {
    reason: '120,000 absent digests, 8.4 MB',
    ask: (wire) => missing(wire, absent(120_000)),
    sees: 'RESOURCE_EXHAUSTED',
  },
  ...(
    [
      ['upper case', { hash: digestOf(Buffer.from('a')).hash.toUpperCase(), sizeBytes: 1 }],
      ['a short hash', { hash: 'abc', sizeBytes: 1 }],
      ['no hash', { hash: '', sizeBytes: 1 }],
      ['size 0 with another hash', { hash: digestOf(Buffer.from('a')).hash, sizeBytes: 0 }],
      ['a size below 0', { hash: digestOf(Buffer.from('a')).hash, sizeBytes: -1 }],
    ] as const
  ).map(
    ([reason, digest]): Row => ({
      reason: `one bad digest among good ones: ${reason}`,
      ask: (wire) => missing(wire, [...absent(2), digest]),
      sees: 'INVALID_ARGUMENT',
      differs: digest.sizeBytes < 0 ? remote(3, 'it takes any size for one that it lacks') : undefined,
    }),
  ),
  ...[DigestFunction_Value.SHA256, DigestFunction_Value.BLAKE3].map(
    (digestFunction): Row => ({
      reason: `digest function ${digestFunction}`,
      ask: async (wire) => {
        const blobDigests = absent(1).map(wireDigest);
        const request = create(FindMissingBlobsRequestSchema, { blobDigests, digestFunction });
        const message = toBinary(FindMissingBlobsRequestSchema, request);
        const { code, details } = await wire.raw(`${CAS}/FindMissingBlobs`, Buffer.from(message));
        return code === 'OK' ? code : `${code} ${details.includes('BLAKE3')}`;
      },
      sees: digestFunction === DigestFunction_Value.SHA256 ? 'OK' : 'INVALID_ARGUMENT true',
      ...(digestFunction === DigestFunction_Value.BLAKE3 && {
        differs: { remote: { sees: 'OK', why: 'it does not look' } },
      }),
    }),
  ),
];

type Item = Parameters<Wire['client']['batchUpdate']>[0][number];

const update = async (wire: Wire, items: readonly Item[], digestFunction = 0): Promise<unknown> => {
  const { response, ...end } = await wire.client.batchUpdate(items, { digestFunction });
  return response === null ? codeOf(end) : response.responses.map((item) => status[item.status?.code ?? 0]);
};

const updateItem = (
  make: (blob: Blob) => Partial<Item>,
  sees: string,
  differs: Row['differs'],
  reason: string,
): Row => ({
  reason: `BatchUpdateBlobs, ${reason}`,
  ask: async (wire) => {
    const blob = newBlob(5000);
    const neighbour = newBlob(5000);
    const items = [
      { digest: neighbour.digest, data: neighbour.bytes },
      { digest: blob.digest, data: blob.bytes, ...make(blob) },
    ];
    const told = await update(wire, items);
    return [told, await wire.has(blob.digest), await readAll(wire, neighbour)].flat().join(' ');
  },
  sees,
  differs,
});

const refused = 'OK INVALID_ARGUMENT missing OK';
const stored = 'OK OK present OK';

const batchUpdate: Row[] = [
  { reason: 'BatchUpdateBlobs of nothing', ask: (wire) => update(wire, []), sees: [] },
  updateItem(() => ({}), stored, undefined, 'identity'),
  updateItem(({ bytes }) => ({ data: encodeLikeBazelRemote(bytes), compressor: ZSTD }), stored, undefined, 'zstd'),
  updateItem(
    () => ({ data: newBlob(5000).bytes }),
    refused,
    remote('OK INTERNAL missing OK'),
    'other bytes, beside a good item',
  ),
  updateItem(({ bytes }) => ({ data: bytes.subarray(1) }), refused, remote('OK INTERNAL missing OK'), 'too few bytes'),
  updateItem(
    ({ digest }) => ({ digest: { ...digest, sizeBytes: 4999 } }),
    refused,
    remote(stored, 'it looks at the hash alone, and stores it under the true size'),
    'another size with the right bytes',
  ),
  updateItem(
    ({ bytes }) => ({ data: damaged(encodeLikeBazelRemote(bytes)), compressor: ZSTD }),
    refused,
    remote('OK INTERNAL missing OK'),
    'damaged zstd',
  ),
  updateItem(
    ({ bytes }) => ({ data: bytes, compressor: ZSTD }),
    refused,
    remote('OK INTERNAL missing OK'),
    'zstd that is none',
  ),
  ...[DEFLATE, BROTLI, 77].map((compressor) =>
    updateItem(
      () => ({ compressor }),
      refused,
      remote('OK OK missing OK', 'it says OK, and stores nothing'),
      `compressor ${compressor}`,
    ),
  ),
  updateItem(
    ({ digest: { hash } }) => ({ digest: { hash: hash.toUpperCase(), sizeBytes: 5000 } }),
    refused,
    remote('INVALID_ARGUMENT missing OK', 'a bad item is refused by itself'),
    'upper case',
  ),
  updateItem(
    ({ digest: { hash } }) => ({ digest: { hash, sizeBytes: -1 } }),
    refused,
    remote(stored, 'it looks at the hash alone'),
    'a size below 0',
  ),
  {
    reason: 'BatchUpdateBlobs of the empty blob',
    ask: (wire) => update(wire, [{ digest: EMPTY, data: Buffer.alloc(0) }]),
    sees: ['OK'],
  },
  {
    reason: 'BatchUpdateBlobs, the same item twice',
    ask: (wire) => {
      const { digest, bytes } = newBlob(5000);
      return update(wire, [
        { digest, data: bytes },
        { digest, data: bytes },
      ]);
    },
    sees: ['OK', 'OK'],
  },
  {
    reason: 'BatchUpdateBlobs of 4 MiB less 300 bytes',
    ask: (wire) => {
      const { digest, bytes } = newBlob(4 * 1024 * 1024 - 300);
      return update(wire, [{ digest, data: bytes }]);
    },
    sees: ['OK'],
  },
  {
    reason: 'BatchUpdateBlobs of 5 MiB',
    ask: (wire) => {
      const { digest, bytes } = newBlob(5 * 1024 * 1024);
      return update(wire, [{ digest, data: bytes }]);
    },
    sees: 'INVALID_ARGUMENT',
    differs: remote('RESOURCE_EXHAUSTED', 'Bazel tries that code again'),
  },
  {
    reason: 'BatchUpdateBlobs of 9 MiB',
    ask: (wire) => {
      const { digest, bytes } = newBlob(9 * 1024 * 1024);
      return update(wire, [{ digest, data: bytes }]);
    },
    sees: 'RESOURCE_EXHAUSTED',
  },
  {
    reason: 'BatchUpdateBlobs of 300 small blobs',
    ask: async (wire) => {
      const items = Array.from({ length: 300 }, () => newBlob(100));
      const told = await update(
        wire,
        items.map(({ digest, bytes }) => ({ digest, data: bytes })),
      );
      return [
        ...new Set([told].flat()),
        await missing(
          wire,
          items.map(({ digest }) => digest),
        ),
      ];
    },
    sees: ['OK', 0],
  },
  {
    reason: 'BatchUpdateBlobs with another digest function',
    ask: (wire) => {
      const { digest, bytes } = newBlob(50);
      return update(wire, [{ digest, data: bytes }], 9);
    },
    sees: 'INVALID_ARGUMENT',
    differs: remote(['OK'], 'it does not look'),
  },
];

/** Of each item: its code, and whether its bytes are right. */
const readBatch = async (
  wire: Wire,
  blobs: readonly { readonly digest: BlobDigest; readonly bytes?: Buffer }[],
  acceptableCompressors: readonly Compressor_Value[] = [],
): Promise<unknown> => {
  const request = create(BatchReadBlobsRequestSchema, {
    digests: blobs.map(({ digest }) => wireDigest(digest)),
    acceptableCompressors: [...acceptableCompressors],
  });
  const bytes = Buffer.from(toBinary(BatchReadBlobsRequestSchema, request));
  const { code, messages } = await wire.raw(`${CAS}/BatchReadBlobs`, bytes);
  const [message] = messages;
  if (message === undefined) return code;
  return decodeBatchRead(message).responses.map(({ digest, data, compressor, status: ended }) => {
    const asked = blobs.find((one) => one.digest.hash === digest.hash && one.digest.sizeBytes === digest.sizeBytes);
    if (asked === undefined) return `never asked: ${digest.hash}/${digest.sizeBytes}`;
    if (ended !== null && ended.code !== status.OK)
      return `${status[ended.code]}${data.length > 0 ? ' with bytes' : ''}`;
    if (compressor === ZSTD && !acceptableCompressors.includes(ZSTD)) return 'zstd, which nobody asked for';
    const decoded = compressor === ZSTD ? zstdDecompressSync(data) : data;
    return decoded.equals(asked.bytes ?? Buffer.alloc(0)) ? 'OK' : 'OK with wrong bytes';
  });
};

const compressors = [
  { name: 'identity', accepted: [] },
  { name: 'zstd', accepted: [ZSTD] },
  { name: 'identity or zstd', accepted: [IDENTITY, ZSTD] },
  { name: 'deflate', accepted: [DEFLATE] },
];

const batchRead: Row[] = [
  { reason: 'BatchReadBlobs of nothing', ask: async (wire) => readBatch(wire, []), sees: [] },
  ...compressors.map(
    ({ name, accepted }): Row => ({
      reason: `BatchReadBlobs, ${name}: small, large, absent, empty, another size`,
      ask: async (wire) => {
        const [small, large, other] = [await wire.lying(100), await wire.lying(1_500_000), await wire.lying(5000)];
        const blobs = [
          small,
          large,
          newBlob(5000),
          { digest: EMPTY },
          { digest: { ...other.digest, sizeBytes: 4999 } },
          other,
        ];
        return [await readBatch(wire, blobs, accepted), await readBatch(wire, blobs, accepted)];
      },
      sees: Array.from({ length: 2 }, () => ['OK', 'OK', 'NOT_FOUND', 'OK', 'NOT_FOUND', 'OK']),
    }),
  ),
  {
    reason: 'BatchReadBlobs, one digest twice',
    ask: async (wire) => {
      const blob = await wire.lying(5000);
      return readBatch(wire, [blob, blob]);
    },
    sees: ['OK', 'OK'],
  },
  {
    reason: 'BatchReadBlobs, bad digests beside a good one',
    ask: async (wire) => {
      const blob = await wire.lying(5000);
      return readBatch(wire, [
        blob,
        { digest: { hash: 'abc', sizeBytes: 5 } },
        { digest: { ...blob.digest, sizeBytes: -5 } },
      ]);
    },
    sees: ['OK', 'INVALID_ARGUMENT', 'INVALID_ARGUMENT'],
    differs: remote('INVALID_ARGUMENT', 'a bad item is refused by itself'),
  },
  {
    reason: 'BatchReadBlobs of 4 MiB',
    ask: async (wire) => {
      const blobs = [await wire.lying(2 * 1024 * 1024), await wire.lying(2 * 1024 * 1024)];
      return readBatch(wire, blobs);
    },
    sees: ['OK', 'OK'],
  },
  {
    reason: 'BatchReadBlobs of more than 4 MiB',
    ask: async (wire) => {
      const blobs = [await wire.lying(2 * 1024 * 1024), await wire.lying(2 * 1024 * 1024 + 1)];
      return readBatch(wire, blobs);
    },
    sees: 'INVALID_ARGUMENT',
    differs: remote(['OK', 'OK'], 'it has no limit, and Bazel could not take the answer'),
  },
  {
    reason: 'BatchReadBlobs of 300 small blobs',
    ask: async (wire) => {
      const blobs = Array.from({ length: 300 }, () => newBlob(100));
      await update(
        wire,
        blobs.map(({ digest, bytes }) => ({ digest, data: bytes })),
      );
      return [...new Set([await readBatch(wire, blobs, [ZSTD])].flat())];
    },
    sees: ['OK'],
  },
];

const directory = async (wire: Wire, init: MessageInitShape<typeof DirectorySchema>): Promise<Blob> =>
  wire.put(Buffer.from(toBinary(DirectorySchema, create(DirectorySchema, init))));

const named = (name: string, { digest }: { readonly digest: BlobDigest }) => ({ name, digest: wireDigest(digest) });

/** How many directories, and whether the first is the root. */
const tree = async (wire: Wire, root: BlobDigest, files = 0, pageSize = 0): Promise<unknown> => {
  const { directories, ...end } = await wire.client.getTree(root, { pageSize });
  if (end.code !== status.OK) return codeOf(end);
  return [directories.length, directories[0]?.files.length === files];
};

const getTree: Row[] = [
  {
    reason: 'GetTree of a nested root',
    ask: async (wire) => {
      const file = named('file', await wire.lying(10));
      const leaf = await directory(wire, { files: [file] });
      const middle = await directory(wire, {
        files: [file, { ...file, name: 'more' }],
        directories: [named('leaf', leaf)],
      });
      const root = await directory(wire, { directories: [named('middle', middle)] });
      return tree(wire, root.digest);
    },
    sees: [3, true],
  },
  {
    reason: 'GetTree of a root with the empty directory, and a file that is nowhere',
    ask: async (wire) => {
      const root = await directory(wire, {
        files: [named('nowhere', newBlob(5))],
        directories: [named('empty', { digest: EMPTY })],
      });
      return tree(wire, root.digest, 1);
    },
    sees: [2, true],
  },
  {
    reason: 'GetTree of a root that is nowhere',
    ask: (wire) => tree(wire, newBlob(50).digest),
    sees: 'NOT_FOUND',
  },
  {
    reason: 'GetTree of a root that is no Directory',
    ask: async (wire) => tree(wire, (await wire.put(Buffer.from([0x0a, 0x7f, 1, wire.way.length, made++]))).digest),
    sees: 'NOT_FOUND',
    differs: remote('DATA_LOSS', 'what cannot be read is a miss'),
  },
  {
    reason: 'GetTree of a root of which one directory is nowhere',
    ask: async (wire) => {
      const there = await directory(wire, { files: [named('file', newBlob(5))] });
      const root = await directory(wire, { directories: [named('nowhere', newBlob(50)), named('there', there)] });
      return tree(wire, root.digest);
    },
    sees: [2, true],
  },
  {
    reason: 'GetTree of 60 directories of 1500 files each, 8 MB: in messages that clients take',
    ask: async (wire) => {
      const leaves = Array.from({ length: 60 }, (_, index) => {
        const files = Array.from({ length: 1500 }, (_, file) => named(`file ${index} ${file}`, { digest: EMPTY }));
        const bytes = Buffer.from(toBinary(DirectorySchema, create(DirectorySchema, { files })));
        return { digest: digestOf(bytes), bytes };
      });
      for (const { digest, bytes } of leaves) await update(wire, [{ digest, data: bytes }]);
      const root = await directory(wire, { directories: leaves.map((leaf, index) => named(`${index}`, leaf)) });
      const request = create(GetTreeRequestSchema, { rootDigest: wireDigest(root.digest) });
      const { messages } = await wire.raw(`${CAS}/GetTree`, Buffer.from(toBinary(GetTreeRequestSchema, request)));
      const fit = messages.every(({ length }) => length <= 4 * 1024 * 1024);
      return [await tree(wire, root.digest), fit];
    },
    sees: [[61, true], true],
    differs: remote([[61, true], false], 'it sends all in one message, which Bazel could not take'),
  },
  {
    reason: 'GetTree without a root',
    ask: async (wire) => (await wire.raw(`${CAS}/GetTree`, Buffer.alloc(0))).code,
    sees: 'INVALID_ARGUMENT',
  },
];
let made = 0;

const chunks: Row[] = [
  {
    reason: 'SplitBlob',
    ask: async (wire) => (await wire.raw(`${CAS}/SplitBlob`, Buffer.alloc(0))).code,
    sees: 'UNIMPLEMENTED',
  },
  {
    reason: 'SpliceBlob',
    ask: async (wire) => (await wire.raw(`${CAS}/SpliceBlob`, Buffer.alloc(0))).code,
    sees: 'UNIMPLEMENTED',
    differs: remote('INVALID_ARGUMENT', 'it splices; we do not say that we can'),
  },
];

export const batches: readonly Row[] = [...findMissing, ...batchUpdate, ...batchRead, ...getTree, ...chunks];
