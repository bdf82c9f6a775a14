// With nothing behind it the Bazel front is the cache: what it said OK to is there, whole, in both encodings, also after a restart.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import type { BlobDigest } from '../../src/bazel/batch-envelope.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { fail, flip } from '../support/reapi/behaviours.ts';
import { digestOf, directoryBytes, wireDigest } from '../support/reapi/cache.ts';
import { encodeLikeBazelRemote } from '../support/reapi/zstd.ts';
import type { ReapiClient } from '../support/reapi-client.ts';
import { startOwn, startRig } from '../support/reapi-rig.ts';
import { checkRead, decodable, ENCODINGS } from '../support/reapi-verdict.ts';
import { seededBytes } from '../support/seeded.ts';

const { OK, NOT_FOUND, INVALID_ARGUMENT, OUT_OF_RANGE } = status;
const action = digestOf(Buffer.from('an action'));
const SIZES = [1, 1_024, 20_000, 1_500_000, 5_000_000];

refuseLeaks(t);

const directory = async (t: Test): Promise<string> => {
  const dir = await mkdtemp(join(tmpdir(), 'cleanmiss-own-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return dir;
};

t.test('what was acknowledged is there after a restart', async (t) => {
  const dir = await directory(t);
  const blobs = ENCODINGS.flatMap((encoding) =>
    SIZES.map((sizeBytes) => ({ encoding, bytes: seededBytes(`${encoding} ${sizeBytes}`, sizeBytes) })),
  );
  const batched = [1, 2, 3].map((seed) => seededBytes(seed, 2_000));
  const outputFiles = blobs.map(({ bytes }, at) => ({ path: `${at}`, digest: wireDigest(digestOf(bytes)) }));

  const first = await startOwn(t, {}, { dir });
  for (const { encoding, bytes } of blobs) {
    const data = encoding === 'zstd' ? encodeLikeBazelRemote(bytes) : bytes;
    t.equal((await first.client.write(digestOf(bytes), [data], { encoding })).code, OK);
  }
  t.equal((await first.client.batchUpdate(batched.map((data) => ({ digest: digestOf(data), data })))).code, OK);
  t.equal((await first.client.updateActionResult(action, { outputFiles })).code, OK);
  await first.end();

  const { client, end } = await startOwn(t, {}, { dir });
  const all = [...blobs.map(({ bytes }) => bytes), ...batched];
  t.same((await client.findMissing(all.map(digestOf))).response, []);
  t.match(await client.getActionResult(action), { code: OK });
  for (const bytes of all)
    for (const encoding of ENCODINGS)
      await checkRead(t, await client.read(digestOf(bytes), { encoding }), bytes, {
        encoding,
        expected: 'bytes',
        name: `${bytes.length} bytes as ${encoding}`,
      });
  const { response } = await client.batchRead(batched.map(digestOf), { encoding: 'zstd' });
  for (const [at, item] of (response?.responses ?? []).entries()) {
    const data = item.compressor === 1 ? await decodable(item.data, 'zstd') : item.data;
    t.ok(batched[at]?.equals(data), 'in a batch as well');
  }
  await end();
});

t.test('what was refused is not', async (t) => {
  const { client, end, house } = await startOwn(t);
  const bytes = seededBytes('refused', 50_000);
  const wrong = Buffer.from(bytes).fill(0, 49_999);
  for (const encoding of ENCODINGS) {
    const data = encoding === 'zstd' ? encodeLikeBazelRemote(wrong) : wrong;
    t.equal((await client.write(digestOf(bytes), [data], { encoding })).code, INVALID_ARGUMENT);
  }
  t.same((await client.findMissing([digestOf(bytes)])).response, [digestOf(bytes).hash]);
  t.equal((await client.read(digestOf(bytes))).code, NOT_FOUND);
  t.same(await house.spooled(), []);
  await end();
});

t.test('eight writers of one blob', async (t) => {
  const { client, connect, end } = await startOwn(t);
  const bytes = seededBytes('eight', 1_500_000);
  const pieces = [bytes.subarray(0, 700_000), bytes.subarray(700_000)];
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, uuid) => connect().write(digestOf(bytes), pieces, { uuid: `${uuid}` })),
  );
  for (const { code, committedSize } of answers) t.same([code, committedSize], [OK, bytes.length]);
  t.ok((await client.read(digestOf(bytes))).bytes.equals(bytes));
  await end();
});

