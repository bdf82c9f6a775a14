// Uploads through the Bazel front: what is right is at the upstream and here, what is wrong is whole nowhere, and the answer says which.

import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import type { WriteChunk } from '../../src/bazel/envelope.ts';
import { skippableFrame } from '../support/bombs.ts';
import { aheadClock, seenAs } from '../support/deadline-clocks.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { fail, itemStatus, stall } from '../support/reapi/behaviours.ts';
import { digestOf } from '../support/reapi/cache.ts';
import type { ReapiCall } from '../support/reapi/call.ts';
import { encodeLikeBazelRemote } from '../support/reapi/zstd.ts';
import type { WriteOptions } from '../support/reapi-client.ts';
import { type ReapiRig, startOwn, startRig } from '../support/reapi-rig.ts';
import { checkRead, decodable, ENCODINGS, type Encoding } from '../support/reapi-verdict.ts';
import { seededBytes } from '../support/seeded.ts';

const { OK, INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND } = status;
const SENTENCE = /^cleanmiss: the cache behind cannot take writes now/;
const SIZE = 200_000;
const PIECE = 16_384;
const DEFLATE = 2;

const bytes = seededBytes('upload', SIZE);
const digest = digestOf(bytes);
const other = Buffer.from(bytes).fill(1, SIZE / 2, SIZE / 2 + 1);

