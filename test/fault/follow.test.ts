// Past the release budget a moving fill is followed: bytes leave early, the end only with a good verdict, else a reset and misses.

import t, { type Test } from 'tap';
import { type CacheObject, makeObject } from '../support/cache-object.ts';
import { status } from '../support/faults/answer.ts';
import { flip, tooLong } from '../support/faults/content.ts';
import { cutAfter, holdAfter, holdBefore, stallAfter } from '../support/faults/transfer.ts';
import { afterFirst, type Fault, once } from '../support/faults/when.ts';
import { startHouse, type TestHouse } from '../support/house.ts';
import type { Answer } from '../support/http-answer.ts';
import { get } from '../support/http-client.ts';
import type { RequestOptions } from '../support/http-connection.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { lazyNar } from '../support/nar.ts';
import { type ScriptedUpstream, startUpstream } from '../support/scripted-upstream.ts';

refuseLeaks(t);
// The time goes into waiting for budgets.
t.jobs = 4;

const TAIL = 64 * 1024;
const SIZE = 1_500_000;
const HELD_AT = 1_000_000;

/** The budget is over while the upstream holds the body back, and long before anything else is. */
const FLAGS = { 'release.budget': '700ms', 'upstream.firstByte': '10s', 'upstream.idle': '10s' };

const plain = await makeObject({ seed: 'follow-plain', kind: 'none', sizeBytes: SIZE });
const zstd = await makeObject({ seed: 'follow-zstd', kind: 'zstd-many', sizeBytes: 2 * SIZE });

interface Opened {
  readonly house: TestHouse;
  readonly upstream: ScriptedUpstream;
  readonly nar: string;
  readonly url: string;
  /** Lets the upstream go on. */
  readonly release: () => void;
  ask(options?: RequestOptions): Promise<Answer>;
}

/** An upstream that sends `heldAt` bytes and then waits; what else it does is up to `faults`. */
const opened = async (
  t: Test,
  object: CacheObject,
  {
    faults = [],
    flags = {},
    heldAt = HELD_AT,
  }: { faults?: readonly Fault[]; flags?: Record<string, string>; heldAt?: number } = {},
): Promise<Opened> => {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, ...FLAGS, ...flags });
  const { nar } = upstream.add(object);
  const { promise, resolve } = Promise.withResolvers<void>();
  upstream.script(nar, ...faults, once(holdAfter(heldAt, promise)));
  const url = `${house.nix}${nar}`;
  return { house, upstream, nar, url, release: resolve, ask: (options) => get(url, options) };
};

/** An ask, and a promise for so many bytes of its answer. */
const asking = ({ ask }: Opened, atLeast: number, options: RequestOptions = {}) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const answer = ask({ ...options, onBytes: (_piece, bytes) => bytes >= atLeast && resolve() });
  return { answer, came: Promise.race([promise, answer.then(() => {})]) };
};

for (const [name, object] of [
  ['identity', plain],
  ['zstd', zstd],
] as const)
  t.test(`${name}: bytes arrive before the end`, { buffered: true }, async (t) => {
    const bytes = object.body.bytes;
    const rig = await opened(t, object);
    let sofar = 0;
    const { answer, came } = asking(rig, HELD_AT - TAIL, {
      onHead: (code, headers) => {
        t.equal(code, 200);
        t.equal(headers['accept-ranges'], 'bytes');
        t.equal(headers['content-length'], undefined, 'nobody knows it yet');
        t.equal(headers['transfer-encoding'], 'chunked');
        t.equal(headers['etag'], undefined);
        t.equal(headers['content-encoding'], undefined);
      },
    });
    await came;
    sofar = rig.upstream.requests.filter(({ path }) => path === rig.nar)[0]?.bodyBytesSent ?? 0;
    t.ok(sofar < bytes.length, 'while the upstream has not sent them all');
    rig.release();
    const { complete, body } = await answer;
    t.ok(complete, 'and it ends well');
    t.ok(body.equals(bytes), 'with the right bytes');
    const hit = await rig.ask({ headers: { range: 'bytes=100-' } });
    t.equal(hit.status, 206, 'it is kept, and can be gone on with');
    t.ok(hit.body.equals(bytes.subarray(100)));
    t.equal(rig.upstream.transfers(rig.nar).total, 1);
  });

