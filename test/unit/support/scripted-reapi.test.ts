// The scripted REAPI upstream is a right cache, and each behaviour does what it says to those calls alone that it is scripted for.

import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import t from 'tap';
import type { BlobDigest } from '../../../src/bazel/batch-envelope.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import {
  afterFirst,
  type Behaviour,
  damagedFrame,
  drip,
  fail,
  first,
  flip,
  flipOnWire,
  hang,
  inPieces,
  itemStatus,
  once,
  otherContent,
  otherResult,
  saysMissing,
  saysPresent,
  short,
  skippableFirst,
  stall,
  tooLong,
  trailing,
  when,
  whileUp,
} from '../../support/reapi/behaviours.ts';
import { digestOf, directoryBytes } from '../../support/reapi/cache.ts';
import { decodeZstd } from '../../support/reapi/zstd.ts';
import { ReapiClient } from '../../support/reapi-client.ts';
import { type ReapiOptions, startReapi } from '../../support/scripted-reapi.ts';
import { seededBytes } from '../../support/seeded.ts';

const MiB = 1024 * 1024;
const blob = seededBytes('blob', 3 * MiB + 123);
const digest = digestOf(blob);
const small = Buffer.from('a small blob');
const smallDigest = digestOf(small);
const empty = digestOf(Buffer.alloc(0));
const absent = digestOf(Buffer.from('nobody has this'));
const zstd = { encoding: 'zstd' } as const;

interface Scope {
  teardown(action: () => unknown): unknown;
}

const start = async (t: Scope, options: ReapiOptions = {}) => {
  refuseLeaks(t);
  const upstream = await startReapi(options);
  const client = new ReapiClient(upstream.address);
  t.teardown(async () => {
    client.close();
    await upstream.close();
  });
  upstream.cache.add(blob);
  upstream.cache.add(small);
  return { upstream, client };
};

t.test('reads', async (t) => {
  const { upstream, client } = await start(t);
  const identity = await client.read(digest);
  t.equal(identity.code, status.OK);
  t.ok(identity.bytes.equals(blob));
  t.ok(identity.messages.every((bytes) => bytes <= 64 * 1024));
  const compressed = await client.read(digest, zstd);
  t.ok(zstdDecompressSync(compressed.bytes).equals(blob));
  t.ok(compressed.messages.length < 4);
  const rows: { reason: string; options: object; code: number; bytes?: Buffer; digest?: BlobDigest }[] = [
    { reason: 'an offset', options: { offset: MiB + 7 }, code: status.OK, bytes: blob.subarray(MiB + 7) },
    { reason: 'the end', options: { offset: blob.length }, code: status.OK, bytes: Buffer.alloc(0) },
    { reason: 'past the end', options: { offset: blob.length + 1 }, code: status.OUT_OF_RANGE },
    { reason: 'before the start', options: { offset: -1 }, code: status.INVALID_ARGUMENT },
    { reason: 'a limit', options: { offset: 5, limit: 100 }, code: status.OK, bytes: blob.subarray(5, 105) },
    { reason: 'a limit with zstd', options: { ...zstd, limit: 100 }, code: status.INVALID_ARGUMENT },
    { reason: 'no bytes', options: {}, code: status.OK, bytes: Buffer.alloc(0), digest: empty },
    {
      reason: 'no bytes in zstd',
      options: zstd,
      code: status.OK,
      bytes: Buffer.from('28b52ffd2000010000', 'hex'),
      digest: empty,
    },
    { reason: 'absent', options: {}, code: status.NOT_FOUND, digest: absent },
    { reason: 'another size', options: {}, code: status.NOT_FOUND, digest: { ...digest, sizeBytes: 5 } },
    { reason: 'another size of none', options: {}, code: status.INVALID_ARGUMENT, digest: { ...digest, sizeBytes: 0 } },
    { reason: 'any instance', options: { instance: 'a/b' }, code: status.OK, bytes: blob },
    {
      reason: 'something behind the name',
      options: { resourceName: `blobs/${digest.hash}/5/x` },
      code: status.INVALID_ARGUMENT,
    },
    {
      reason: 'another compressor',
      options: { resourceName: `compressed-blobs/deflate/${digest.hash}/5` },
      code: status.INVALID_ARGUMENT,
    },
    {
      reason: 'a digest function',
      options: { resourceName: `blobs/blake3/${digest.hash}/5` },
      code: status.INVALID_ARGUMENT,
    },
    { reason: 'no name', options: { resourceName: '' }, code: status.INVALID_ARGUMENT },
  ];
  for (const { reason, options, code, bytes, digest: asked = digest } of rows) {
    const answer = await client.read(asked, options);
    t.equal(answer.code, code, reason);
    if (bytes) t.ok(answer.bytes.equals(bytes), reason);
  }
  const tail = await client.read(digest, { ...zstd, offset: MiB + 7 });
  t.ok(zstdDecompressSync(tail.bytes).equals(blob.subarray(MiB + 7)), 'an offset counts decoded bytes');
  await upstream.idle();
  t.equal(upstream.open(), 0);
  t.match(upstream.calls[0], {
    method: 'Read',
    digests: [digest],
    encoding: 'identity',
    bytesSent: blob.length,
    ended: 'ok',
    code: 0,
  });
  t.match(upstream.callsOf({ method: 'Read', instance: 'a/b' }), [
    { resourceName: `a/b/blobs/${digest.hash}/${digest.sizeBytes}` },
  ]);
  t.equal(new Set(upstream.calls.map(({ peer }) => peer)).size, 1, 'over one connection');
});

