// While the gate is closed no write of the Bazel front reaches the upstream or our store, the sentence reaches the client, and reads go on.

import { create } from '@bufbuild/protobuf';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { SpliceBlobRequestSchema } from '../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { casService } from '../../src/bazel/services.ts';
import type { Gate, Write } from '../../src/gate/gate.ts';
import { aheadClock, seenAs } from '../support/deadline-clocks.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { digestOf, directoryBytes, wireDigest } from '../support/reapi/cache.ts';
import { encodeLikeBazelRemote } from '../support/reapi/zstd.ts';
import { type ReapiRig, startOwn, startRig } from '../support/reapi-rig.ts';
import { seededBytes } from '../support/seeded.ts';

const { OK, NOT_FOUND, FAILED_PRECONDITION } = status;
const SENTENCE =
  'cleanmiss: writes are held back (INDEX_LOST); what was built is not shared, the build itself is fine.';
const INSTANCE = 'a/team';

const bytes = seededBytes('gated', 100_000);
const digest = digestOf(bytes);
const held = seededBytes('held', 20_000);
const directory = directoryBytes({ files: [{ name: 'a', digest: wireDigest(digestOf(held)) }] });
const action = digestOf(Buffer.from('an action'));

/** Closed until it is opened; tells whom it was asked about. */
const scriptedGate = () => {
  const asked: Write[] = [];
  const state = { isOpen: false };
  const gate: Gate = {
    decide: (write) => {
      asked.push(write);
      if (state.isOpen) return Promise.resolve({ allow: true });
      return Promise.resolve({ allow: false, by: 'health', reason: 'INDEX_LOST', sentence: SENTENCE });
    },
  };
  return { gate, asked, open: () => (state.isOpen = true) };
};

type Asking = Omit<ReapiRig, 'upstream'>;
type Answer = Promise<{ readonly code: number; readonly details: string }>;

const splice = (address: string): Answer =>
  new Promise((resolve) => {
    const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    const { path, requestSerialize, responseDeserialize } = casService.SpliceBlob;
    const request = create(SpliceBlobRequestSchema, { instanceName: INSTANCE, blobDigest: wireDigest(digest) });
    const done = (error: ServiceError | null) => {
      client.close();
      resolve({ code: error?.code ?? OK, details: error?.details ?? '' });
    };
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, new Metadata(), {}, done);
  });

const WRITES: Readonly<Record<string, (asking: Asking) => Answer>> = {
  Write: ({ client }) => client.write(digest, [bytes.subarray(0, 100), bytes.subarray(100)], { instance: INSTANCE }),
  'Write of zstd': ({ client }) =>
    client.write(digest, [encodeLikeBazelRemote(bytes)], { instance: INSTANCE, encoding: 'zstd' }),
  'Write that has but begun': ({ client }) =>
    client.write(digest, [bytes.subarray(0, 100)], { instance: INSTANCE, finishes: false, halfCloses: false }),
  BatchUpdateBlobs: ({ client }) => client.batchUpdate([{ digest, data: bytes }], { instance: INSTANCE }),
  UpdateActionResult: ({ client }) => client.updateActionResult(action, { exitCode: 1 }, { instance: INSTANCE }),
  FindMissingBlobs: ({ client }) => client.findMissing([digest, digestOf(held)], { instance: INSTANCE }),
  SpliceBlob: ({ house }) => splice(house.bazel),
};

const checkWritesRefused = async (t: Test, asking: Asking, asked: readonly Write[]): Promise<void> => {
  for (const [name, write] of Object.entries(WRITES)) {
    const before = asked.length;
    t.match(await write(asking), { code: FAILED_PRECONDITION, details: SENTENCE }, name);
    const [operation = ''] = name.split(' ');
    const subject = operation === 'UpdateActionResult' ? { subject: `${action.hash}-${action.sizeBytes}` } : {};
    const asks = [{ front: 'bazel', tenant: INSTANCE, operation, ...subject }];
    t.same(asked.slice(before), asks, `${name}: the gate was asked, once`);
  }
};

refuseLeaks(t);

