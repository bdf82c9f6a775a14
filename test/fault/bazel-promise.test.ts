// An action result is a promise: whatever becomes of one blob that it names, it is answered whole, or not at all and in time.

import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import type { BlobDigest } from '../../src/bazel/batch-envelope.ts';
import {
  type ActionResult,
  ActionResultSchema,
  TreeSchema,
} from '../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { refuseLeaks } from '../support/leaks.ts';
import {
  type Behaviour,
  fail,
  flip,
  hang,
  itemStatus,
  otherContent,
  saysMissing,
  saysPresent,
  short,
  stall,
} from '../support/reapi/behaviours.ts';
import { digestOf, directoryBytes, wireDigest } from '../support/reapi/cache.ts';
import { type ReapiRig, startOwn, startRig } from '../support/reapi-rig.ts';
import { seededBytes } from '../support/seeded.ts';

const { OK, NOT_FOUND } = status;
const action = digestOf(Buffer.from('an action'));

/** Each ask goes to the upstream. */
const LIMITS = { 'records.freshActions': '0s', 'fills.perClient': '64' };
/** What takes 20 s of patience in life. */
const HASTY = { ...LIMITS, 'bazel.prove': '500ms' };

const treeBytes = (tree: MessageInitShape<typeof TreeSchema>): Buffer =>
  Buffer.from(toBinary(TreeSchema, create(TreeSchema, tree)));

/** What one action made: every kind of thing that a result can name. */
const make = (seed: string) => {
  const blob = (name: string, sizeBytes = 3_000) => seededBytes(`${seed} ${name}`, sizeBytes);
  const named = (bytes: Buffer) => wireDigest(digestOf(bytes));
  const blobs = {
    file: blob('file'),
    'large file': blob('large file', 300_000),
    stdout: blob('stdout'),
    stderr: blob('stderr'),
    'file of the Tree': blob('file of the Tree'),
    'file deep in the Tree': blob('file deep in the Tree'),
    'file of the directory': blob('file of the directory'),
    'file deep in the directory': blob('file deep in the directory'),
  };
  const deepInTree = directoryBytes({ files: [{ name: 'deep', digest: named(blobs['file deep in the Tree']) }] });
  const deep = directoryBytes({ files: [{ name: 'deep', digest: named(blobs['file deep in the directory']) }] });
  const root = directoryBytes({
    files: [{ name: 'flat', digest: named(blobs['file of the directory']) }],
    directories: [{ name: 'sub', digest: named(deep) }],
  });
  const tree = treeBytes({
    root: {
      files: [{ name: 'flat', digest: named(blobs['file of the Tree']) }],
      directories: [{ name: 'sub', digest: named(deepInTree) }],
    },
    children: [{ files: [{ name: 'deep', digest: named(blobs['file deep in the Tree']) }] }],
  });
  const result: MessageInitShape<typeof ActionResultSchema> = {
    outputFiles: [
      { path: 'a', digest: named(blobs.file), isExecutable: true },
      { path: 'b', digest: named(blobs['large file']) },
      { path: 'empty', digest: named(Buffer.alloc(0)) },
    ],
    outputDirectories: [
      { path: 'tree', treeDigest: named(tree) },
      { path: 'root', rootDirectoryDigest: named(root) },
    ],
    outputSymlinks: [{ path: 'link', target: 'a' }],
    stdoutDigest: named(blobs.stdout),
    stderrDigest: named(blobs.stderr),
    exitCode: 0,
  };
  return { blobs: { ...blobs, Tree: tree, 'root directory': root, 'directory below': deep }, result };
};

const made = make('an action');
type Name = keyof (typeof made)['blobs'];
const NAMES = Object.keys(made.blobs) as Name[];

/** A field that nobody here knows. */
const withUnknown = (result: MessageInitShape<typeof ActionResultSchema>): ActionResult =>
  fromBinary(
    ActionResultSchema,
    Buffer.concat([toBinary(ActionResultSchema, create(ActionResultSchema, result)), Buffer.from('fa3f026869', 'hex')]),
  );

/** All of it is at the upstream. */
const added = ({ upstream }: ReapiRig) => {
  for (const bytes of Object.values(made.blobs)) upstream.cache.add(bytes);
  upstream.cache.addResult(action.hash, made.result);
  return made;
};

