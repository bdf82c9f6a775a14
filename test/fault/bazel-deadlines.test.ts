// An upstream that hangs, wherever it does: every call of the Bazel front ends before its client gives up, with a code that none tries again.

import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import type { BlobDigest } from '../../src/bazel/batch-envelope.ts';
import type { Clock } from '../../src/core/clock.ts';
import { aheadClock, hurriedClock, seenAs } from '../support/deadline-clocks.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { hang, stall } from '../support/reapi/behaviours.ts';
import { digestOf, directoryBytes, wireDigest } from '../support/reapi/cache.ts';
import type { ReapiMethod } from '../support/reapi/call.ts';
import { type ReapiRig, startRig } from '../support/reapi-rig.ts';
import { checkRead, ENCODINGS } from '../support/reapi-verdict.ts';
import { seededBytes } from '../support/seeded.ts';

const { OK, NOT_FOUND, FAILED_PRECONDITION } = status;
const SENTENCE = /^cleanmiss: the cache behind cannot take writes now/;

/** The deadline alone is what ends a wait. */
const PATIENT = {
  'upstream.firstByte': '1h',
  'upstream.idle': '1h',
  'bazel.prove': '1h',
  'records.freshActions': '0s',
  'fills.perClient': '64',
};

const small = seededBytes('small', 20_000);
/** Three frames: the first leaves as the second is whole. */
const large = seededBytes('large', 2_500_000);
const fine = seededBytes('fine', 20_000);
const directory = directoryBytes({ files: [{ name: 'a', digest: wireDigest(digestOf(small)) }] });
const action = digestOf(Buffer.from('an action'));
const unheard = digestOf(Buffer.from('unheard of'));

interface Cell {
  readonly call: string;
  /** What hangs: all calls of a method, or those that name a blob. */
  readonly hangs: readonly (readonly [ReapiMethod, BlobDigest | null, number?])[];
  /** Also those that find out who may read. */
  readonly isAccessAsked?: true;
  readonly code: number;
  ask(rig: ReapiRig, deadline: { readonly deadlineMs?: number }): Promise<{ code: number; details: string }>;
}

const readOf =
  (digest: BlobDigest): Cell['ask'] =>
  ({ client }, deadline) =>
    client.read(digest, deadline);

const CELLS: readonly Cell[] = [
  { call: 'Read', hangs: [['Read', digestOf(small)]], code: NOT_FOUND, ask: readOf(digestOf(small)) },
  {
    call: 'Read, while nobody says who may',
    hangs: [['FindMissingBlobs', null]],
    isAccessAsked: true,
    code: NOT_FOUND,
    ask: readOf(digestOf(small)),
  },
  {
    call: 'GetTree',
    hangs: [['Read', digestOf(directory)]],
    code: NOT_FOUND,
    ask: ({ client }, deadline) => client.getTree(digestOf(directory), deadline),
  },
  {
    call: 'GetTree, while nobody says who may',
    hangs: [['FindMissingBlobs', null]],
    isAccessAsked: true,
    code: NOT_FOUND,
    ask: ({ client }, deadline) => client.getTree(digestOf(directory), deadline),
  },
  {
    call: 'GetActionResult',
    hangs: [['GetActionResult', null]],
    code: NOT_FOUND,
    ask: ({ client }, deadline) => client.getActionResult(action, deadline),
  },
  {
    call: 'GetActionResult, with a blob that hangs',
    hangs: [['Read', digestOf(small)]],
    code: NOT_FOUND,
    ask: ({ client }, deadline) => client.getActionResult(action, deadline),
  },
  {
    call: 'FindMissingBlobs',
    hangs: [['FindMissingBlobs', unheard]],
    code: FAILED_PRECONDITION,
    ask: ({ client }, deadline) => client.findMissing([unheard], deadline),
  },
  {
    call: 'FindMissingBlobs, while nobody says who may',
    hangs: [['FindMissingBlobs', null]],
    isAccessAsked: true,
    code: FAILED_PRECONDITION,
    ask: ({ client }, deadline) => client.findMissing([unheard], deadline),
  },
  {
    call: 'Write, not taken',
    hangs: [['Write', null]],
    code: FAILED_PRECONDITION,
    ask: ({ client }, deadline) =>
      client.write(digestOf(fine), [fine.subarray(0, 9_000), fine.subarray(9_000)], deadline),
  },
  {
    call: 'Write, not gone on with',
    hangs: [],
    code: FAILED_PRECONDITION,
    ask: ({ client }, deadline) =>
      client.write(digestOf(fine), [fine.subarray(0, 9_000)], { ...deadline, finishes: false, halfCloses: false }),
  },
  {
    call: 'BatchUpdateBlobs',
    hangs: [['BatchUpdateBlobs', null]],
    code: FAILED_PRECONDITION,
    ask: ({ client }, deadline) => client.batchUpdate([{ digest: digestOf(fine), data: fine }], deadline),
  },
  {
    call: 'UpdateActionResult',
    hangs: [['UpdateActionResult', null]],
    code: FAILED_PRECONDITION,
    ask: ({ client }, deadline) => client.updateActionResult(action, {}, deadline),
  },
];

