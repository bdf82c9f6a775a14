// However many transfers break, the upstream is given twenty second tries at once, and two a second after that.

import t from 'tap';
import { RetryBudget } from '../../../src/core/retry-budget.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const takeAll = (budget: RetryBudget, most = 1_000): number => {
  let taken = 0;
  while (taken < most && budget.take()) taken += 1;
  return taken;
};

const rows: { reason: string; afterMs: readonly number[]; taken: readonly number[] }[] = [
  { reason: 'a burst is hidden whole', afterMs: [0], taken: [20] },
  { reason: 'nothing is regained in no time', afterMs: [0, 0], taken: [20, 0] },
  { reason: 'half a second regains one', afterMs: [0, 499, 1], taken: [20, 0, 1] },
  { reason: 'small steps add up', afterMs: [0, 125, 125, 125, 125], taken: [20, 0, 0, 0, 1] },
  { reason: 'ten seconds regain all', afterMs: [0, 10_000], taken: [20, 20] },
  { reason: 'the stock has a limit', afterMs: [3_600_000, 3_600_000], taken: [20, 20] },
];

for (const { reason, afterMs, taken } of rows)
  t.test(reason, async (t) => {
    const clock = new FakeClock();
    const budget = new RetryBudget(clock);
    for (const [index, ms] of afterMs.entries()) {
      await clock.advance(ms);
      t.equal(takeAll(budget), taken[index]);
    }
  });

t.test('a wall that jumps gives nothing', (t) => {
  const clock = new FakeClock();
  const budget = new RetryBudget(clock);
  takeAll(budget);
  clock.jumpWall(3_600_000);
  t.equal(takeAll(budget), 0);
  t.end();
});
