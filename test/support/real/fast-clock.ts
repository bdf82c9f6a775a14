// A clock that runs faster than the world by a whole factor: minutes of a house's own patience pass in seconds of a test's.

import { type Clock, systemClock } from '../../../src/core/clock.ts';

/** Every limit, pause and age is scaled alike, so what holds in its minute holds in a real one. Clients are not scaled. */
export const fastClock = (times: number): Clock => {
  const startedAt = systemClock.now();
  return {
    now: () => startedAt + (systemClock.now() - startedAt) * times,
    monotonic: () => systemClock.monotonic() * times,
    after: (ms, action) => systemClock.after(ms / times, action),
  };
};
