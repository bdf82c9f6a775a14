// When rounds are run, what brings them forward, and who hears of it: on a clock that the test moves.

import t, { type Test } from 'tap';
import type { Answer, Operation, Outcome } from '../../../src/health/answer.ts';
import { initialState } from '../../../src/health/machine.ts';
import type { Round } from '../../../src/health/round.ts';
import type { MachineState } from '../../../src/health/state.ts';
import { HealthWatch } from '../../../src/health/watch.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const answer = (operation: Operation, outcome: Outcome, code: string | null = null): Answer => ({
  operation,
  bucket: operation === 'list-buckets' ? null : 'nix',
  at: 0,
  ms: 1,
  status: outcome.kind === 'refused' ? 404 : 200,
  code,
  requestId: null,
  contentType: null,
  asksToRetryLater: false,
  outcome,
});

const well: Outcome = { kind: 'well' };
const refused: Outcome = { kind: 'refused' };

const round = (buckets: string[], get: Answer): Round => ({
  list: answer('list-buckets', { kind: 'listed', buckets, isWhole: true }),
  buckets: [
    {
      bucket: 'nix',
      head: answer('head-bucket', buckets.length > 0 ? well : refused),
      headCanary: answer('head-canary', buckets.length > 0 ? well : refused),
      getCanary: get,
    },
  ],
  readiness: { word: 'unknown', version: null, answer: null },
  markers: null,
});

const good = round(['nix'], answer('get-canary', { kind: 'canary', storeId: 's' }));
const lost = round([], answer('get-canary', refused, 'NoSuchBucket'));
const bare = round(['nix'], answer('get-canary', refused, 'NoSuchKey'));
const slow = round(['nix'], answer('get-canary', { kind: 'late' }));

const landed = [answer('put-proof', well), answer('get-proof', well)];
const hung = [answer('put-proof', { kind: 'late' })];

const rig = (t: Test, { intervalMs = 5_000, mayWrite = true, random = 0, tookMs = 0, round: first = good } = {}) => {
  const clock = new FakeClock();
  const warnings: string[] = [];
  const script = {
    round: first,
    proof: landed as readonly Answer[],
    looks: [] as number[],
    proofs: [] as number[],
    tookMs,
  };
  const watch = new HealthWatch(
    {
      clock,
      look() {
        script.looks.push(clock.monotonic());
        if (script.tookMs === 0) return Promise.resolve(script.round);
        return new Promise((resolve) => clock.after(script.tookMs, () => resolve(script.round)));
      },
      proveWrite() {
        script.proofs.push(clock.monotonic());
        return Promise.resolve(script.proof);
      },
      mayWrite: () => mayWrite,
      random: () => random,
      log: { warn: (_fields, message) => warnings.push(message) },
    },
    initialState(clock.now()),
    intervalMs,
  );
  t.teardown(async () => {
    const closed = watch.close();
    await clock.advance(60_000); // The round under way.
    await closed;
  });
  watch.start();
  return { clock, watch, script, warnings };
};

/** The time between the last looks. */
const gaps = (looks: readonly number[]): number[] => looks.slice(1).map((at, index) => at - (looks[index] ?? 0));

t.test('rounds come every five seconds, jittered, every second in doubt, every two while down', async (t) => {
  const { clock, watch, script } = rig(t);
  await clock.advance(20_500);
  t.equal(watch.current.state, 'green');
  t.same(gaps(script.looks), [5_000, 5_000, 5_000, 5_000]);
  script.round = slow;
  await clock.advance(5_000);
  t.equal(watch.current.state, 'doubtful');
  await clock.advance(2_000);
  t.equal(watch.current.state, 'red');
  t.same(gaps(script.looks).slice(-3), [5_000, 1_000, 1_000]);
  await clock.advance(4_000);
  t.same(gaps(script.looks).slice(-2), [2_000, 2_000]);
  for (const [random, gap] of [
    [0, 5_000],
    [0.999_999, 4_000],
  ] as const) {
    const other = rig(t, { random });
    await other.clock.advance(20_000);
    t.match(Math.round(gaps(other.script.looks).at(-1) ?? 0), gap);
  }
});

t.test('one round at a time', async (t) => {
  const { clock, watch, script } = rig(t, { tookMs: 4_000 });
  await clock.advance(100);
  for (let time = 0; time < 10; time++) watch.bringForward();
  await clock.advance(7_400);
  t.same(gaps(script.looks), [4_000], 'what is brought forward during a round comes after it');
});

t.test('signs bring a round forward, once a second', async (t) => {
  const { clock, watch, script } = rig(t);
  await clock.advance(12_000);
  watch.bringForward();
  await clock.advance(1);
  t.equal(script.looks.at(-1), 12_000);
  for (let time = 0; time < 20; time++) {
    watch.bringForward();
    await clock.advance(100);
  }
  t.same(gaps(script.looks).slice(-2), [1_000, 1_000]);
  const probed = watch.probeNow();
  const before = script.looks.length;
  await clock.advance(1_000);
  await probed;
  t.equal(script.looks.length, before + 1);
});

t.test('a NoSuchBucket of real traffic is evidence, and the next round confirms it', async (t) => {
  const { clock, watch, script } = rig(t);
  await clock.advance(3_000);
  script.round = lost;
  const row = {
    at: clock.now(),
    bucket: 'nix',
    operation: 'GET',
    status: 404,
    code: 'NoSuchBucket',
    requestId: null,
    ms: 3,
  };
  const told = watch.noSuchBucket(row);
  t.equal(watch.current.state, 'doubtful');
  await told;
  await clock.advance(10);
  t.match(watch.current, { state: 'red', incident: { class: 'INDEX_LOST_SUSPECTED', isLatching: true } });
});