t.test('writes', async (t) => {
  const { upstream, client } = await start(t);
  const bytes = seededBytes('written', 300_000);
  const named = digestOf(bytes);
  const pieces = [bytes.subarray(0, 100_000), bytes.subarray(100_000)];
  const packed = zstdCompressSync(bytes);
  const refused = { code: status.INVALID_ARGUMENT, committedSize: null };
  t.match(await client.write(named, [bytes.subarray(1)]), refused, 'short');
  t.match(await client.write(named, [bytes, Buffer.from('x')]), refused, 'long');
  t.match(await client.write(named, [Buffer.from(bytes.map((byte) => byte ^ 1))]), refused, 'wrong');
  t.match(await client.write(named, [packed.subarray(1)], zstd), refused, 'no zstd');
  t.match(await client.write(named, [], {}), refused, 'no message');
  t.match(await client.write(named, pieces, { change: (chunk) => ({ ...chunk, writeOffset: 7 }) }), refused, 'offsets');
  const renamed = await client.write(named, pieces, {
    change: (chunk, index) => ({ ...chunk, resourceName: index === 0 ? chunk.resourceName : 'another' }),
  });
  t.match(renamed, refused, 'names');
  t.equal(upstream.cache.has(named), false);
  t.match(await client.queryWriteStatus(`uploads/u/blobs/${named.hash}/${named.sizeBytes}`), {
    response: { committedSize: 0, complete: false },
  });

  t.match(await client.write(named, pieces, { instance: 'a/b' }), {
    code: 0,
    committedSize: bytes.length,
    messages: 2,
  });
  t.ok(upstream.cache.blob(named)?.equals(bytes));
  t.match(await client.write(named, pieces), { code: 0, committedSize: bytes.length }, 'again: an early answer');
  t.match(await client.write(named, [packed], zstd), { code: 0, committedSize: -1 }, 'again in zstd');
  t.match(await client.queryWriteStatus(`uploads/u/blobs/${named.hash}/${named.sizeBytes}/x`), {
    response: { committedSize: bytes.length, complete: true },
  });
  upstream.cache.remove(named.hash);
  t.match(await client.write(named, [packed], zstd), { code: 0, committedSize: packed.length });
  upstream.cache.remove(named.hash);
  t.match(await client.write(named, pieces, { finishes: false }), { code: 0 }, 'complete without finish_write');
  t.match(await client.write(empty, [Buffer.alloc(0)]), { code: 0, committedSize: 0 });
  const ok = upstream.callsOf(({ method, instance }) => method === 'Write' && instance === 'a/b');
  t.match(ok, [{ messagesReceived: 2, bytesReceived: bytes.length, isFinished: true, ended: 'ok' }]);
});

