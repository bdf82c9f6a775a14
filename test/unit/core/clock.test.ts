// A pause ends with its time or its signal, whichever comes first, and leaves neither timer nor listener behind.

import { getEventListeners } from 'node:events';
import t from 'tap';
import { pause, systemClock } from '../../../src/core/clock.ts';
import { FakeClock } from '../../support/fake-clock.ts';

t.test('it ends when its time is up', async (t) => {
  const clock = new FakeClock();
  const { signal } = new AbortController();
  let isOver = false;
  const paused = pause(clock, 100, signal).then(() => {
    isOver = true;
  });
  await clock.advance(99);
  t.equal(isOver, false);
  await clock.advance(1);
  await paused;
  t.same(getEventListeners(signal, 'abort'), [], 'and lets go of the signal');
});

t.test('it ends at once when it is aborted', async (t) => {
  const clock = new FakeClock();
  const abort = new AbortController();
  const paused = pause(clock, 100, abort.signal);
  abort.abort();
  await paused;
  t.equal(clock.armed, 0, 'no timer is left');
  t.same(getEventListeners(abort.signal, 'abort'), []);
});

t.test('it does not begin when it was aborted before', async (t) => {
  const clock = new FakeClock();
  await pause(clock, 100, AbortSignal.abort());
  t.equal(clock.armed, 0);
});

t.test('without a signal there is only the time', async () => {
  const clock = new FakeClock();
  const paused = pause(clock, 1);
  await clock.advance(1);
  await paused;
});

t.test('the clock of the system', async (t) => {
  const before = systemClock.monotonic();
  await new Promise<void>((resolve) => {
    const alive = setInterval(() => {}, 1_000);
    systemClock.after(5, () => {
      clearInterval(alive);
      resolve();
    });
  });
  // Node's timers may come up to a millisecond early by the monotonic clock.
  t.ok(systemClock.monotonic() - before >= 4);
  t.ok(Math.abs(systemClock.now() - Date.now()) < 1_000);
  systemClock.after(0, () => t.fail('a cancelled timer never runs')).cancel();
  await new Promise((resolve) => setTimeout(resolve, 2));
});
