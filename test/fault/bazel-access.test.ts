// Who may read and write behind the Bazel front is the upstream's word: what is held here opens nothing, and what a client sends reaches it.

import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { aheadClock, seenAs } from '../support/deadline-clocks.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { fail, hang } from '../support/reapi/behaviours.ts';
import { digestOf, directoryBytes, wireDigest } from '../support/reapi/cache.ts';
import type { ReapiCall } from '../support/reapi/call.ts';
import type { CallOptions, ReapiClient } from '../support/reapi-client.ts';
import { type ReapiRig, startRig } from '../support/reapi-rig.ts';
import { seededBytes } from '../support/seeded.ts';

const { OK, NOT_FOUND, FAILED_PRECONDITION, UNAUTHENTICATED, PERMISSION_DENIED } = status;

const bytes = seededBytes('kept from strangers', 20_000);
const large = seededBytes('large', 1_300_000);
const digest = digestOf(bytes);
const directory = directoryBytes({ files: [{ name: 'a', digest: wireDigest(digest) }] });
const action = digestOf(Buffer.from('an action'));

const good: CallOptions = { metadata: { authorization: 'Bearer good' } };
const bad: CallOptions = { metadata: { authorization: 'Bearer bad' } };
const none: CallOptions = {};

const ASKS: Readonly<
  Record<string, (client: ReapiClient, by: CallOptions) => Promise<{ code: number; details: string }>>
> = {
  Read: (client, by) => client.read(digest, by),
  'Read of zstd': (client, by) => client.read(digest, { ...by, encoding: 'zstd' }),
  'Read of a large blob': (client, by) => client.read(digestOf(large), by),
  'Read from an offset': (client, by) => client.read(digest, { ...by, offset: 100 }),
  BatchReadBlobs: (client, by) => client.batchRead([digest], by),
  GetTree: (client, by) => client.getTree(digestOf(directory), by),
  GetActionResult: (client, by) => client.getActionResult(action, by),
  FindMissingBlobs: (client, by) => client.findMissing([digest], by),
  QueryWriteStatus: (client, by) => client.queryWriteStatus(`uploads/u/blobs/${digest.hash}/${digest.sizeBytes}`, by),
  Write: (client, by) => client.write(digest, [bytes], by),
  'Write of what is nowhere': (client, by) => client.write(digestOf(Buffer.from('new')), [Buffer.from('new')], by),
  BatchUpdateBlobs: (client, by) => client.batchUpdate([{ digest, data: bytes }], by),
  UpdateActionResult: (client, by) => client.updateActionResult(action, { exitCode: 1 }, by),
};

/** Demands credentials of everybody, as bazel-remote with a password file. */
const guarded = async (t: Test, code: number, flags: Record<string, string> = {}): Promise<ReapiRig> => {
  const rig = await startRig(t, { 'records.freshActions': '0s', ...flags });
  for (const one of [bytes, large, directory]) rig.upstream.cache.add(one);
  rig.upstream.cache.addResult(action.hash, { outputFiles: [{ path: 'a', digest: wireDigest(digest) }] });
  const isStranger = ({ method, metadata }: ReapiCall) =>
    method !== 'GetCapabilities' && metadata['authorization'] !== 'Bearer good';
  rig.upstream.script(isStranger, fail(code, 'before', 'no such user'));
  return rig;
};

const checkRefused = async (t: Test, { client }: ReapiRig, by: CallOptions, code: number, name: string) => {
  for (const [ask, call] of Object.entries(ASKS)) {
    const answer = await call(client, by);
    t.equal(answer.code, code, `${ask}, ${name}: ${status[code]}`);
    t.equal(answer.details, 'no such user', `${ask}, ${name}: in the upstream's words`);
    if ('bytes' in answer) t.same(answer.bytes, Buffer.alloc(0), 'without a byte');
  }
};

// grpc-js waits out the pause before its next connect, closed or not: a second, and more on a busy machine.
refuseLeaks(t, 5_000);
t.jobs = 4;

for (const code of [UNAUTHENTICATED, PERMISSION_DENIED])
  t.test(`an upstream that says ${status[code]}`, { buffered: true }, async (t) => {
    const rig = await guarded(t, code);
    await checkRefused(t, rig, none, code, 'nobody, cold');
    await checkRefused(t, rig, bad, code, 'a stranger, cold');
    for (const [ask, call] of Object.entries(ASKS))
      t.equal((await call(rig.client, good)).code, OK, `${ask}: accepted`);
    await checkRefused(t, rig, none, code, 'nobody, though all is held');
    await checkRefused(t, rig, bad, code, 'a stranger, though all is held');
    t.ok((await rig.client.read(digest, good)).bytes.equals(bytes));
    t.equal(rig.upstream.callsOf({ method: 'Read', hash: digest.hash }).length, 1, 'which was fetched once');
    await rig.end();
  });