t.test('batches, and what is missing', async (t) => {
  const { upstream, client } = await start(t);
  const other = Buffer.from('other');
  const updated = await client.batchUpdate([
    { digest: digestOf(other), data: other },
    { digest: absent, data: other },
    { digest: digestOf(other), data: other, compressor: 2 },
    { digest: absent, data: zstdCompressSync(Buffer.from('nobody has this')), compressor: 1 },
  ]);
  t.strictSame(
    updated.response?.responses.map((item) => item.status?.code),
    [0, 3, 3, 0],
  );
  t.ok(upstream.cache.has(absent));
  upstream.cache.remove(absent.hash);
  const digests = [smallDigest, absent, empty];
  const identity = await client.batchRead(digests);
  t.match(identity.response?.responses, [
    { digest: smallDigest, data: small, compressor: 0, status: { code: 0 } },
    { digest: absent, status: { code: status.NOT_FOUND } },
    { digest: empty, data: { length: 0 }, status: { code: 0 } },
  ]);
  const packed = (await client.batchRead(digests, zstd)).response?.responses;
  t.match(packed, [{ compressor: 1 }, { compressor: 0 }, { compressor: 1 }]);
  t.ok(decodeZstd(packed?.[0]?.data ?? Buffer.alloc(0))?.equals(small));
  t.match(await client.findMissing(digests), { code: 0, response: [absent.hash] });
  t.match(await client.findMissing([{ hash: 'x', sizeBytes: 1 }]), { code: status.INVALID_ARGUMENT, response: null });
});

t.test('action results, trees, and the rest', async (t) => {
  const { upstream, client } = await start(t);
  t.match(await client.getActionResult(absent), { code: status.NOT_FOUND });
  const wanted = { outputFiles: [{ path: 'a', digest: { hash: absent.hash, sizeBytes: 15n } }], exitCode: 3 };
  t.match(await client.updateActionResult(absent, wanted), { code: 0, response: wanted });
  t.match(await client.getActionResult(absent, { instance: 'any' }), { code: 0, response: wanted });
  upstream.cache.removeResult(absent.hash);
  t.match(await client.getActionResult(absent), { code: status.NOT_FOUND });

  const leaf = upstream.cache.add(directoryBytes({ files: [{ name: 'f' }] }));
  const node = (name: string, { hash, sizeBytes }: BlobDigest) => ({
    name,
    digest: { hash, sizeBytes: BigInt(sizeBytes) },
  });
  const root = upstream.cache.add(
    directoryBytes({ directories: [node('a', leaf), node('b', leaf), node('c', absent)] }),
  );
  t.match(await client.getTree(root), {
    code: 0,
    pages: [2],
    directories: [{ directories: [{ name: 'a' }, {}, {}] }, {}],
  });
  t.match(await client.getTree(root, { pageSize: 1 }), { code: 0, pages: [1, 1] });
  t.match(await client.getTree(root, { pageSize: 1, pageToken: '1' }), { code: 0, pages: [1] });
  t.match(await client.getTree(absent), { code: status.NOT_FOUND });
  t.match(await client.getTree(smallDigest), { code: status.DATA_LOSS });

  const told = await client.getCapabilities();
  t.match(told.response, {
    cacheCapabilities: { digestFunctions: [1], supportedCompressors: [1] },
    highApiVersion: { major: 2, minor: 3 },
  });
  t.match(await client.health(), { code: 0, response: 1 });
  t.match(await client.health('x'), { code: status.NOT_FOUND });
});

t.test('instances that are strangers', async (t) => {
  const { upstream, client } = await start(t, { separateInstances: true });
  const mine = upstream.cache.add(small, 'mine');
  upstream.cache.addResult(absent.hash, { exitCode: 1 }, 'mine');
  t.match(await client.findMissing([mine], { instance: 'mine' }), { response: [] });
  t.match(await client.findMissing([mine], { instance: 'yours' }), { response: [mine.hash] });
  t.match(await client.read(mine, { instance: 'yours' }), { code: status.NOT_FOUND });
  t.match(await client.getActionResult(absent, { instance: 'yours' }), { code: status.NOT_FOUND });
  t.match(await client.getActionResult(absent, { instance: 'mine' }), { code: 0 });
});