const opened = async (t: Test, { hangs, isAccessAsked }: Omit<Cell, 'call' | 'code' | 'ask'>, clock: Clock) => {
  const rig = await startRig(t, PATIENT, { clock });
  for (const bytes of [small, large, fine, directory]) rig.upstream.cache.add(bytes);
  rig.upstream.cache.addResult(action.hash, { outputFiles: [{ path: 'a', digest: wireDigest(digestOf(small)) }] });
  // What a busy machine takes to connect is none of what is waited for.
  t.equal((await rig.client.getCapabilities()).code, OK);
  if (isAccessAsked !== true) t.equal((await rig.client.findMissing([digestOf(large)])).code, OK);
  for (const [method, digest] of hangs)
    rig.upstream.script(digest === null ? method : { method, hash: digest.hash }, hang());
  return rig;
};

refuseLeaks(t);
// It is all waiting.
t.jobs = 20;

for (const deadlineMs of [1_000, 5_000])
  for (const cell of CELLS)
    t.test(`${cell.call}: ${deadlineMs} ms`, { buffered: true }, async (t) => {
      const rig = await opened(t, cell, aheadClock);
      const startedAt = performance.now();
      const { code, details } = await cell.ask(rig, seenAs(deadlineMs));
      t.equal(code, cell.code, details);
      const tookMs = performance.now() - startedAt;
      t.ok(tookMs < deadlineMs + 4_000, `within ${deadlineMs} ms, and what a busy machine adds: ${tookMs} ms`);
      if (code === FAILED_PRECONDITION) t.match(details, SENTENCE);
      await rig.end();
    });

/** In seconds of the house's, which pass in a twentieth. */
for (const [deadline, patienceMs] of [
  [{ deadlineMs: 60_000 }, 58_000],
  [{}, 50_000],
] as const)
  for (const cell of CELLS)
    t.test(`${cell.call}: ${JSON.stringify(deadline)}`, { buffered: true }, async (t) => {
      const clock = hurriedClock();
      const rig = await opened(t, cell, clock);
      clock.hurry(20);
      const startedAt = clock.monotonic();
      const { code, details } = await cell.ask(rig, deadline);
      t.equal(code, cell.code, details);
      const tookMs = clock.monotonic() - startedAt;
      t.ok(tookMs < patienceMs + 60_000, `within ${patienceMs} ms, and what a busy machine adds: ${tookMs} ms`);
      await rig.end();
    });

for (const encoding of ENCODINGS)
  t.test(`a followed Read that stops in the middle: ${encoding}`, { buffered: true }, async (t) => {
    const rig = await startRig(t, PATIENT, { clock: aheadClock });
    const digest = rig.upstream.cache.add(large);
    rig.upstream.script('Read', stall(-100_000));
    const answer = await rig.client.read(digest, { encoding, ...seenAs(5_000) });
    t.ok(answer.bytes.length > 0, 'some of it has left');
    await checkRead(t, answer, large, { encoding, expected: 'miss', name: 'at the deadline' });
    await rig.end();
  });

t.test('a batch of which one blob hangs: the other is there', { buffered: true }, async (t) => {
  const rig = await startRig(t, PATIENT, { clock: aheadClock });
  const digests = [small, fine].map((bytes) => rig.upstream.cache.add(bytes));
  rig.upstream.script({ method: 'Read', hash: digestOf(small).hash }, hang());
  const { code, details, response } = await rig.client.batchRead(digests, seenAs(5_000));
  t.equal(code, OK, details);
  t.same(
    response?.responses.map((item) => [item.status?.code ?? OK, item.data.length]),
    [
      [NOT_FOUND, 0],
      [OK, fine.length],
    ],
  );
  await rig.end();
});

t.test('what hangs is not begun twice, and answers the next', { buffered: true }, async (t) => {
  const rig = await startRig(t, PATIENT, { clock: aheadClock });
  const digest = rig.upstream.cache.add(small);
  const { promise, resolve } = Promise.withResolvers<void>();
  rig.upstream.script('Read', stall('before', promise));
  t.equal((await rig.client.read(digest, seenAs(500))).code, NOT_FOUND);
  t.equal((await rig.client.read(digest, seenAs(500))).code, NOT_FOUND);
  resolve();
  await rig.upstream.idle();
  t.ok((await rig.client.read(digest)).bytes.equals(small));
  t.equal(rig.upstream.callsOf('Read').length, 1);
  await rig.end();
});

t.test('capabilities wait for nobody', { buffered: true }, async (t) => {
  const rig = await startRig(t, PATIENT);
  rig.upstream.script(() => true, hang());
  const { code, response } = await rig.client.getCapabilities({ deadlineMs: 30_000 });
  t.equal(code, OK);
  t.equal(response?.cacheCapabilities?.actionCacheUpdateCapabilities?.updateEnabled, true);
  t.equal(rig.upstream.calls.length, 0);
  await rig.end();
});
