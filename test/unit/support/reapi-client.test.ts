// The REAPI client of the tests does what it is told, also what no good client does, and tells how each call ended.

import { status } from '@grpc/grpc-js';
import t from 'tap';
import { Compressor_Value } from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { fail, hang, stall } from '../../support/reapi/behaviours.ts';
import { digestOf } from '../../support/reapi/cache.ts';
import { ReapiClient } from '../../support/reapi-client.ts';
import { startReapi } from '../../support/scripted-reapi.ts';
import { seededBytes } from '../../support/seeded.ts';

const blob = seededBytes('blob', 500_000);
const digest = digestOf(blob);

const start = async (t: { teardown(action: () => unknown): unknown }) => {
  refuseLeaks(t);
  const upstream = await startReapi();
  const client = new ReapiClient(upstream.address);
  t.teardown(async () => {
    client.close();
    await upstream.close();
  });
  upstream.cache.add(blob);
  return { upstream, client };
};

t.test('metadata, authority and deadline reach the server', async (t) => {
  const { upstream, client } = await start(t);
  const metadata = { authorization: 'Basic x', 'a-bin': Buffer.from([0, 255]) };
  const options = { metadata, deadlineMs: 5_000, instance: 'a/b' };
  const calls = [
    client.read(digest, options),
    client.write(digest, [blob], options),
    client.batchRead([digest], options),
    client.batchUpdate([{ digest, data: blob }], options),
    client.findMissing([digest], options),
    client.getActionResult(digest, options),
    client.updateActionResult(digest, {}, options),
    client.getCapabilities(options),
    client.getTree(digest, options),
    client.queryWriteStatus(`a/b/uploads/u/blobs/${digest.hash}/5`, options),
  ];
  await Promise.all(calls);
  t.equal(upstream.calls.length, calls.length);
  for (const call of upstream.calls) {
    t.match(call, { metadata, instance: 'a/b', authority: upstream.address }, call.method);
    t.ok(call.deadlineMs > 0 && call.deadlineMs <= 5_000, call.method);
  }
});

t.test('a read tells its messages, its bytes and its end', async (t) => {
  const { upstream, client } = await start(t);
  upstream.script('Read', fail(status.UNKNOWN, 100_000, 'why'));
  const seen: number[] = [];
  const broken = await client.read(digest, { onData: (data) => void seen.push(data.length) });
  t.match(broken, { code: status.UNKNOWN, details: 'why', messages: [65_536, 34_464] });
  t.strictSame(seen, broken.messages);
  t.ok(broken.bytes.equals(blob.subarray(0, 100_000)));
  upstream.script('Read');
  t.match(await client.read(digest, { keepsBytes: false }), { code: status.OK, bytes: { length: 0 } });
  t.match(await client.read(digest, { resourceName: 'x' }), { code: status.INVALID_ARGUMENT });
  await t.rejects(
    client.read(digest, {
      onData: () => {
        throw new Error('a test that fails');
      },
    }),
    { message: 'a test that fails' },
  );
});

t.test('deadlines and cancelling', async (t) => {
  const { upstream, client } = await start(t);
  upstream.script('Read', stall(100_000));
  upstream.script('FindMissingBlobs', hang());
  upstream.script('Write', hang());
  t.match(await client.read(digest, { deadlineMs: 50 }), { code: status.DEADLINE_EXCEEDED });
  t.match(await client.findMissing([digest], { deadlineMs: 50 }), { code: status.DEADLINE_EXCEEDED });
  t.match(await client.write(digest, [blob], { deadlineMs: 50 }), { code: status.DEADLINE_EXCEEDED });
  const leave = new AbortController();
  const { signal } = leave;
  const calls = [
    client.read(digest, { signal }),
    client.findMissing([digest], { signal }),
    client.write(digest, [blob], { signal }),
  ];
  await upstream.until(() => upstream.open() === 3);
  leave.abort();
  for (const ended of await Promise.all(calls)) t.match(ended, { code: status.CANCELLED });
  await upstream.idle();
});

t.test('a write as no good client sends it', async (t) => {
  const { upstream, client } = await start(t);
  const bytes = seededBytes('written', 10_000);
  const named = digestOf(bytes);
  const pieces = [bytes.subarray(0, 4_000), bytes.subarray(4_000)];
  const last = () => upstream.calls.at(-1);
  t.match(await client.write(named, pieces, { finishes: false }), { code: status.OK, messages: 2 });
  t.match(last(), { isFinished: false, bytesReceived: 10_000 });
  upstream.cache.remove(named.hash);
  t.match(await client.write(named, pieces, { halfCloses: false }), { code: status.OK }, 'finish_write is enough');
  upstream.cache.remove(named.hash);
  const open = await client.write(named, [], { halfCloses: false, deadlineMs: 50 });
  t.match(open, { code: status.DEADLINE_EXCEEDED, messages: 0 });
  t.match(await client.write(named, pieces, { uuid: 'mine' }), { code: status.OK });
  t.match(last(), { resourceName: `uploads/mine/blobs/${named.hash}/10000` });
  const order: number[] = [];
  const before = async (index: number) => {
    order.push(index);
    // The upstream has it, and says so after the first message.
    if (index === 1) await upstream.until(() => last()?.ended === 'ok');
  };
  t.match(await client.write(named, [...pieces, ...pieces], { before }), { code: status.OK, committedSize: 10_000 });
  t.strictSame(order.slice(0, 2), [0, 1]);
});

t.test('compressors and digest functions as they are told', async (t) => {
  const { client } = await start(t);
  const told = await client.batchUpdate([{ digest, data: blob, compressor: Compressor_Value.DEFLATE }], {
    digestFunction: 1,
  });
  t.match(told.response?.responses, [{ status: { code: status.INVALID_ARGUMENT } }]);
});

t.test('each client has a connection of its own', async (t) => {
  const { upstream, client } = await start(t);
  const other = new ReapiClient(upstream.address);
  t.teardown(() => other.close());
  await Promise.all([client.health(), client.health(), other.health()]);
  t.equal(new Set(upstream.calls.map(({ peer }) => peer)).size, 2);
});

t.test('nobody listens', async (t) => {
  const { upstream, client } = await start(t);
  await upstream.refuse();
  t.match(await client.read(digest), { code: status.UNAVAILABLE });
  t.match(await client.write(digest, [blob]), { code: status.UNAVAILABLE, committedSize: null });
  t.match(await client.health(), { code: status.UNAVAILABLE, response: null });
});