t.test('every call fails before, in the middle and after', async (t) => {
  const { upstream, client } = await start(t);
  const asked = { digest, pieces: [blob.subarray(0, MiB), blob.subarray(MiB)] };
  upstream.cache.addResult(smallDigest.hash, { exitCode: 1 });
  const written = digestOf(Buffer.concat(asked.pieces));
  const calls = {
    GetCapabilities: () => client.getCapabilities(),
    GetActionResult: () => client.getActionResult(smallDigest),
    UpdateActionResult: () => client.updateActionResult(smallDigest, {}),
    FindMissingBlobs: () => client.findMissing([absent]),
    BatchReadBlobs: () => client.batchRead([smallDigest]),
    BatchUpdateBlobs: () => client.batchUpdate([{ digest: smallDigest, data: small }]),
    GetTree: () => client.getTree(upstream.cache.add(directoryBytes({ files: [{ name: 'f' }] }))),
    Read: () => client.read(digest),
    QueryWriteStatus: () => client.queryWriteStatus(`uploads/u/blobs/${digest.hash}/1`),
    Check: () => client.health(),
    Write: () => {
      upstream.cache.remove(written.hash);
      return client.write(written, asked.pieces);
    },
  } as const;
  // Object.keys of an object literal are its keys.
  for (const method of Object.keys(calls) as (keyof typeof calls)[]) {
    for (const at of ['before', 0, 3, 'after'] as const) {
      upstream.script(method, fail(status.RESOURCE_EXHAUSTED, at, 'enough'));
      t.match(await calls[method](), { code: status.RESOURCE_EXHAUSTED, details: 'enough' }, `${method} ${at}`);
      t.match(upstream.calls.at(-1), { method, ended: 'failed', code: status.RESOURCE_EXHAUSTED });
    }
    upstream.script(method);
    t.match(await calls[method](), { code: status.OK }, `${method} as before`);
  }
});

t.test('a read fails at the byte that is scripted', async (t) => {
  const { upstream, client } = await start(t);
  for (const [at, sent] of [
    [1, 1],
    [100_000, 100_000],
    [-1, blob.length - 1],
    [0, 0],
    ['after', blob.length],
  ] as const) {
    upstream.script('Read', fail(status.UNKNOWN, at));
    const answer = await client.read(digest);
    t.equal(answer.code, status.UNKNOWN);
    t.ok(answer.bytes.equals(blob.subarray(0, sent)), `${at}`);
    t.equal(upstream.calls.at(-1)?.bytesSent, sent);
  }
});

t.test('a write that fails was kept only after its last byte', async (t) => {
  const { upstream, client } = await start(t);
  const bytes = seededBytes('kept', 200_000);
  const named = digestOf(bytes);
  const pieces = [bytes.subarray(0, 50_000), bytes.subarray(50_000)];
  for (const [at, kept] of [
    ['before', false],
    [10, false],
    [50_001, false],
    ['after', true],
  ] as const) {
    upstream.script('Write', fail(status.INTERNAL, at));
    t.match(await client.write(named, pieces), { code: status.INTERNAL });
    t.equal(upstream.cache.has(named), kept, `${at}`);
  }
});

t.test('what a read delivers', async (t) => {
  const { upstream, client } = await start(t);
  const read = async (behaviour: Behaviour, options = {}) => {
    upstream.script({ method: 'Read', hash: digest.hash }, behaviour);
    const { code, bytes } = await client.read(digest, options);
    t.equal(code, status.OK);
    return bytes;
  };
  const changed = (at: number) => {
    const copy = Buffer.from(blob);
    copy[at] = (copy[at] ?? 0) ^ 1;
    return copy;
  };
  t.ok((await read(short(1_000))).equals(blob.subarray(0, 1_000)));
  t.ok((await read(short(-1))).equals(blob.subarray(0, -1)));
  t.ok((await read(tooLong(small))).equals(Buffer.concat([blob, small])));
  t.ok((await read(flip('first'))).equals(changed(0)));
  t.ok((await read(flip('middle'))).equals(changed(blob.length >> 1)));
  t.ok((await read(flip(5), { offset: 5 })).equals(changed(5).subarray(5)), 'at the blob’s own byte');
  t.ok((await read(flipOnWire('last'))).equals(changed(blob.length - 1)));
  const other = await read(otherContent());
  t.ok(other.length === blob.length && !other.equals(blob));
  t.ok((await read(otherContent(small))).equals(small));
  t.ok((await read(damagedFrame())).equals(blob), 'identity has no frames');
  t.ok((await read(skippableFirst())).equals(blob));

  const honest = await read((plan) => plan, zstd);
  t.ok(zstdDecompressSync(await read(flip('last'), zstd)).equals(changed(blob.length - 1)), 'well encoded');
  t.ok(zstdDecompressSync(await read(tooLong(small), zstd)).equals(Buffer.concat([blob, small])));
  t.equal((await read(short(-1), zstd)).length, honest.length - 1);
  const damaged = await read(damagedFrame(), zstd);
  t.equal(damaged.length, honest.length);
  t.equal(decodeZstd(damaged), null);
  t.ok((await read(trailing(small), zstd)).equals(Buffer.concat([honest, small])));
  const led = await read(skippableFirst(), zstd);
  t.equal(led.readUInt32LE(0), 0x184d2a50);
  t.ok(led.subarray(45).equals(honest));
  t.equal((await read(skippableFirst(), { ...zstd, offset: 9 })).readUInt32LE(0), 0xfd2fb528, 'only from the start');
  t.strictSame((await client.read(smallDigest)).bytes, small, 'another blob is not concerned');

  upstream.script('Read', inPieces(10));
  t.strictSame((await client.read(smallDigest)).messages, [10, 2]);
});