const wrong: { reason: string; faults: readonly Fault[] }[] = [
  { reason: 'a bit flipped in the last byte', faults: [flip('last')] },
  { reason: 'a bit flipped in a byte that has left', faults: [flip('middle')] },
  { reason: 'a byte too many', faults: [tooLong(1)] },
  { reason: 'cut for ever', faults: [cutAfter(SIZE - 100_000)] },
  { reason: 'cut, and then an error for ever', faults: [once(cutAfter(SIZE - 100_000)), afterFirst(1, status(500))] },
];
for (const { reason, faults } of wrong)
  t.test(`${reason}: a reset, then clean misses`, { buffered: true }, async (t) => {
    const rig = await opened(t, plain, { faults });
    const { answer, came } = asking(rig, HELD_AT - TAIL);
    await came;
    rig.release();
    const broken = await answer;
    t.equal(broken.status, 200);
    t.equal(broken.complete, false, 'it does not complete');
    t.equal(broken.ended, 'reset', 'nor look as if it did');
    t.ok(broken.bodyBytes <= SIZE - TAIL, 'the tail was withheld');
    const range = { headers: { range: `bytes=${broken.bodyBytes}-` } };
    t.equal((await rig.ask(range)).status, 404, 'its Range retry is a miss');
    t.equal((await rig.ask()).status, 404, 'a plain retry as well');
    await rig.upstream.idle();
    t.equal((await rig.ask()).status, 404);
    t.equal(rig.upstream.transfers(rig.nar).mostOpen, 1);
  });

t.test(
  'after a refuted follow the next is proven first, and its ranges join nothing',
  { buffered: true },
  async (t) => {
    const rig = await opened(t, plain, { faults: [once(flip('last'))] });
    const { answer, came } = asking(rig, HELD_AT - TAIL);
    await came;
    rig.release();
    t.equal((await answer).ended, 'reset');
    // What follows shares the failure for a moment.
    let again = await rig.ask();
    for (let tries = 0; again.status === 404 && tries < 50; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      again = await rig.ask();
    }
    t.equal(again.status, 200, 'one bad fetch does not condemn it');
    t.equal(again.headers['content-length'], String(SIZE), 'and it was proven before a byte left');
    t.ok(again.body.equals(plain.body.bytes));
    t.equal((await rig.ask({ headers: { range: 'bytes=1000-' } })).status, 404, 'who was cut must begin anew');
  },
);

t.test('a transfer that breaks under a follower', { buffered: true }, async (t) => {
  const rig = await opened(t, plain, { faults: [once(cutAfter(HELD_AT + 1000))] });
  const { answer, came } = asking(rig, HELD_AT - TAIL);
  await came;
  rig.release();
  const { complete, body } = await answer;
  t.ok(complete, 'is gone on with');
  t.ok(body.equals(plain.body.bytes));
  t.equal(rig.upstream.transfers(rig.nar).total, 2);
});

t.test('who is never followed', { buffered: true }, async (t) => {
  const rows: { reason: string; options: RequestOptions }[] = [
    { reason: 'an HTTP/1.0 client, who would take a cut body for a whole one', options: { version: '1.0' } },
    { reason: 'a range, whose form nobody knows yet', options: { headers: { range: 'bytes=0-' } } },
  ];
  for (const { reason, options } of rows) {
    const rig = await opened(t, plain);
    const answer = await rig.ask(options);
    t.equal(answer.status, 404, reason);
    t.ok(answer.ms >= 600, 'at the budget');
    rig.release();
    await rig.upstream.idle();
    t.equal((await rig.ask(options)).status, options.version === undefined ? 206 : 200, 'the fill went on');
    t.equal(rig.upstream.transfers(rig.nar).total, 1);
  }
});

t.test('what does not move is not followed', { buffered: true }, async (t) => {
  const before = Promise.withResolvers<void>();
  const rows: { reason: string; faults: readonly Fault[]; flags: Record<string, string> }[] = [
    { reason: 'nothing came', faults: [holdBefore(before.promise)], flags: {} },
    {
      reason: 'silent for longer than it may be',
      faults: [stallAfter(900_000)],
      flags: { 'upstream.idle': '200ms', 'release.budget': '350ms' },
    },
  ];
  for (const { reason, faults, flags } of rows) {
    const rig = await opened(t, plain, { faults, flags });
    const answer = await rig.ask();
    t.equal(answer.status, 404, reason);
    t.ok(answer.complete);
    rig.release();
  }
  before.resolve();
});

