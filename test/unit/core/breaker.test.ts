// Three time-outs or refusals in a row open it; open, one request in two seconds goes out; a success closes it.

import t from 'tap';
import { Breaker } from '../../../src/core/breaker.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** `-` a failure, `+` a success, `?` and `!` a request that must be, and must not be, let out; a number passes so many ms. */
type Course = ReadonlyArray<'-' | '+' | '?' | '!' | number>;

const rows: { reason: string; course: Course; state: 'open' | 'closed'; firstByteMs: number }[] = [
  { reason: 'new, it is closed and patient', course: ['?', '?', '?'], state: 'closed', firstByteMs: 15_000 },
  { reason: 'one failure makes it impatient', course: ['-', '?', '?'], state: 'closed', firstByteMs: 3_000 },
  { reason: 'two do not open it', course: ['-', '-', '?'], state: 'closed', firstByteMs: 3_000 },
  { reason: 'three do', course: ['-', '-', '-', '!'], state: 'open', firstByteMs: 3_000 },
  {
    reason: 'a success between them counts',
    course: ['-', '-', '+', '-', '-', '?'],
    state: 'closed',
    firstByteMs: 3_000,
  },
  { reason: 'a success makes it patient', course: ['-', '-', '+'], state: 'closed', firstByteMs: 15_000 },
  { reason: 'time heals nothing', course: ['-', '-', 3_600_000, '-'], state: 'open', firstByteMs: 3_000 },
  { reason: 'no try within two seconds', course: ['-', '-', '-', 1_999, '!'], state: 'open', firstByteMs: 3_000 },
  { reason: 'one try after two', course: ['-', '-', '-', 2_000, '?', '!', '!'], state: 'open', firstByteMs: 3_000 },
  {
    reason: 'and one in each two seconds, whatever became of the last',
    course: ['-', '-', '-', 2_000, '?', 1_999, '!', 1, '?', '-', '!', 2_000, '?', '!'],
    state: 'open',
    firstByteMs: 3_000,
  },
  { reason: 'tries do not add up', course: ['-', '-', '-', 60_000, '?', '!'], state: 'open', firstByteMs: 3_000 },
  {
    reason: 'a success closes it at once',
    course: ['-', '-', '-', '+', '?', '?'],
    state: 'closed',
    firstByteMs: 15_000,
  },
  {
    reason: 'closed by a success, it wants three failures again',
    course: ['-', '-', '-', '+', '-', '-', '?', '-', '!'],
    state: 'open',
    firstByteMs: 3_000,
  },
  {
    reason: 'a try that hangs puts the next one off: who asks one by one would wait out each of them',
    course: ['-', '-', '-', 2_000, '?', 3_000, '-', '!', 1_999, '!', 1, '?'],
    state: 'open',
    firstByteMs: 3_000,
  },
];

for (const { reason, course, state, firstByteMs } of rows)
  t.test(reason, async (t) => {
    const clock = new FakeClock();
    const breaker = new Breaker(clock, 15_000);
    for (const step of course) {
      if (typeof step === 'number') await clock.advance(step);
      else if (step === '-') breaker.failed();
      else if (step === '+') breaker.succeeded();
      else t.equal(breaker.admits(), step === '?', course.join(' '));
    }
    t.equal(breaker.state, state);
    t.equal(breaker.firstByteMs, firstByteMs);
  });

const opened = async () => {
  const clock = new FakeClock();
  const breaker = new Breaker(clock, 15_000);
  for (let count = 0; count < 3; count += 1) breaker.failed();
  await clock.advance(2_000);
  return { clock, breaker };
};

t.test('who comes beside a trial waits for its word', async (t) => {
  const rows: { reason: string; afterMs: number; ends: 'succeeded' | 'failed' | null; closes: boolean }[] = [
    { reason: 'it succeeds', afterMs: 100, ends: 'succeeded', closes: true },
    { reason: 'it fails', afterMs: 100, ends: 'failed', closes: false },
    { reason: 'it says nothing for half a second', afterMs: 500, ends: null, closes: false },
  ];
  for (const { reason, afterMs, ends, closes } of rows) {
    const { clock, breaker } = await opened();
    t.equal(breaker.admits(), true);
    t.equal(breaker.admits(), false);
    const waiting = [breaker.closesSoon(), breaker.closesSoon()];
    await clock.advance(afterMs);
    if (ends !== null) breaker[ends]();
    t.same(await Promise.all(waiting), [closes, closes], reason);
    t.equal(clock.armed, 0, 'no timer is left');
  }
});

t.test('without a trial nobody waits', async (t) => {
  const { breaker, clock } = await opened();
  t.equal(await breaker.closesSoon(), false);
  t.equal(clock.armed, 0);
});

t.test('who was not admitted waits for a young trial, and for nothing else', async (t) => {
  const clock = new FakeClock();
  const breaker = new Breaker(clock, 15_000);
  const open = () => {
    for (let failure = 0; failure < 3; failure += 1) breaker.failed();
  };
  open();
  t.equal(await breaker.closesSoon(), false, 'nothing is under way');
  await clock.advance(2_000);

  t.equal(breaker.admits(), true);
  const failing = breaker.closesSoon();
  breaker.failed();
  t.equal(await failing, false, 'the trial failed');
  t.equal(await breaker.closesSoon(), false, 'and is over');
  await clock.advance(2_000);

  t.equal(breaker.admits(), true);
  const hanging = breaker.closesSoon();
  await clock.advance(500);
  t.equal(await hanging, false, 'the trial hangs');
  t.equal(await breaker.closesSoon(), false, 'and is young no more');
  breaker.succeeded();

  open();
  await clock.advance(2_000);
  t.equal(breaker.admits(), true);
  const succeeding = breaker.closesSoon();
  breaker.succeeded();
  t.equal(await succeeding, true, 'the trial succeeded');
  t.equal(clock.armed, 0);
});