t.test('listeners hear at once, and the next round waits for them', async (t) => {
  const { clock, watch, script, warnings } = rig(t);
  const heard: [MachineState['state'], MachineState['state'], MachineState['state']][] = [];
  let persist = () => {};
  watch.onChange((before, after) => {
    heard.push([before.state, after.state, watch.current.state]);
    if (after.state === 'red') return new Promise((resolve) => (persist = resolve));
    if (after.state === 'doubtful') throw new Error('a disk that is full');
    return;
  });
  const changed = watch.changed();
  await clock.advance(1);
  await changed;
  t.same(heard, [['unknown', 'green', 'green']]);
  script.round = lost;
  await clock.advance(6_100);
  t.same(heard.slice(1), [
    ['green', 'doubtful', 'doubtful'],
    ['doubtful', 'red', 'red'],
  ]);
  t.match(warnings, ['A change of health was not heard']);
  const looks = script.looks.length;
  await clock.advance(10_000);
  t.equal(script.looks.length, looks, 'no round until it is on disk');
  persist();
  await clock.advance(2_000);
  t.ok(script.looks.length > looks);
  t.equal(heard.length, 3, 'rounds that change nothing are not told');
  const over = new AbortController();
  const waiting = watch.changed(over.signal);
  over.abort();
  await waiting;
  await watch.changed(AbortSignal.abort());
});

t.test('a round that does not end makes unknown', async (t) => {
  const { clock, watch, script } = rig(t);
  await clock.advance(1_000);
  t.ok(watch.isFresh);
  script.tookMs = 60_000;
  await clock.advance(27_000);
  t.equal(watch.current.state, 'unknown');
  t.notOk(watch.isFresh);
  script.tookMs = 0;
  await clock.advance(40_000);
  t.equal(watch.current.state, 'green');
});

t.test('an interval too long for the freshness of a state is cut', async (t) => {
  const { clock, watch, script } = rig(t, { intervalMs: 600_000 });
  await clock.advance(60_000);
  t.equal(watch.current.state, 'green');
  t.same(gaps(script.looks).slice(0, 2), [10_000, 10_000]);
});

t.test('writes are proven while recovering, once the reads have been well for thirty seconds', async (t) => {
  const { clock, watch, script } = rig(t);
  await clock.advance(1_000);
  script.round = lost;
  await clock.advance(7_000);
  t.equal(watch.current.state, 'red');
  script.round = good;
  const at = clock.monotonic();
  await clock.advance(29_000);
  t.equal(watch.current.state, 'recovering');
  t.same(script.proofs, []);
  await clock.advance(6_000);
  t.equal(watch.current.state, 'latched');
  t.equal(script.proofs.length, 1);
  t.ok((script.proofs[0] ?? 0) - at >= 30_000);
  const id = watch.current.incident?.id ?? '';
  t.equal((await watch.apply({ kind: 'ack', id, note: 'seen', by: 'op' })).state, 'green');
});

t.test('a proof that hangs is not followed by another for 35 s: two at once are what breaks RustFS', async (t) => {
  const { clock, watch, script } = rig(t);
  await clock.advance(1_000);
  script.round = lost;
  await clock.advance(7_000);
  script.round = good;
  script.proof = hung;
  await clock.advance(300_000);
  t.not(watch.current.state, 'latched');
  t.ok(script.proofs.length > 2);
  t.ok(
    gaps(script.proofs).every((gap) => gap >= 35_000),
    `${gaps(script.proofs)}`,
  );
  script.proof = landed;
  await clock.advance(80_000);
  t.equal(watch.current.state, 'latched');
});

t.test('while all is well a write is proven every fifteen minutes, and stalled writes turn red', async (t) => {
  const { clock, watch, script } = rig(t);
  await clock.advance(3_700_000);
  t.equal(script.proofs.length, 4);
  script.proof = hung;
  await clock.advance(810_000);
  t.equal(watch.current.state, 'doubtful', 'one failed proof is a blip');
  await clock.advance(80_000);
  t.match(watch.current, { class: 'SLOW', incident: { isLatching: false, recoveredAt: null } });
  const quiet = rig(t, { mayWrite: false });
  await quiet.clock.advance(3_700_000);
  t.same(quiet.script.proofs, [], 'not under a quarantine');
});

t.test('a bucket without a canary is said once', async (t) => {
  const { clock, watch, script, warnings } = rig(t, { round: bare });
  await clock.advance(30_000);
  t.equal(watch.current.state, 'green');
  t.match(warnings, [/canary init/]);
  script.round = good;
  await clock.advance(10_000);
  script.round = bare;
  await clock.advance(10_000);
  t.match(watch.current, { state: 'red', class: 'CANARY_LOST' }, 'and one that was seen and is gone is another thing');
  t.equal(warnings.length, 1);
});

t.test('closing', async (t) => {
  const { clock, watch, script } = rig(t, { tookMs: 2_000 });
  await clock.advance(100);
  const asked = watch.probeNow();
  const closed = watch.close();
  script.round = lost;
  await clock.advance(2_000);
  await Promise.all([closed, asked]);
  t.equal(watch.current.state, 'unknown', 'a round that was cut short counts for nothing');
  t.equal(clock.armed, 0);
  await watch.probeNow();
  await watch.close();
});
