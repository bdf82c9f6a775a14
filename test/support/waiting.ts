// Waits for what a test can see but nobody announces; a bound keeps a failure short.

import { pause, systemClock } from '../../src/core/clock.ts';

/** Resolves as soon as it is true. Rejects after `withinMs`. */
export const until = async (isTrue: () => boolean, withinMs = 5_000): Promise<void> => {
  const giveUpAt = performance.now() + withinMs;
  while (!isTrue()) {
    if (performance.now() > giveUpAt) throw new Error(`not within ${withinMs} ms: ${isTrue}`);
    await pause(systemClock, 2);
  }
};

/** Resolves when the number has stood still for `forMs`. */
export const still = async (value: () => number, forMs = 250): Promise<void> => {
  let last = value();
  for (let since = performance.now(); performance.now() - since < forMs; ) {
    await pause(systemClock, 10);
    if (value() === last) continue;
    last = value();
    since = performance.now();
  }
};
