// Clocks for a house whose clients have deadlines: a busy machine must not let the client give up before the house does.

import { type Clock, systemClock } from '../../src/core/clock.ts';

const AHEAD_MS = 30_000;

/** A client that waits so long has, by `aheadClock`, `deadlineMs` left. */
export const seenAs = (deadlineMs: number): { readonly deadlineMs: number } => ({ deadlineMs: AHEAD_MS + deadlineMs });

/** Its wall is half a minute ahead of the client's, so that every deadline seems nearer than it is. */
export const aheadClock: Clock = { ...systemClock, now: () => systemClock.now() + AHEAD_MS };

/** Runs with the wall until it is told to run faster: no limit is short while a test prepares. */
export const hurriedClock = (): Clock & { hurry(times: number): void } => {
  let times = 1;
  let since = { real: systemClock.monotonic(), now: systemClock.now(), monotonic: systemClock.monotonic() };
  const elapsed = () => (systemClock.monotonic() - since.real) * times;
  const clock: Clock = {
    now: () => Math.floor(since.now + elapsed()),
    monotonic: () => since.monotonic + elapsed(),
    after: (ms, action) => systemClock.after(ms / times, action),
  };
  return {
    ...clock,
    hurry: (to) => {
      since = { real: systemClock.monotonic(), now: clock.now(), monotonic: clock.monotonic() };
      times = to;
    },
  };
};
