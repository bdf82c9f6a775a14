// A clock that runs faster than the wall, for limits of many seconds that no flag scales down.

import { type Clock, systemClock } from '../../src/core/clock.ts';

export const fastClock = (times: number): Clock => {
  const start = { now: systemClock.now(), monotonic: systemClock.monotonic() };
  const elapsed = () => (systemClock.monotonic() - start.monotonic) * times;
  return {
    now: () => Math.floor(start.now + elapsed()),
    monotonic: () => start.monotonic + elapsed(),
    // A timer that comes late in a busy process would run before the arrivals of meanwhile: this one lets them go first.
    after: (ms, action) => {
      let isCancelled = false;
      const timer = systemClock.after(ms / times, () => setImmediate(() => isCancelled || action()));
      return {
        cancel: () => {
          isCancelled = true;
          timer.cancel();
        },
      };
    },
  };
};