t.test('HEAD of a body that is followed', { buffered: true }, async (t) => {
  const rig = await opened(t, plain);
  const answer = await rig.ask({ method: 'HEAD' });
  t.equal(answer.status, 200);
  t.equal(answer.headers['content-length'], undefined);
  rig.release();
  await rig.upstream.idle();
  t.equal((await rig.ask({ method: 'HEAD' })).headers['content-length'], String(SIZE));
});

t.test('release.follow = never: a miss at the budget, and then a hit', { buffered: true }, async (t) => {
  const rig = await opened(t, plain, { flags: { 'release.follow': 'never' } });
  const late = await rig.ask();
  t.equal(late.status, 404);
  t.ok(late.ms >= 600 && late.complete);
  rig.release();
  await rig.upstream.idle();
  const hit = await rig.ask();
  t.equal(hit.status, 200);
  t.ok(hit.body.equals(plain.body.bytes));
  t.equal(rig.upstream.transfers(rig.nar).total, 1, 'one transfer for both');
});

t.test('release.follow = a size: larger ones are followed from the start', { buffered: true }, async (t) => {
  const flags = { 'release.follow': '1200000', 'release.memory': '64KiB', 'release.budget': '30s' };
  const rig = await opened(t, plain, { flags, heldAt: 300_000 });
  const { answer, came } = asking(rig, 300_000 - TAIL);
  await came;
  rig.release();
  const followed = await answer;
  t.equal(followed.framing, 'chunked');
  t.ok((followed.firstByteMs ?? Number.POSITIVE_INFINITY) < 10_000, 'not at the budget');
  t.ok(followed.complete && followed.body.equals(plain.body.bytes));

  const smaller = await makeObject({ seed: 'smaller', kind: 'none', sizeBytes: 1_000_000 });
  const { nar } = rig.upstream.add(smaller);
  const proven = await get(`${rig.house.nix}${nar}`);
  t.equal(proven.framing, 'length', 'smaller ones are proven first');
  t.ok(proven.complete);
});

t.test('eight followers of one fill, one of whom leaves', { buffered: true }, async (t) => {
  const rig = await opened(t, zstd);
  const leaves = rig.ask({ abortAfterBytes: 300_000 });
  const others = Array.from({ length: 8 }, () => asking(rig, HELD_AT - TAIL));
  await Promise.all(others.map(({ came }) => came));
  t.equal((await leaves).ended, 'aborted');
  rig.release();
  for (const { answer } of others) {
    const { complete, body } = await answer;
    t.ok(complete && body.equals(zstd.body.bytes));
  }
  t.equal(rig.upstream.transfers(rig.nar).total, 1, 'one transfer');
});

t.test('the only follower leaves: the fill goes on', { buffered: true }, async (t) => {
  const rig = await opened(t, plain);
  t.equal((await rig.ask({ abortAfterBytes: 300_000 })).ended, 'aborted');
  rig.release();
  await rig.upstream.idle();
  const hit = await rig.ask();
  t.ok(hit.complete && hit.body.equals(plain.body.bytes));
  t.equal(rig.upstream.transfers(rig.nar).total, 1);
});

t.test('a stalled follower while the fill ends', { buffered: true }, async (t) => {
  // More than any socket buffer of this system takes.
  const large = Buffer.concat([...lazyNar({ seed: 'stalled', sizeBytes: 24 * 1024 * 1024 }).chunks()]);
  const object = await makeObject({ seed: 'stalled', kind: 'none', nar: large });
  const rig = await opened(t, object, { heldAt: 20_000_000 });
  const goOn = Promise.withResolvers<void>();
  const stalled = rig.ask({ stall: { afterBytes: 500_000, until: goOn.promise } });
  const { answer, came } = asking(rig, 20_000_000 - TAIL);
  await came;
  rig.release();
  t.ok((await answer).complete, 'another one has it all');
  t.same(await rig.house.spooled(), [], 'the spool has become the form');
  goOn.resolve();
  const { complete, body } = await stalled;
  t.ok(complete);
  t.ok(body.equals(large), 'and the stalled one gets the same');
});

t.test('stopped under a follower', { buffered: true }, async (t) => {
  const rig = await opened(t, plain, { flags: { 'server.drain': '100ms' } });
  const { answer, came } = asking(rig, HELD_AT - TAIL);
  await came;
  await rig.house.close();
  const broken = await answer;
  t.equal(broken.complete, false);
  t.not(broken.ended, 'clean');
  t.same(await rig.house.spooled(), []);
  rig.release();
});
