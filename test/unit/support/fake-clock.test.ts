// The fake clock runs what is due, in order, and nothing else.

import t from 'tap';
import { pause } from '../../../src/core/clock.ts';
import { FakeClock } from '../../support/fake-clock.ts';

t.test('timers run in the order in which they are due', async (t) => {
  const clock = new FakeClock(1000);
  const ran: string[] = [];
  const note = (name: string) => () => ran.push(`${name} at ${clock.monotonic()}`);
  clock.after(30, note('late'));
  clock.after(10, note('early'));
  clock.after(10, note('early too'));
  const cancelled = clock.after(10, note('never'));
  cancelled.cancel();
  t.equal(clock.armed, 3);
  t.equal(clock.nextInMs, 10);
  await clock.advance(9);
  t.strictSame(ran, []);
  await clock.advance(1);
  t.strictSame(ran, ['early at 10', 'early too at 10']);
  clock.advanceNow(100);
  t.strictSame(ran.at(-1), 'late at 30');
  t.equal(clock.monotonic(), 110);
  t.equal(clock.now(), 1110);
  t.equal(clock.nextInMs, null);
});

t.test('what is armed on the way runs on the way', async (t) => {
  const clock = new FakeClock();
  let rounds = 0;
  const loop = async () => {
    while (rounds < 5) {
      await pause(clock, 100);
      rounds++;
    }
  };
  const looping = loop();
  await clock.advance(499);
  t.equal(rounds, 4);
  await clock.advance(1);
  await looping;
  t.equal(rounds, 5);
  t.equal(clock.armed, 0);
});

t.test('a test can wait until the code waits', async (t) => {
  const clock = new FakeClock();
  let isDone = false;
  const work = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    await pause(clock, 50);
    isDone = true;
  };
  const working = work();
  await clock.untilArmed();
  await clock.advance(50);
  await working;
  t.ok(isDone);
  clock.after(1, () => {});
  await clock.untilArmed();
});

t.test('a jump of the wall moves no timer', async (t) => {
  const clock = new FakeClock(5000);
  let ran = false;
  clock.after(10, () => {
    ran = true;
  });
  clock.jumpWall(-4000);
  t.equal(clock.now(), 1000);
  t.equal(clock.monotonic(), 0);
  await clock.advance(10);
  t.ok(ran);
  t.equal(clock.now(), 1010);
});