const inPieces = (data: Buffer, pieceBytes = PIECE): Buffer[] =>
  Array.from({ length: Math.ceil(data.length / pieceBytes) }, (_, index) =>
    data.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
const encoded = (data: Buffer, encoding: Encoding): Buffer =>
  encoding === 'zstd' ? encodeLikeBazelRemote(data) : data;
const flipped = (data: Buffer, at: number): Buffer => {
  const copy = Buffer.from(data);
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
};

/** Nothing of it is there, and no one was told that it was complete. */
const checkNowhere = async (
  t: Test,
  { upstream, client }: ReapiRig,
  calls: readonly ReapiCall[],
  { upload: name, encoding = 'identity', data = bytes }: Row,
): Promise<void> => {
  await upstream.idle();
  t.notOk(upstream.cache.has(digest), `${name}: not at the upstream`);
  for (const call of calls.filter(({ method }) => method === 'Write')) {
    // Node says that it has ended before it says that it is cancelled, where nothing waits to be sent.
    t.ok(['cancelled', 'failed'].includes(call.ended), `${name}: the upload to the upstream is cancelled`);
    t.notOk(call.isFinished, `${name}: and never said to be whole`);
    const received = await decodable(data.subarray(0, call.bytesReceived), encoding);
    t.ok(received.length < SIZE, `${name}: nor was it, ${received.length} of ${SIZE} bytes`);
  }
  t.equal((await client.read(digest)).code, NOT_FOUND, `${name}: nor here`);
};

// grpc-js waits out the pause before its next connect, closed or not: a second, and more on a busy machine.
refuseLeaks(t, 5_000);
t.jobs = 4;

for (const encoding of ENCODINGS)
  for (const [sizeBytes, pieceBytes] of [
    [20_000, 20_000],
    [SIZE, 1_000],
    [1_500_000, PIECE],
    [5_000_000, 2 ** 20],
  ] as const)
    t.test(`${sizeBytes} bytes of ${encoding} in pieces of ${pieceBytes}`, { buffered: true }, async (t) => {
      const { upstream, client, end } = await startRig(t);
      const right = seededBytes(`${encoding} ${sizeBytes}`, sizeBytes);
      const of = digestOf(right);
      const data = encoded(right, encoding);
      t.same((await client.findMissing([of])).response, [of.hash], 'missing before');
      const { code, committedSize } = await client.write(of, inPieces(data, pieceBytes), { encoding });
      t.equal(code, OK);
      t.equal(committedSize, data.length);
      t.ok(upstream.cache.has(of), 'it is at the upstream');
      t.equal(upstream.callsOf('Write').length, 1);
      await upstream.refuse();
      t.same((await client.findMissing([of])).response, [], 'and here');
      for (const encoding of ENCODINGS)
        await checkRead(t, await client.read(of, { encoding }), right, { encoding, expected: 'bytes', name: encoding });
      await end();
    });

interface Row {
  readonly upload: string;
  readonly code: status;
  readonly data?: Buffer;
  readonly encoding?: Encoding;
  readonly options?: WriteOptions;
}

const last = Math.ceil(SIZE / PIECE) - 1;
const zstd = encodeLikeBazelRemote(bytes);
const changing =
  (index: number, change: (chunk: WriteChunk) => Partial<WriteChunk>): NonNullable<WriteOptions['change']> =>
  (chunk, at) =>
    at === index ? { ...chunk, ...change(chunk) } : chunk;
const named = (resourceName: string): WriteOptions => ({ resourceName });
const own = `uploads/u/blobs/${digest.hash}/${SIZE}`;

const ROWS: readonly Row[] = [
  {
    upload: 'a first offset of 1',
    code: INVALID_ARGUMENT,
    options: { change: changing(0, () => ({ writeOffset: 1 })) },
  },
  {
    upload: 'a hole',
    code: INVALID_ARGUMENT,
    options: { change: changing(3, ({ writeOffset }) => ({ writeOffset: writeOffset + 1 })) },
  },
  {
    upload: 'an offset once more',
    code: INVALID_ARGUMENT,
    options: { change: changing(3, () => ({ writeOffset: 0 })) },
  },
  {
    upload: 'another name in the middle',
    code: INVALID_ARGUMENT,
    options: { change: changing(3, () => ({ resourceName: own })) },
  },
  {
    upload: 'its name in every message',
    code: OK,
    options: { ...named(own), change: (chunk) => ({ ...chunk, resourceName: own }) },
  },
  { upload: 'no finish_write', code: OK, options: { finishes: false } },
  {
    upload: 'no finish_write, and short',
    code: INVALID_ARGUMENT,
    data: bytes.subarray(0, -1),
    options: { finishes: false },
  },
  {
    upload: 'bytes behind finish_write',
    code: INVALID_ARGUMENT,
    options: { change: changing(last - 1, () => ({ finishWrite: true })) },
  },
  { upload: 'short', code: INVALID_ARGUMENT, data: bytes.subarray(0, -1) },
  { upload: 'nothing', code: INVALID_ARGUMENT, data: Buffer.alloc(0) },
  { upload: 'a byte too many', code: INVALID_ARGUMENT, data: Buffer.concat([bytes, Buffer.from('x')]) },
  { upload: 'a MiB too many', code: INVALID_ARGUMENT, data: Buffer.concat([bytes, Buffer.alloc(2 ** 20)]) },
  { upload: 'a wrong first byte', code: INVALID_ARGUMENT, data: flipped(bytes, 0) },
  { upload: 'a wrong byte', code: INVALID_ARGUMENT, data: other },
  { upload: 'a wrong last byte', code: INVALID_ARGUMENT, data: flipped(bytes, SIZE - 1) },
  { upload: 'zstd of other bytes', code: INVALID_ARGUMENT, data: encodeLikeBazelRemote(other), encoding: 'zstd' },
  {
    upload: 'zstd of other bytes, and 100 KiB to skip',
    code: INVALID_ARGUMENT,
    data: Buffer.concat([encodeLikeBazelRemote(other), skippableFrame(Buffer.alloc(100 * 1024))]),
    encoding: 'zstd',
  },
  {
    upload: 'zstd with a damaged byte',
    code: INVALID_ARGUMENT,
    data: flipped(zstd, zstd.length >> 1),
    encoding: 'zstd',
  },
  { upload: 'zstd cut short', code: INVALID_ARGUMENT, data: zstd.subarray(0, -1), encoding: 'zstd' },
  {
    upload: 'zstd with garbage behind',
    code: INVALID_ARGUMENT,
    data: Buffer.concat([zstd, Buffer.from('garbage')]),
    encoding: 'zstd',
  },
  { upload: 'zstd twice', code: INVALID_ARGUMENT, data: Buffer.concat([zstd, zstd]), encoding: 'zstd' },
  { upload: 'identity called zstd', code: INVALID_ARGUMENT, encoding: 'zstd', data: bytes },
  { upload: 'zstd called identity', code: INVALID_ARGUMENT, data: zstd },
  {
    upload: 'zstd behind what is skipped',
    code: OK,
    data: Buffer.concat([skippableFrame(Buffer.alloc(37)), zstd]),
    encoding: 'zstd',
  },
  { upload: 'no name', code: INVALID_ARGUMENT, options: named('') },
  { upload: 'the name of a read', code: INVALID_ARGUMENT, options: named(`blobs/${digest.hash}/${SIZE}`) },
  {
    upload: 'an upper-case hash',
    code: INVALID_ARGUMENT,
    options: named(`uploads/u/blobs/${digest.hash.toUpperCase()}/${SIZE}`),
  },
  { upload: 'a size that is none', code: INVALID_ARGUMENT, options: named(`uploads/u/blobs/${digest.hash}/-1`) },
  { upload: 'another size', code: INVALID_ARGUMENT, options: named(`uploads/u/blobs/${digest.hash}/${SIZE + 1}`) },
  {
    upload: 'an unknown compressor',
    code: INVALID_ARGUMENT,
    options: named(`uploads/u/compressed-blobs/deflate/${digest.hash}/${SIZE}`),
  },
  {
    upload: 'another digest function',
    code: INVALID_ARGUMENT,
    options: named(`uploads/u/blobs/blake3/${digest.hash}/${SIZE}`),
  },
  { upload: 'size 0 with a hash of bytes', code: INVALID_ARGUMENT, options: named(`uploads/u/blobs/${digest.hash}/0`) },
  {
    upload: 'any uuid, and metadata behind',
    code: OK,
    options: named(`uploads/not a uuid/blobs/${digest.hash}/${SIZE}/a/b`),
  },
];

const upload = ({ client }: ReapiRig, { data = bytes, encoding = 'identity', options = {} }: Row) =>
  client.write(digest, data.length === 0 ? [data] : inPieces(data), { encoding, ...options });

t.test('uploads that are refused', { buffered: true }, async (t) => {
  // One after another to the same house: none leaves anything behind for the next.
  const rig = await startRig(t);
  for (const row of ROWS.filter(({ code }) => code !== OK)) {
    const before = rig.upstream.calls.length;
    const { code, details } = await upload(rig, row);
    t.equal(code, row.code, `${row.upload}: ${details}`);
    await checkNowhere(t, rig, rig.upstream.calls.slice(before), row);
  }
  await rig.end();
});

for (const row of ROWS.filter(({ code }) => code === OK))
  t.test(`${row.upload}: OK`, { buffered: true }, async (t) => {
    const rig = await startRig(t);
    const { code, details } = await upload(rig, row);
    t.equal(code, OK, details);
    t.ok(rig.upstream.cache.has(digest));
    await rig.end();
  });

t.test('the empty blob', { buffered: true }, async (t) => {
  const { upstream, client, end } = await startRig(t);
  const empty = digestOf(Buffer.alloc(0));
  t.match(await client.write(empty, [Buffer.alloc(0)]), { code: OK, committedSize: 0 });
  t.equal((await client.write(empty, [encodeLikeBazelRemote(Buffer.alloc(0))], { encoding: 'zstd' })).code, OK);
  t.match(await client.batchUpdate([{ digest: empty, data: Buffer.alloc(0) }]), { code: OK });
  t.same((await client.findMissing([empty])).response, []);
  t.equal(upstream.callsOf('Write').length + upstream.callsOf('BatchUpdateBlobs').length, 0, 'nobody need be told');
  await end();
});

for (const encoding of ENCODINGS)
  t.test(`eight at once of one blob are one upload: ${encoding}`, { buffered: true }, async (t) => {
    const { upstream, connect, end } = await startRig(t);
    const data = encoded(bytes, encoding);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, uuid) => connect().write(digest, inPieces(data), { encoding, uuid: `${uuid}` })),
    );
    for (const { code, committedSize } of answers) {
      t.equal(code, OK);
      t.ok([data.length, encoding === 'zstd' ? -1 : SIZE].includes(committedSize ?? 0), `committed ${committedSize}`);
    }
    t.equal(upstream.callsOf('Write').length, 1);
    await end();
  });