t.test('a tree', async (t) => {
  const { client, end } = await startOwn(t);
  const file = seededBytes('file', 500);
  const below = directoryBytes({ files: [{ name: 'f', digest: wireDigest(digestOf(file)) }] });
  const root = directoryBytes({
    directories: [
      { name: 'a', digest: wireDigest(digestOf(below)) },
      { name: 'b', digest: wireDigest(digestOf(below)) },
    ],
  });
  const put = (data: Buffer) => client.batchUpdate([{ digest: digestOf(data), data }]);
  await put(root);
  t.match(await client.getTree(digestOf(root)), { code: OK, pages: [1] }, 'of which one directory is missing');
  t.equal((await client.getTree(digestOf(below))).code, NOT_FOUND, 'of which the root is');
  await put(below);
  t.match(await client.getTree(digestOf(root)), { code: OK, pages: [1, 1] }, 'each directory once');
  await put(file);
  t.equal((await client.getTree(digestOf(file))).code, NOT_FOUND, 'that is none');
  await end();
});

/** Decoded bytes from an offset, and what is wrong to ask for. */
const checkSpans = async (t: Test, client: ReapiClient, digest: BlobDigest, bytes: Buffer): Promise<void> => {
  const { length } = bytes;
  for (const offset of [0, 1, 2 ** 20, 2 ** 20 + 1, length - 1, length])
    for (const encoding of ENCODINGS) {
      const answer = await client.read(digest, { encoding, offset });
      t.equal(answer.code, OK, `${encoding} from ${offset}`);
      t.ok((await decodable(answer.bytes, encoding)).equals(bytes.subarray(offset)), 'the rest');
    }
  for (const [offset, limit] of [
    [0, 1],
    [0, length],
    [5, 1_000_000],
    [2 ** 20 - 1, 2],
    [length - 5, 1_000],
  ] as const) {
    const answer = await client.read(digest, { offset, limit });
    t.equal(answer.code, OK, `${limit} bytes from ${offset}`);
    t.ok(answer.bytes.equals(bytes.subarray(offset, offset + limit)), 'no more, and no less');
  }
  t.equal((await client.read(digest, { offset: length + 1 })).code, OUT_OF_RANGE);
  t.equal((await client.read(digest, { offset: -1 })).code, INVALID_ARGUMENT);
  t.equal((await client.read(digest, { limit: -1 })).code, INVALID_ARGUMENT);
  t.equal((await client.read(digest, { limit: 1, encoding: 'zstd' })).code, INVALID_ARGUMENT);
};

t.test('offsets and limits', async (t) => {
  const bytes = seededBytes('spans', 2_500_000);
  await t.test('of our own', async (t) => {
    const { client, end } = await startOwn(t);
    t.equal((await client.write(digestOf(bytes), [bytes.subarray(0, 1_300_000), bytes.subarray(1_300_000)])).code, OK);
    await checkSpans(t, client, digestOf(bytes), bytes);
    await end();
  });
  await t.test('of what is behind', async (t) => {
    const { client, upstream, end } = await startRig(t);
    upstream.cache.add(bytes);
    await checkSpans(t, client, digestOf(bytes), bytes);
    t.ok(
      upstream.callsOf('Read').every(({ offset, limit }) => offset === 0 && limit === 0),
      'which is asked for whole: a tail alone cannot be proven',
    );
    await end();
  });
  await t.test('of what is wrong', async (t) => {
    const { client, upstream, end } = await startRig(t);
    upstream.cache.add(bytes);
    upstream.script('Read', flip('first'));
    for (const encoding of ENCODINGS)
      t.match(
        await client.read(digestOf(bytes), { offset: 2_000_000, encoding }),
        { code: NOT_FOUND, bytes: Buffer.alloc(0) },
        'though the tail is right',
      );
    upstream.script('Read', fail(status.INTERNAL));
    t.match(await client.read(digestOf(bytes), { offset: 1 }), { code: NOT_FOUND, bytes: Buffer.alloc(0) });
    await end();
  });
});