t.test('what a batch delivers', async (t) => {
  const { upstream, client } = await start(t);
  const items = async (behaviour: Behaviour, options = {}) => {
    upstream.script('BatchReadBlobs', behaviour);
    return (await client.batchRead([smallDigest, empty], options)).response?.responses ?? [];
  };
  t.match(await items(itemStatus(status.INTERNAL)), [
    { status: { code: 13 }, data: { length: 0 } },
    { status: { code: 13 } },
  ]);
  t.match(await items(itemStatus(status.INTERNAL, empty.hash)), [{ status: { code: 0 } }, { status: { code: 13 } }]);
  t.match(await items(itemStatus(null), zstd), [{ status: null, compressor: 1 }, { status: null }]);
  const [led] = await items(skippableFirst(), zstd);
  t.equal(led?.data.readUInt32LE(0), 0x184d2a50);
  const [broken] = await items(damagedFrame(), zstd);
  t.equal(decodeZstd(broken?.data ?? Buffer.alloc(0)), null);
  t.match(await items(flip(0)), [{ data: Buffer.from('` small blob') }]);
  upstream.script('BatchUpdateBlobs', itemStatus(status.RESOURCE_EXHAUSTED));
  upstream.cache.remove(smallDigest.hash);
  const { response } = await client.batchUpdate([{ digest: smallDigest, data: small }]);
  t.match(response?.responses, [{ status: { code: status.RESOURCE_EXHAUSTED } }]);
  t.equal(upstream.cache.has(smallDigest), false);
});

t.test('lies about what is missing, and another action result', async (t) => {
  const { upstream, client } = await start(t);
  const missing = async (...behaviours: Behaviour[]) => {
    upstream.script('FindMissingBlobs', ...behaviours);
    return (await client.findMissing([smallDigest, digest, absent])).response;
  };
  t.strictSame(await missing(saysMissing()), [smallDigest.hash, digest.hash, absent.hash]);
  t.strictSame(await missing(saysMissing(digest.hash)), [digest.hash, absent.hash]);
  t.strictSame(await missing(saysPresent()), []);
  t.strictSame(await missing(saysPresent(absent.hash), saysMissing(smallDigest.hash)), [smallDigest.hash]);
  upstream.cache.addResult(smallDigest.hash, { exitCode: 1 });
  upstream.script(
    'GetActionResult',
    otherResult((result) => ({ ...result, exitCode: 9 })),
  );
  t.match(await client.getActionResult(smallDigest), { response: { exitCode: 9 } });
});

t.test('waits: before, in the middle, for ever', async (t) => {
  const { upstream, client } = await start(t);
  for (const [at, sent] of [
    ['before', 0],
    [0, 0],
    [100_000, 100_000],
    ['after', blob.length],
  ] as const) {
    const go = Promise.withResolvers<void>();
    upstream.script('Read', stall(at, go.promise));
    let received = 0;
    const answer = client.read(digest, {
      onData: (data) => {
        received += data.length;
      },
    });
    await upstream.until(() => upstream.calls.at(-1)?.bytesSent === sent && upstream.open('Read') === 1);
    t.equal(upstream.open('Read'), 1);
    t.ok(received <= sent);
    go.resolve();
    const { code, bytes } = await answer;
    t.equal(code, status.OK);
    t.ok(bytes.equals(blob));
    await upstream.idle();
  }
  t.equal(upstream.mostOpen('Read'), 1);

  upstream.script('GetActionResult', hang());
  t.match(await client.getActionResult(absent, { deadlineMs: 50 }), { code: status.DEADLINE_EXCEEDED });
  await upstream.idle();
  const [hung] = upstream.callsOf('GetActionResult');
  t.match(hung, { ended: 'cancelled', code: null });
  t.ok(hung && hung.deadlineMs > 0 && hung.deadlineMs <= 50);
  t.equal(upstream.callsOf('Read')[0]?.deadlineMs, Number.POSITIVE_INFINITY);

  upstream.script('Write', stall(1));
  const leave = new AbortController();
  const bytes = seededBytes('never written', 1_000);
  const written = client.write(digestOf(bytes), [bytes], { signal: leave.signal });
  await upstream.until(() => upstream.calls.at(-1)?.bytesReceived === 1_000);
  leave.abort();
  t.match(await written, { code: status.CANCELLED });
  await upstream.idle();
  t.match(upstream.calls.at(-1), { method: 'Write', ended: 'cancelled' });
});