t.test('before an upstream', async (t) => {
  const { gate, asked, open } = scriptedGate();
  const rig = await startRig(t, { 'records.freshActions': '0s' }, { gate });
  const { upstream, client } = rig;
  const instance = INSTANCE;
  for (const one of [held, directory]) upstream.cache.add(one);
  upstream.cache.addResult(action.hash, { outputFiles: [{ path: 'a', digest: wireDigest(digestOf(held)) }] });

  t.ok((await client.read(digestOf(held), { instance })).bytes.equals(held), 'reads go on');
  await checkWritesRefused(t, rig, asked);
  const received = upstream.calls.filter(
    ({ method, digests }) =>
      /^(Write|BatchUpdate|Update|Splice)/.test(method) || digests.some(({ hash }) => hash === digest.hash),
  );
  t.same(received, [], 'the upstream has heard of none');

  t.match(
    await client.findMissing([digestOf(held)], { instance }),
    { code: OK, response: [] },
    'all is held: none missing',
  );
  t.match(await client.findMissing([], { instance }), { code: OK, response: [] });
  t.equal(asked.length, Object.keys(WRITES).length, 'and the gate has refused nothing more');
  t.equal((await client.getActionResult(action, { instance })).code, OK);
  t.equal((await client.batchRead([digestOf(held)], { instance })).response?.responses[0]?.data.length, held.length);
  t.equal((await client.getTree(digestOf(directory), { instance })).directories.length, 1);
  t.equal(
    (await client.getCapabilities({ instance })).response?.cacheCapabilities?.actionCacheUpdateCapabilities
      ?.updateEnabled,
    true,
  );
  t.match(
    await client.queryWriteStatus(`${instance}/uploads/u/blobs/${digest.hash}/${digest.sizeBytes}`),
    { code: OK, response: { complete: false } },
    'and nothing of it is here',
  );

  open();
  t.same((await client.findMissing([digest], { instance })).response, [digest.hash], 'open again');
  t.equal((await client.write(digest, [bytes], { instance })).code, OK);
  t.ok(upstream.cache.has(digest));
  await rig.end();
});

t.test('with nothing behind', async (t) => {
  const { gate, asked, open } = scriptedGate();
  const own = await startOwn(t, {}, { gate });
  const instance = INSTANCE;
  await checkWritesRefused(t, own, asked);
  t.equal((await own.client.read(digest, { instance })).code, NOT_FOUND);
  t.equal((await own.client.getActionResult(action, { instance })).code, NOT_FOUND);
  open();
  t.equal((await own.client.write(digest, [bytes], { instance })).code, OK);
  t.ok((await own.client.read(digest, { instance })).bytes.equals(bytes));
  await own.end();
});

t.test('a gate that takes its time holds no one beyond their deadline, and hears that they are gone', async (t) => {
  const signals: (AbortSignal | undefined)[] = [];
  const { promise: never } = Promise.withResolvers<never>();
  const gate: Gate = {
    decide: (_write, signal) => {
      signals.push(signal);
      return never;
    },
  };
  const { client, end } = await startOwn(t, {}, { gate, clock: aheadClock });
  const deadline = seenAs(1_000);
  const answers = await Promise.all([
    client.write(digest, [bytes], deadline),
    client.batchUpdate([{ digest, data: bytes }], deadline),
    client.updateActionResult(action, {}, deadline),
    client.findMissing([digest], deadline),
  ]);
  for (const { code, details } of answers) t.equal(code, FAILED_PRECONDITION, details);
  await end();
  t.equal(signals.length, 4);
  for (const signal of signals) t.ok(signal?.aborted);
});

t.test('what is wrong with a write is said before the gate is asked', async (t) => {
  const { gate, asked } = scriptedGate();
  const { client, end } = await startOwn(t, {}, { gate });
  for (const resourceName of ['', `blobs/${digest.hash}/1`, `uploads/u/blobs/${digest.hash}/x`])
    t.equal((await client.write(digest, [bytes], { resourceName })).code, status.INVALID_ARGUMENT);
  t.equal((await client.findMissing([{ hash: 'x', sizeBytes: 1 }])).code, status.INVALID_ARGUMENT);
  t.same(asked, []);
  await end();
});