t.test('an early OK', { buffered: true }, async (t) => {
  await t.test('where it is held here and there: nothing is sent', async (t) => {
    const { upstream, client, end } = await startRig(t);
    upstream.cache.add(bytes);
    await client.read(digest);
    t.match(await client.write(digest, inPieces(bytes), { halfCloses: false }), { code: OK, committedSize: SIZE });
    t.equal(upstream.callsOf('Write').length, 0);
    t.match(await client.queryWriteStatus(own), { code: OK, response: { complete: true, committedSize: SIZE } });
    await end();
  });
  await t.test('not where it is only held here', async (t) => {
    const { upstream, client, end } = await startRig(t);
    upstream.cache.add(bytes);
    await client.read(digest);
    upstream.cache.remove(digest.hash);
    t.match(await client.write(digest, inPieces(bytes)), { code: OK, committedSize: SIZE });
    t.ok(upstream.cache.has(digest), 'it is there again');
    await end();
  });
  await t.test('not where only the upstream has it: what it says is not proven', async (t) => {
    const { upstream, client, end } = await startRig(t);
    upstream.cache.add(bytes);
    t.equal((await client.write(digest, inPieces(other))).code, INVALID_ARGUMENT, 'wrong bytes are told so');
    t.match(await client.write(digest, inPieces(bytes)), { code: OK, committedSize: SIZE });
    await client.findMissing([digest]);
    await upstream.refuse();
    t.ok((await client.read(digest)).bytes.equals(bytes), 'right ones are kept');
    await end();
  });
});