t.test('a drip', async (t) => {
  const { upstream, client } = await start(t);
  upstream.script('Read', drip(1_000));
  const { bytes, messages } = await client.read(smallDigest);
  t.ok(bytes.equals(small));
  t.equal(messages.length, small.length);
});

t.test('when, first, once, after the first, while it is up', async (t) => {
  const { upstream, client } = await start(t);
  const codes = async (count: number) => {
    const found: number[] = [];
    for (let index = 0; index < count; index += 1) found.push((await client.findMissing([])).code);
    return found;
  };
  upstream.script('FindMissingBlobs', first(2, fail(13)));
  t.strictSame(await codes(3), [13, 13, 0]);
  upstream.script('FindMissingBlobs', once(fail(13)));
  t.strictSame(await codes(2), [13, 0]);
  upstream.script('FindMissingBlobs', afterFirst(1, fail(13)));
  t.strictSame(await codes(3), [0, 13, 13]);
  const flag = { isUp: true };
  upstream.script('FindMissingBlobs', whileUp(flag, fail(13)));
  t.strictSame(await codes(1), [13]);
  flag.isUp = false;
  t.strictSame(await codes(1), [0]);
  upstream.script(
    'FindMissingBlobs',
    when(({ metadata }) => metadata['authorization'] !== 'Basic x', fail(status.UNAUTHENTICATED)),
  );
  t.strictSame(await codes(1), [status.UNAUTHENTICATED]);
  t.match(await client.findMissing([], { metadata: { authorization: 'Basic x' } }), { code: 0 });
});

t.test('matchers', async (t) => {
  const { upstream, client } = await start(t);
  const code = async (options = {}) => (await client.read(smallDigest, options)).code;
  upstream.script({ hash: digest.hash }, fail(13));
  t.equal(await code(), 0);
  upstream.script({ hash: smallDigest.hash, encoding: 'zstd' }, fail(13));
  t.strictSame([await code(), await code(zstd)], [0, 13]);
  upstream.script({ hash: smallDigest.hash, encoding: 'zstd' });
  t.equal(await code(zstd), 0, 'taken back');
  upstream.script({ instance: 'a' }, fail(13));
  t.strictSame([await code(), await code({ instance: 'a' })], [0, 13]);
  const isFar = ({ offset }: { offset: number }) => offset > 5;
  upstream.script(isFar, fail(14));
  t.strictSame([await code({ offset: 5 }), await code({ offset: 6 })], [0, 14]);
  upstream.script(isFar);
  t.equal(await code({ offset: 6 }), 0);
});

t.test('it goes and comes back', async (t) => {
  const { upstream, client } = await start(t);
  upstream.script('Read', stall(100_000));
  const cut = client.read(digest);
  await upstream.until(() => upstream.calls[0]?.bytesSent === 100_000);
  await upstream.refuse();
  t.match(await cut, { code: status.UNAVAILABLE });
  t.match(upstream.calls[0], { ended: 'cancelled' });
  t.match(await client.health(), { code: status.UNAVAILABLE });
  await upstream.comeBack();
  const again = new ReapiClient(upstream.address);
  t.teardown(() => again.close());
  t.match(await again.health(), { code: status.OK });
  t.not(upstream.calls.at(-1)?.peer, upstream.calls[0]?.peer);
});

t.test('a mistake in a script comes out at the end', async (t) => {
  const upstream = await startReapi();
  const client = new ReapiClient(upstream.address);
  upstream.script('Check', () => {
    throw new Error('a mistake');
  });
  t.match(await client.health(), { code: status.INTERNAL });
  client.close();
  await t.rejects(upstream.close(), { message: 'a mistake' });
});
