// Calls of the Bazel front that either side breaks off: what was under way goes on for others, and nothing of it stays open.

import { status } from '@grpc/grpc-js';
import t from 'tap';
import { refuseLeaks } from '../support/leaks.ts';
import { hang, once, stall } from '../support/reapi/behaviours.ts';
import { digestOf, wireDigest } from '../support/reapi/cache.ts';
import { startRig } from '../support/reapi-rig.ts';
import { checkRead, ENCODINGS } from '../support/reapi-verdict.ts';
import { seededBytes } from '../support/seeded.ts';

const { OK, CANCELLED } = status;
const LIMITS = { 'records.freshActions': '0s', 'upstream.idle': '1s' };

const small = seededBytes('cancelled small', 20_000);
/** Three frames: the first leaves as the second is whole. */
const large = seededBytes('cancelled large', 2_500_000);
const action = digestOf(Buffer.from('an action'));

// grpc-js waits out the pause before its next connect, closed or not: a second, and more on a busy machine.
refuseLeaks(t, 5_000);
t.jobs = 4;

for (const encoding of ENCODINGS) {
  t.test(`a reader that leaves a followed body: ${encoding}`, { buffered: true }, async (t) => {
    const rig = await startRig(t, LIMITS);
    const { client, connect, upstream } = rig;
    const digest = upstream.cache.add(large);
    const { promise, resolve } = Promise.withResolvers<void>();
    upstream.script('Read', stall(-100_000, promise));
    const gone = new AbortController();
    const leaving = connect().read(digest, { encoding, signal: gone.signal, onData: () => gone.abort() });
    t.equal((await leaving).code, CANCELLED);
    const staying = client.read(digest, { encoding });
    resolve();
    await checkRead(t, await staying, large, { encoding, expected: 'bytes', name: 'who comes then has it all' });
    t.equal(upstream.callsOf('Read').length, 1, 'from the transfer that was under way');
    await rig.end();
  });

  t.test(`readers that leave before the first byte: ${encoding}`, { buffered: true }, async (t) => {
    const rig = await startRig(t, LIMITS);
    const { client, upstream } = rig;
    const digest = upstream.cache.add(small);
    const { promise, resolve } = Promise.withResolvers<void>();
    upstream.script('Read', stall('before', promise));
    const gone = new AbortController();
    const leaving = [1, 2, 3].map(() => client.read(digest, { encoding, signal: gone.signal }));
    await upstream.asked('Read');
    gone.abort();
    for (const { code } of await Promise.all(leaving)) t.equal(code, CANCELLED);
    resolve();
    await checkRead(t, await client.read(digest, { encoding }), small, {
      encoding,
      expected: 'bytes',
      name: 'the next',
    });
    t.equal(upstream.callsOf('Read').length, 1);
    await rig.end();
  });

  t.test(`an upstream that is lost in the middle, and back at once: ${encoding}`, { buffered: true }, async (t) => {
    const rig = await startRig(t, LIMITS);
    const { client, upstream } = rig;
    for (const bytes of [small, large]) {
      const digest = upstream.cache.add(bytes);
      upstream.script({ method: 'Read', hash: digest.hash }, once(stall(-5_000)));
      const answer = client.read(digest, { encoding });
      await upstream.until(() => upstream.callsOf({ hash: digest.hash }).some(({ bytesSent }) => bytesSent > 0));
      upstream.dropConnections();
      await checkRead(t, await answer, bytes, { encoding, expected: 'bytes', name: `${bytes.length} bytes` });
    }
    await rig.end();
  });

  t.test(`an upstream that is lost in the middle for good: ${encoding}`, { buffered: true }, async (t) => {
    const rig = await startRig(t, LIMITS);
    const { client, upstream } = rig;
    const digest = upstream.cache.add(large);
    upstream.script('Read', stall(-100_000));
    let came = 0;
    const answer = client.read(digest, { encoding, onData: () => void came++ });
    await upstream.until(() => upstream.callsOf('Read').some(({ bytesSent }) => bytesSent > 1_000_000));
    await upstream.refuse();
    await checkRead(t, await answer, large, { encoding, expected: 'miss', name: `after ${came} messages` });
    await rig.end();
  });
}

t.test('asks that are given up are given up upstream as well', { buffered: true }, async (t) => {
  const rig = await startRig(t, LIMITS);
  const { client, upstream } = rig;
  const unheard = digestOf(Buffer.from('unheard of'));
  t.equal((await client.findMissing([unheard])).code, OK, 'who may read is known');
  for (const { method, ask } of [
    { method: 'GetActionResult', ask: (signal: AbortSignal) => client.getActionResult(action, { signal }) },
    { method: 'FindMissingBlobs', ask: (signal: AbortSignal) => client.findMissing([unheard], { signal }) },
    { method: 'UpdateActionResult', ask: (signal: AbortSignal) => client.updateActionResult(action, {}, { signal }) },
    {
      method: 'BatchUpdateBlobs',
      ask: (signal: AbortSignal) => client.batchUpdate([{ digest: digestOf(small), data: small }], { signal }),
    },
    { method: 'Write', ask: (signal: AbortSignal) => client.write(digestOf(small), [small], { signal }) },
  ] as const) {
    upstream.script(method, hang());
    const before = upstream.callsOf(method).length;
    const gone = new AbortController();
    const answer = ask(gone.signal);
    await upstream.asked(method, before + 1);
    gone.abort();
    t.equal((await answer).code, CANCELLED, method);
    await upstream.idle();
    t.match(upstream.callsOf(method).at(-1), { ended: 'cancelled', isFinished: false }, `${method} upstream`);
    upstream.script(method);
  }
  t.notOk(upstream.cache.has(digestOf(small)));
  await rig.end();
});

t.test('a client that leaves while its action result is proven', { buffered: true }, async (t) => {
  const rig = await startRig(t, LIMITS);
  const { client, upstream } = rig;
  const digest = upstream.cache.add(small);
  upstream.cache.addResult(action.hash, { outputFiles: [{ path: 'a', digest: wireDigest(digest) }] });
  const { promise, resolve } = Promise.withResolvers<void>();
  upstream.script('Read', stall('before', promise));
  const gone = new AbortController();
  const answer = client.getActionResult(action, { signal: gone.signal });
  await upstream.asked('Read');
  gone.abort();
  t.equal((await answer).code, CANCELLED);
  resolve();
  t.equal((await client.getActionResult(action)).code, OK, 'the next has the hit');
  t.equal(upstream.callsOf('Read').length, 1);
  await rig.end();
});

t.test('a house that closes', { buffered: true }, async (t) => {
  const rig = await startRig(t, { ...LIMITS, 'server.drain': '100ms' });
  const { client, upstream } = rig;
  const digest = upstream.cache.add(small);
  t.equal((await client.findMissing([digest])).code, OK);
  upstream.script((call) => call.digests.length > 0, hang());
  const asks = [
    client.read(digest),
    client.getActionResult(action),
    client.write(digestOf(large), [large.subarray(0, 1000)], { finishes: false, halfCloses: false }),
    client.findMissing([digestOf(large)]),
  ];
  await upstream.until(() => upstream.open() === 4);
  await rig.house.close();
  for (const { code } of await Promise.all(asks)) t.not(code, OK);
  await upstream.idle();
  t.equal(upstream.open(), 0, 'leaves no call behind');
  t.same(await rig.house.spooled(), []);
});