t.test('an upstream that fails keeps nothing here: it would not be found elsewhere', { buffered: true }, async (t) => {
  const { upstream, client, end } = await startRig(t);
  upstream.script('Write', fail(status.INTERNAL, 50_000));
  const { code, details } = await client.write(digest, inPieces(bytes));
  t.equal(code, FAILED_PRECONDITION);
  t.match(details, SENTENCE);
  t.same((await client.findMissing([digest])).response, [digest.hash]);
  t.match(await client.queryWriteStatus(own), { code: OK, response: { complete: false, committedSize: 0 } });
  upstream.script('Write');
  t.equal((await client.write(digest, inPieces(bytes))).code, OK, 'and the next try is a good one');
  await end();
});

t.test('a client that goes in the middle', { buffered: true }, async (t) => {
  const { upstream, client, connect, end } = await startRig(t);
  const gone = new AbortController();
  const { promise: never } = Promise.withResolvers<void>();
  const half = client.write(digest, inPieces(bytes), {
    signal: gone.signal,
    before: (index) => (index < 6 ? Promise.resolve() : never),
  });
  await upstream.until(() => upstream.callsOf('Write').some(({ bytesReceived }) => bytesReceived > 0));
  const waiting = connect().write(digest, inPieces(bytes), { uuid: 'another' });
  gone.abort();
  t.equal((await half).code, status.CANCELLED);
  t.match(await waiting, { code: OK, committedSize: SIZE }, 'whose turn it is next has it');
  t.match(
    upstream.callsOf('Write').map(({ ended, isFinished }) => ({ ended, isFinished })),
    [
      { ended: 'cancelled', isFinished: false },
      { ended: 'ok', isFinished: true },
    ],
  );
  await end();
});