const checkHit = (t: Test, answer: { code: number; details: string }, name: string): void =>
  void t.equal(answer.code, OK, `${name}: a hit, ${answer.details}`);
const checkMiss = (t: Test, answer: { code: number; details: string }, name: string): void =>
  void t.equal(answer.code, NOT_FOUND, `${name}: a miss, ${answer.details}`);

// grpc-js waits out the pause before its next connect, closed or not: a second, and more on a busy machine.
refuseLeaks(t, 5_000);
t.jobs = 8;

t.test('every blob stands: a hit, unknown fields and all', { buffered: true }, async (t) => {
  const rig = await startRig(t);
  const { blobs, result } = added(rig);
  const sent = withUnknown(result);
  rig.upstream.cache.addResult(action.hash, sent);
  const { code, details, response } = await rig.client.getActionResult(action);
  t.equal(code, OK, details);
  t.same(response && toBinary(ActionResultSchema, response), toBinary(ActionResultSchema, sent));
  t.equal(rig.upstream.callsOf('Read').length, NAMES.length, 'each was read once');
  await rig.upstream.refuse();
  for (const name of NAMES) {
    const { bytes } = await rig.client.read(digestOf(blobs[name]));
    t.ok(bytes.equals(blobs[name]), `${name} is here`);
  }
  checkHit(t, await rig.client.getActionResult(action), 'from the record, with everything held');
  await rig.end();
});

/** One of each kind: what is read as a blob, as a Tree, as a directory. */
const SOME: readonly Name[] = ['file', 'Tree', 'directory below'];

const FAULTS: {
  readonly fault: string;
  readonly faults: readonly Behaviour[];
  readonly names: readonly Name[];
  /** What is asked once more: healed by then, or a suspect that nobody reads. */
  readonly next?: 'healed' | 'suspect';
  readonly isLate?: true;
}[] = [
  { fault: 'absent', faults: [fail(NOT_FOUND)], names: NAMES, next: 'healed' },
  { fault: 'wrong', faults: [otherContent()], names: NAMES, next: 'suspect' },
  { fault: 'wrong in its last byte', faults: [flip('last')], names: SOME },
  { fault: 'short', faults: [short(-50)], names: SOME },
  { fault: 'failing', faults: [fail(status.INTERNAL)], names: SOME },
  { fault: 'hanging', faults: [hang()], names: NAMES, isLate: true },
  { fault: 'stalling', faults: [stall(20)], names: SOME, isLate: true },
];
for (const { fault, faults, names, next, isLate } of FAULTS)
  t.test(`one blob is ${fault}`, { buffered: true }, async (t) => {
    const rig = await startRig(t, isLate ? HASTY : LIMITS);
    const { blobs } = added(rig);
    await Promise.all(
      names.map(async (name) => {
        // Of its own, so that nothing is held that another was given.
        const instance = name;
        const read = { method: 'Read', hash: digestOf(blobs[name]).hash, instance } as const;
        rig.upstream.script(read, ...faults);
        checkMiss(t, await rig.client.getActionResult(action, { instance }), `${name} ${fault}`);
        if (next === undefined) return;
        const reads = rig.upstream.callsOf(read).length;
        rig.upstream.script(read);
        if (next === 'healed') return checkHit(t, await untilHit(rig, instance), `${name} stands`);
        checkMiss(t, await rig.client.getActionResult(action, { instance }), `${name} is a suspect`);
        t.equal(rig.upstream.callsOf(read).length, reads, 'of which the upstream is not asked again');
      }),
    );
    await rig.end();
  });