t.test('while the upstream is down', { buffered: true }, async (t) => {
  const rig = await guarded(t, UNAUTHENTICATED);
  const { client, upstream } = rig;
  for (const call of [ASKS['Read'], ASKS['GetActionResult']]) t.equal((await call?.(client, good))?.code, OK);
  await upstream.refuse();
  t.ok((await client.read(digest, good)).bytes.equals(bytes), 'who was accepted lately reads on');
  t.equal((await client.getActionResult(action, good)).code, OK);
  t.match(await client.findMissing([digest], good), { code: OK, response: [] });
  for (const by of [none, bad]) {
    t.match(await client.read(digest, by), { code: NOT_FOUND, bytes: Buffer.alloc(0) }, 'nobody else does');
    t.equal((await client.getActionResult(action, by)).code, NOT_FOUND);
    t.equal((await client.batchRead([digest], by)).code, NOT_FOUND);
    t.match(await client.findMissing([digest], by), {
      code: FAILED_PRECONDITION,
      details: /^cleanmiss: the cache behind/,
    });
  }
  t.match(await client.findMissing([digestOf(large)], good), { code: FAILED_PRECONDITION });
  t.match(await client.write(digestOf(large), [large], good), { code: FAILED_PRECONDITION });
  await rig.end();
});

t.test('one that refuses has the last word, also within its own credentials’ time', { buffered: true }, async (t) => {
  const rig = await guarded(t, UNAUTHENTICATED, { 'auth.ttl': '1ms' });
  const { client, upstream } = rig;
  t.equal((await client.read(digest, good)).code, OK);
  upstream.script(() => true, fail(PERMISSION_DENIED, 'before', 'not any more'));
  t.match(await client.read(digest, good), { code: PERMISSION_DENIED, details: 'not any more' });
  upstream.script(() => true);
  await upstream.refuse();
  t.equal((await client.read(digest, good)).code, NOT_FOUND, 'and ends the grace');
  await rig.end();
});

t.test('many at once are asked about once', { buffered: true }, async (t) => {
  const rig = await guarded(t, UNAUTHENTICATED);
  const answers = await Promise.all(Array.from({ length: 8 }, () => rig.client.read(digest, good)));
  for (const { code } of answers) t.equal(code, OK);
  t.equal(rig.upstream.callsOf('FindMissingBlobs').length, 1);
  await rig.end();
});

t.test('a client whose fill is refused refuses nobody else', { buffered: true }, async (t) => {
  const rig = await startRig(t);
  const { client, upstream } = rig;
  upstream.cache.add(bytes);
  const isBadRead = ({ method, metadata }: ReapiCall) =>
    method === 'Read' && metadata['authorization'] !== 'Bearer good';
  upstream.script(isBadRead, fail(PERMISSION_DENIED, 'before', 'not you'));
  const [refused, accepted] = await Promise.all([client.read(digest, bad), client.read(digest, good)]);
  t.match(refused, { code: PERMISSION_DENIED, details: 'not you' });
  t.equal(accepted.code, OK, accepted.details);
  t.ok(accepted.bytes.equals(bytes));
  await rig.end();
});

t.test('what a client sends', { buffered: true }, async (t) => {
  const rig = await startRig(t, { 'records.freshActions': '0s' });
  const { upstream } = rig;
  for (const one of [bytes, directory]) upstream.cache.add(one);
  upstream.cache.addResult(action.hash, {});
  const requestMetadata = Buffer.from('0a070a0562617a656c', 'hex');
  const by: CallOptions = {
    deadlineMs: 30_000,
    metadata: {
      authorization: 'Bearer good',
      'x-team': 'blue',
      'x-trace-bin': Buffer.from([1, 2, 3]),
      'grpc-previous-rpc-attempts': '3',
      'build.bazel.remote.execution.v2.requestmetadata-bin': requestMetadata,
    },
  };
  const client = rig.connect({
    'grpc.primary_user_agent': 'bazel/7.7.1',
    'grpc.default_authority': 'cache.example:443',
  });
  await client.updateActionResult(action, {}, by);
  await client.batchUpdate([{ digest: digestOf(Buffer.from('b')), data: Buffer.from('b') }], by);
  await client.write(digestOf(Buffer.from('c')), [Buffer.from('c')], by);
  await client.findMissing([digestOf(Buffer.from('d'))], by);
  await client.getActionResult(action, by);
  await client.read(digest, by);
  for (const method of ['Write', 'Read', 'GetActionResult', 'BatchUpdateBlobs', 'UpdateActionResult'] as const) {
    const [call] = upstream.callsOf(method);
    t.match(
      call?.metadata,
      { authorization: 'Bearer good', 'x-team': 'blue', 'x-trace-bin': Buffer.from([1, 2, 3]) },
      method,
    );
    t.same(call?.metadata['build.bazel.remote.execution.v2.requestmetadata-bin'], requestMetadata, method);
    t.notMatch(String(call?.metadata['user-agent']), /bazel/, `${method}: we speak for ourselves`);
    t.equal(call?.metadata['grpc-previous-rpc-attempts'], undefined, `${method}: and count our own tries`);
    t.equal(call?.authority, upstream.address, `${method}: to whom we speak`);
  }
  const asked = upstream.callsOf('FindMissingBlobs').map(({ metadata }) => metadata);
  for (const metadata of asked)
    t.match(metadata, { authorization: 'Bearer good', 'x-team': 'blue' }, 'also for the check');
  await rig.end();
});

t.test('a check that hangs', { buffered: true }, async (t) => {
  const rig = await startRig(t, {}, { clock: aheadClock });
  rig.upstream.cache.add(bytes);
  rig.upstream.script('FindMissingBlobs', hang());
  t.equal((await rig.client.read(digest, seenAs(1_000))).code, NOT_FOUND);
  rig.upstream.script('FindMissingBlobs');
  await rig.house.close();
  await rig.upstream.idle();
  t.equal(rig.upstream.open(), 0, 'does not outlive the house');
});