t.test('a batch of all kinds', { buffered: true }, async (t) => {
  const { upstream, client, end } = await startRig(t);
  const [one, two, three] = ['one', 'two', 'three'].map((seed) => seededBytes(seed, 5_000)) as [Buffer, Buffer, Buffer];
  const items = [
    { digest: digestOf(one), data: one, code: OK },
    { digest: digestOf(three), data: one, code: INVALID_ARGUMENT },
    { digest: digestOf(two), data: encodeLikeBazelRemote(two), compressor: 1, code: OK },
    { digest: digestOf(three), data: encodeLikeBazelRemote(two), compressor: 1, code: INVALID_ARGUMENT },
    { digest: digestOf(three), data: three, compressor: 1, code: INVALID_ARGUMENT },
    { digest: digestOf(three), data: three, compressor: DEFLATE, code: INVALID_ARGUMENT },
    { digest: digestOf(three), data: three, compressor: 99, code: INVALID_ARGUMENT },
    { digest: { ...digestOf(three), sizeBytes: 4_999 }, data: three, code: INVALID_ARGUMENT },
    { digest: { ...digestOf(three), hash: 'Z' }, data: three, code: INVALID_ARGUMENT },
    { digest: digestOf(Buffer.alloc(0)), data: Buffer.alloc(0), code: OK },
  ];
  await client.findMissing([digest]);
  const { code, response } = await client.batchUpdate(items);
  t.equal(code, OK);
  t.same(
    response?.responses.map(({ digest, status }) => [digest?.hash, status?.code ?? OK]),
    items.map(({ digest, code }) => [digest.hash, code]),
    'each has its own status',
  );
  t.same(
    upstream.callsOf('BatchUpdateBlobs').flatMap(({ digests }) => digests.map(({ hash }) => hash)),
    [digestOf(one).hash, digestOf(two).hash],
    'only what is right was passed on',
  );
  await upstream.refuse();
  t.ok((await client.read(digestOf(one))).bytes.equals(one), 'and kept');
  t.ok((await client.read(digestOf(two))).bytes.equals(two));
  await end();
});

t.test('a batch', { buffered: true }, async (t) => {
  const { upstream, client, end } = await startRig(t);
  const items = (count: number, sizeBytes: number) =>
    Array.from({ length: count }, (_, index) => {
      const data = seededBytes(`${count} ${index}`, sizeBytes);
      return { digest: digestOf(data), data };
    });
  t.match(await client.batchUpdate(items(7, 520_000)), { code: OK }, 'of 3.6 MB');
  t.equal(upstream.callsOf('BatchUpdateBlobs').length, 2, 'goes on in two calls');
  const { code, details } = await client.batchUpdate(items(9, 500_000));
  t.equal(code, INVALID_ARGUMENT, `of 4.5 MB is refused: ${details}`);
  t.equal(upstream.callsOf('BatchUpdateBlobs').length, 2);
  const [first, second] = items(2, 1_000);
  if (first === undefined || second === undefined) throw new Error('there are two');
  upstream.script('BatchUpdateBlobs', itemStatus(status.INTERNAL, second.digest.hash));
  const refused = await client.batchUpdate([first, second]);
  t.equal(refused.code, FAILED_PRECONDITION, 'of which the upstream refuses one, as a whole');
  t.match(refused.details, SENTENCE);
  t.match(await client.batchUpdate([first], { digestFunction: 9 }), { code: INVALID_ARGUMENT, details: /BLAKE3/ });
  await end();
});

t.test('an upload at one instance is none at another', { buffered: true }, async (t) => {
  for (const rig of [await startRig(t, {}, { reapi: { separateInstances: true } }), await startOwn(t)]) {
    const { client, end } = rig;
    const instance = 'a/deep/one';
    t.equal((await client.write(digest, inPieces(bytes), { instance })).code, OK);
    t.same((await client.findMissing([digest], { instance })).response, []);
    for (const instance of ['', 'a', 'another']) {
      t.same((await client.findMissing([digest], { instance })).response, [digest.hash], `missing at "${instance}"`);
      t.equal((await client.read(digest, { instance })).code, NOT_FOUND, 'and not to be read');
    }
    t.ok((await client.read(digest, { instance })).bytes.equals(bytes));
    await end();
  }
});

t.test('an upstream that takes nothing more holds no one beyond their deadline', { buffered: true }, async (t) => {
  const { upstream, client, end } = await startRig(t, {}, { clock: aheadClock });
  upstream.script('Write', stall(50_000));
  const large = seededBytes('large', 12_000_000);
  const { code, details } = await client.write(digestOf(large), inPieces(large, 2 ** 20), seenAs(3_000));
  t.equal(code, FAILED_PRECONDITION, details);
  await end();
});