/** A failure answers those too who ask a moment later. */
const untilHit = async ({ client }: ReapiRig, instance = '') => {
  for (let tries = 0; ; tries += 1) {
    const answer = await client.getActionResult(action, { instance });
    if (answer.code === OK || tries === 100) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

t.test('a miss that is known is not waited for', { buffered: true }, async (t) => {
  const rig = await startRig(t, { ...LIMITS, 'bazel.prove': '40s', 'upstream.firstByte': '40s' });
  const { blobs } = added(rig);
  rig.upstream.script({ method: 'Read', hash: digestOf(blobs.file).hash }, fail(NOT_FOUND));
  rig.upstream.script({ method: 'Read', hash: digestOf(blobs.stderr).hash }, hang());
  const startedAt = performance.now();
  checkMiss(t, await rig.client.getActionResult(action), 'one absent, one hanging');
  t.ok(performance.now() - startedAt < 20_000, 'at once');
  await rig.end();
});

t.test('past the budget a miss, and the next ask is a hit', { buffered: true }, async (t) => {
  const rig = await startRig(t, HASTY);
  const { blobs } = added(rig);
  const { promise, resolve } = Promise.withResolvers<void>();
  rig.upstream.script({ method: 'Read', hash: digestOf(blobs['large file']).hash }, stall('before', promise));
  checkMiss(t, await rig.client.getActionResult(action), 'not yet');
  resolve();
  await rig.upstream.idle();
  checkHit(t, await untilHit(rig), 'the fill went on');
  t.equal(rig.upstream.callsOf({ method: 'Read', hash: digestOf(blobs['large file']).hash }).length, 1);
  await rig.end();
});

t.test('a suspect', { buffered: true }, async (t) => {
  const rig = await startRig(t, LIMITS);
  const { blobs } = added(rig);
  const digest = digestOf(blobs['file deep in the Tree']);
  rig.upstream.script({ method: 'Read', hash: digest.hash }, otherContent());
  checkMiss(t, await rig.client.getActionResult(action), 'refuted twice');
  rig.upstream.script({ method: 'Read', hash: digest.hash });
  const reads = rig.upstream.callsOf({ method: 'Read', hash: digest.hash }).length;
  await new Promise((resolve) => setTimeout(resolve, 300));
  checkMiss(t, await rig.client.getActionResult(action), 'it is one until it is tried again');
  t.same((await rig.client.findMissing([digest])).response, [digest.hash], 'and missing, so that it is uploaded');
  t.equal(rig.upstream.callsOf({ method: 'Read', hash: digest.hash }).length, reads, 'the upstream is not asked');
  t.equal((await rig.client.write(digest, [blobs['file deep in the Tree']])).code, OK);
  checkHit(t, await rig.client.getActionResult(action), 'proven bytes of ours win');
  t.same((await rig.client.findMissing([digest])).response, []);
  await rig.end();
});

interface Wrong {
  readonly what: string;
  readonly result: MessageInitShape<typeof ActionResultSchema>;
}

const someDigest = { hash: action.hash, sizeBytes: 9n };
const WRONG: readonly Wrong[] = [
  { what: 'an output without a digest', result: { outputFiles: [{ path: 'a' }] } },
  { what: 'a hash that is none', result: { outputFiles: [{ path: 'a', digest: { hash: 'abc', sizeBytes: 1n } }] } },
  { what: 'a negative size', result: { stdoutDigest: { ...someDigest, sizeBytes: -1n } } },
  { what: 'size 0 of something', result: { stderrDigest: { ...someDigest, sizeBytes: 0n } } },
  { what: 'a directory that names nothing', result: { outputDirectories: [{ path: 'a' }] } },
  {
    what: 'inlined contents of another blob',
    result: { outputFiles: [{ path: 'a', digest: someDigest, contents: Buffer.from('no action') }] },
  },
  { what: 'inlined stdout of another blob', result: { stdoutDigest: someDigest, stdoutRaw: Buffer.from('no action') } },
  { what: 'inlined stderr of another size', result: { stderrDigest: someDigest, stderrRaw: Buffer.from('an') } },
];
t.test('a result that is none', { buffered: true }, async (t) => {
  const rig = await startRig(t, LIMITS);
  rig.upstream.cache.add(Buffer.from('an action'));
  for (const { what, result } of WRONG) {
    rig.upstream.cache.addResult(action.hash, result);
    checkMiss(t, await rig.client.getActionResult(action), what);
  }
  const tree = rig.upstream.cache.add(Buffer.from('\x0a\xff no Tree', 'latin1'));
  rig.upstream.cache.addResult(action.hash, { outputDirectories: [{ path: 'd', treeDigest: wireDigest(tree) }] });
  checkMiss(t, await rig.client.getActionResult(action), 'a Tree that is none');
  rig.upstream.cache.addResult(action.hash, {
    outputDirectories: [{ path: 'd', rootDirectoryDigest: wireDigest(tree) }],
  });
  checkMiss(t, await rig.client.getActionResult(action), 'a directory that is none');
  rig.upstream.cache.addResult(action.hash, {
    outputFiles: [{ path: 'a', digest: someDigest, contents: Buffer.from('an action') }],
    stdoutRaw: Buffer.from('said, and named nowhere'),
  });
  checkHit(t, await rig.client.getActionResult(action), 'inlined contents that are the blob');
  t.same((await rig.client.getActionResult({ ...action, hash: 'xyz' })).code, status.INVALID_ARGUMENT);
  await rig.end();
});

/** What is proven here and finds no place: the next MiB pushes it out. */
const SCARCE = { 'store.maxBytes': '4MiB', 'store.memoryBytes': '1MiB', 'bazel.lease': '1ms' };

t.test('proven here, and evicted', { buffered: true }, async (t) => {
  for (const { upstreamSays, behaviours, isHit, reads } of [
    { upstreamSays: 'that it is there', behaviours: [], isHit: true, reads: 1 },
    { upstreamSays: 'that it is missing, though it is not', behaviours: [saysMissing()], isHit: true, reads: 2 },
    { upstreamSays: 'nothing', behaviours: [fail(status.INTERNAL)], isHit: true, reads: 2 },
  ])
    await t.test(`the upstream says ${upstreamSays}`, async (t) => {
      const { rig, digest } = await evicted(t);
      rig.upstream.script({ method: 'FindMissingBlobs', hash: digest.hash }, ...behaviours);
      const answer = await rig.client.getActionResult(action);
      t.equal(answer.code, isHit ? OK : NOT_FOUND, answer.details);
      t.equal(rig.upstream.callsOf({ method: 'Read', hash: digest.hash }).length, reads, `${reads} reads`);
      await rig.end();
    });
  await t.test('and lost by the upstream', async (t) => {
    const { rig, digest } = await evicted(t);
    rig.upstream.cache.remove(digest.hash);
    checkMiss(t, await rig.client.getActionResult(action), 'missing, and not to be had');
    await rig.end();
  });
  await t.test('and trusted no longer', async (t) => {
    const { rig, digest } = await evicted(t, { 'bazel.trust': '0s' });
    checkHit(t, await rig.client.getActionResult(action), 'obtained anew');
    t.equal(rig.upstream.callsOf({ method: 'Read', hash: digest.hash }).length, 2);
    await rig.end();
  });
  await t.test('and wrong by now', async (t) => {
    const { rig, digest } = await evicted(t, { 'bazel.trust': '0s' });
    rig.upstream.script({ method: 'Read', hash: digest.hash }, otherContent());
    checkMiss(t, await rig.client.getActionResult(action), 'refuted');
    await rig.end();
  });
});

t.test('proven on its way past us, and too large to be proven here', { buffered: true }, async (t) => {
  const rig = await startRig(t, { ...LIMITS, ...SCARCE });
  const { upstream, client } = rig;
  const bytes = seededBytes('too large', 1_500_000);
  const digest = digestOf(bytes);
  t.equal((await client.write(digest, [bytes.subarray(0, 1_000_000), bytes.subarray(1_000_000)])).code, OK);
  t.ok(upstream.cache.has(digest), 'the upstream has it');
  upstream.cache.addResult(action.hash, { outputFiles: [{ path: 'a', digest: wireDigest(digest) }] });
  // A read of it would be a miss, and come too late for the build.
  checkMiss(t, await client.getActionResult(action), 'no room');
  await rig.end();
});

const evicted = async (t: Test, flags: Record<string, string> = {}): Promise<{ rig: ReapiRig; digest: BlobDigest }> => {
  const rig = await startRig(t, { ...LIMITS, ...SCARCE, ...flags });
  const { upstream, client } = rig;
  const bytes = seededBytes('evicted', 200_000);
  const digest = upstream.cache.add(bytes);
  upstream.cache.addResult(action.hash, { outputFiles: [{ path: 'a', digest: wireDigest(digest) }] });
  t.ok((await client.read(digest)).bytes.equals(bytes), 'proven');
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const next = upstream.cache.add(seededBytes(seed, 800_000));
    t.equal((await client.read(next, { keepsBytes: false })).code, OK);
  }
  return { rig, digest };
};

t.test('promise = exists: the word of the upstream is enough', { buffered: true }, async (t) => {
  const rig = await startRig(t, { ...LIMITS, 'bazel.promise': 'exists' });
  const { upstream, client } = rig;
  const digest = upstream.cache.add(seededBytes('exists', 5_000));
  upstream.cache.addResult(action.hash, { outputFiles: [{ path: 'a', digest: wireDigest(digest) }] });
  checkHit(t, await client.getActionResult(action), 'it is there');
  t.equal(upstream.callsOf('Read').length, 0, 'nothing was read');
  await rig.end();

  const lacking = await startRig(t, { ...LIMITS, 'bazel.promise': 'exists' });
  lacking.upstream.cache.addResult(action.hash, { outputFiles: [{ path: 'a', digest: wireDigest(digest) }] });
  checkMiss(t, await lacking.client.getActionResult(action), 'it is not');
  lacking.upstream.script('FindMissingBlobs', saysPresent());
  checkHit(t, await lacking.client.getActionResult(action), 'it is said to be');
  await lacking.end();
});

t.test('an upstream that fails', { buffered: true }, async (t) => {
  const rig = await startRig(t, LIMITS);
  added(rig);
  const { upstream, client } = rig;
  checkHit(t, await client.getActionResult(action), 'while all is well');
  upstream.script('GetActionResult', fail(status.UNKNOWN));
  checkHit(t, await client.getActionResult(action), 'the record, with everything held');
  upstream.script('GetActionResult');
  upstream.cache.removeResult(action.hash);
  checkHit(t, await client.getActionResult(action), 'the same where it has lost the result');
  await rig.end();

  const cold = await startRig(t, LIMITS);
  added(cold);
  cold.upstream.script('GetActionResult', fail(status.UNKNOWN));
  checkMiss(t, await cold.client.getActionResult(action), 'without a record');
  await cold.end();
});

t.test('a result is asked for once in a while', { buffered: true }, async (t) => {
  const rig = await startRig(t, { 'records.freshActions': '60s' });
  added(rig);
  for (let asks = 0; asks < 3; asks += 1) checkHit(t, await rig.client.getActionResult(action), `${asks}`);
  t.equal(rig.upstream.callsOf('GetActionResult').length, 1);
  await rig.end();
});

t.test('with nothing behind', { buffered: true }, async (t) => {
  const { client, end } = await startOwn(t);
  const { blobs, result } = made;
  const sent = withUnknown(result);
  checkMiss(t, await client.getActionResult(action), 'before');
  t.equal((await client.updateActionResult(action, sent)).code, OK, 'accepted, though nothing of it is here');
  for (const name of NAMES) {
    checkMiss(t, await client.getActionResult(action), `without ${name}`);
    t.equal((await client.write(digestOf(blobs[name]), [blobs[name]])).code, OK);
  }
  const { code, response } = await client.getActionResult(action);
  t.equal(code, OK, 'it stands');
  t.same(response && toBinary(ActionResultSchema, response), toBinary(ActionResultSchema, sent));
  checkMiss(t, await client.getActionResult(action, { instance: 'another' }), 'at another instance');
  await end();
});

t.test('an update that the upstream took is answered at once', { buffered: true }, async (t) => {
  const rig = await startRig(t);
  const { blobs, result } = made;
  for (const bytes of Object.values(blobs))
    t.equal((await rig.client.batchUpdate([{ digest: digestOf(bytes), data: bytes }])).code, OK);
  const sent = withUnknown(result);
  t.equal((await rig.client.updateActionResult(action, sent)).code, OK);
  const upstreams = rig.upstream.cache.result(action.hash);
  t.same(
    upstreams && toBinary(ActionResultSchema, upstreams),
    toBinary(ActionResultSchema, sent),
    'unknown fields pass',
  );
  checkHit(t, await rig.client.getActionResult(action), 'from what was kept');
  t.equal(rig.upstream.callsOf('Read').length, 0);
  await rig.end();
});

t.test('a batch item with its status unset is fine', { buffered: true }, async (t) => {
  const rig = await startRig(t);
  const bytes = seededBytes('unset', 5_000);
  rig.upstream.script('BatchUpdateBlobs', itemStatus(null));
  t.equal((await rig.client.batchUpdate([{ digest: digestOf(bytes), data: bytes }])).code, OK);
  await rig.end();
});
