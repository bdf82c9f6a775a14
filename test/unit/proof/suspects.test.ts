// What was refuted stays a miss, tried again ever more rarely, and never takes more than its share of memory.

import t from 'tap';
import type { Claim } from '../../../src/core/claim.ts';
import type { Refuted } from '../../../src/core/verdict.ts';
import { Suspects } from '../../../src/proof/suspects.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const refuted: Refuted = { kind: 'refuted', reason: 'hash', atByte: 5, found: { sha256: null, sizeBytes: 5 } };

const claim = (path = 'a', change: Partial<Claim> = {}): Claim => ({
  digest: { sha256: '0'.repeat(64), sizeBytes: 5 },
  encoding: 'zstd',
  place: { tenant: 'lab', path },
  ...change,
});

const opened = () => {
  const clock = new FakeClock();
  return { clock, suspects: new Suspects(clock) };
};

t.test('a suspect is found for a minute, then tried again', async (t) => {
  const { clock, suspects } = opened();
  t.equal(suspects.find(claim()), undefined);
  suspects.add(claim(), refuted);
  t.match(suspects.find(claim()), { claim: claim(), refuted, since: clock.now() });
  t.equal(suspects.open, 1);
  await clock.advance(59_999);
  t.ok(suspects.find(claim()));
  await clock.advance(1);
  t.equal(suspects.find(claim()), undefined, 'due');
  t.equal(suspects.open, 1, 'and open until it is proven');
});

t.test('the pauses double, up to an hour; the first sighting stays', async (t) => {
  const { clock, suspects } = opened();
  const since = clock.now();
  for (const minutes of [1, 2, 4, 8, 16, 32, 60, 60, 60]) {
    suspects.add(claim(), refuted);
    await clock.advance(minutes * 60_000 - 1);
    t.equal(suspects.find(claim())?.since, since, `${minutes} minutes`);
    await clock.advance(1);
    t.equal(suspects.find(claim()), undefined, `after ${minutes} minutes`);
  }
});

t.test('a wall that jumps changes no pause', async (t) => {
  const { clock, suspects } = opened();
  suspects.add(claim(), refuted);
  clock.jumpWall(86_400_000);
  t.ok(suspects.find(claim()));
});

t.test('another place, digest or encoding is another claim', (t) => {
  const { suspects } = opened();
  suspects.add(claim(), refuted);
  const others: { reason: string; other: Claim }[] = [
    { reason: 'path', other: claim('b') },
    { reason: 'tenant', other: claim('a', { place: { tenant: 'other', path: 'a' } }) },
    { reason: 'hash', other: claim('a', { digest: { sha256: '1'.repeat(64), sizeBytes: 5 } }) },
    { reason: 'size', other: claim('a', { digest: { sha256: '0'.repeat(64), sizeBytes: 6 } }) },
    { reason: 'encoding', other: claim('a', { encoding: 'xz' }) },
  ];
  for (const { reason, other } of others) t.equal(suspects.find(other), undefined, reason);
  t.end();
});

t.test('proven, it is none, and the next pause is the first again', async (t) => {
  const { clock, suspects } = opened();
  suspects.add(claim(), refuted);
  suspects.add(claim(), refuted);
  suspects.clear(claim());
  t.equal(suspects.find(claim()), undefined);
  t.equal(suspects.open, 0);
  t.equal(suspects.isDoubted(claim()), false);
  suspects.add(claim(), refuted);
  await clock.advance(60_000);
  t.equal(suspects.find(claim()), undefined);
});

t.test('one refutation is a doubt, the next a proof', (t) => {
  const { suspects } = opened();
  t.equal(suspects.isDoubted(claim()), false);
  t.equal(suspects.isRefutedAgain(claim()), false);
  t.equal(suspects.isDoubted(claim()), true);
  t.equal(suspects.find(claim()), undefined, 'a doubt is no suspect');
  t.equal(suspects.open, 0);
  t.equal(suspects.isRefutedAgain(claim('b')), false);
  t.equal(suspects.isRefutedAgain(claim()), true);
  suspects.add(claim('c'), refuted);
  t.equal(suspects.isDoubted(claim('c')), true, 'a suspect that is tried again is doubted as well');
  t.equal(suspects.isRefutedAgain(claim('c')), true);
  t.end();
});

const shorts: {
  reason: string;
  seen: ReadonlyArray<readonly [atByte: number, afterMs: number]>;
  again: readonly boolean[];
}[] = [
  { reason: 'once', seen: [[10, 0]], again: [false] },
  {
    reason: 'twice at once',
    seen: [
      [10, 0],
      [10, 1_000],
    ],
    again: [false, false],
  },
  {
    reason: 'twice, a minute apart',
    seen: [
      [10, 0],
      [10, 60_000],
    ],
    again: [false, true],
  },
  {
    reason: 'the minute counts from the first',
    seen: [
      [10, 0],
      [10, 30_000],
      [10, 30_000],
    ],
    again: [false, false, true],
  },
  {
    reason: 'at another byte',
    seen: [
      [10, 0],
      [11, 60_000],
    ],
    again: [false, false],
  },
  {
    reason: 'at another byte between',
    seen: [
      [10, 0],
      [11, 60_000],
      [10, 60_000],
    ],
    again: [false, false, false],
  },
  {
    reason: 'and again at that',
    seen: [
      [10, 0],
      [11, 60_000],
      [11, 60_000],
    ],
    again: [false, false, true],
  },
];
for (const { reason, seen, again } of shorts)
  t.test(`short ${reason}`, async (t) => {
    const { clock, suspects } = opened();
    for (const [index, [atByte, afterMs]] of seen.entries()) {
      await clock.advance(afterMs);
      t.equal(suspects.isShortAgain(claim(), atByte), again[index]);
    }
    suspects.clear(claim());
    await clock.advance(60_000);
    t.equal(suspects.isShortAgain(claim(), seen.at(-1)?.[0] ?? 0), false, 'proven once, it begins anew');
  });

t.test('bounded', (t) => {
  const { suspects } = opened();
  for (let index = 0; index < 10_500; index += 1) {
    suspects.add(claim(`suspect ${index}`), refuted);
    suspects.isRefutedAgain(claim(`doubt ${index}`));
    suspects.isShortAgain(claim(`short ${index}`), 1);
  }
  t.equal(suspects.open, 10_000);
  t.equal(suspects.find(claim('suspect 0')), undefined, 'the longest unused went');
  t.ok(suspects.find(claim('suspect 10499')));
  t.equal(suspects.isDoubted(claim('doubt 0')), false);
  t.end();
});
