// The limits of a transfer count the time that it keeps us waiting, and only that; the first that is passed is told, once.

import t from 'tap';
import type { UnavailableReason } from '../../../src/core/verdict.ts';
import { TransferWatch } from '../../../src/proof/watch.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** `w` we wait; a byte count says that so many came; `{ms}` passes. */
type Step = 'w' | number | { readonly ms: number };
const s = (seconds: number): Step => ({ ms: seconds * 1_000 });
const times = (count: number, ...steps: readonly Step[]): Step[] => Array.from({ length: count }, () => steps).flat();

const rows: { reason: string; steps: readonly Step[]; passed: readonly UnavailableReason[] }[] = [
  { reason: 'nothing for less than the first-byte limit', steps: [s(14.999)], passed: [] },
  { reason: 'nothing for the first-byte limit', steps: [s(15)], passed: ['first-byte'] },
  { reason: 'told once', steps: [s(15), s(100), 'w', s(100)], passed: ['first-byte'] },
  { reason: 'a first byte in time', steps: [s(14.9), 1, s(14)], passed: [] },
  { reason: 'waiting again does not begin anew', steps: [s(10), 'w', s(5)], passed: ['first-byte'] },
  { reason: 'a silence shorter than idle', steps: [1, 'w', s(9.999), 1, 'w', s(9.999)], passed: [] },
  { reason: 'a silence', steps: [s(1), 1, 'w', s(10)], passed: ['idle'] },
  { reason: 'a silence after much', steps: [50_000_000, 'w', s(10)], passed: ['idle'] },
  { reason: 'our own pause is none', steps: [1, s(3_600), 'w', s(9.999)], passed: [] },
  { reason: 'and it begins when we wait again', steps: [1, s(3_600), 'w', s(10)], passed: ['idle'] },
  { reason: 'just above the floor', steps: [1, ...times(30, 'w', s(5), 50_001)], passed: [] },
  { reason: 'just below the floor', steps: [1, ...times(12, 'w', s(5), 49_990)], passed: ['floor'] },
  { reason: 'not before a minute has passed', steps: [1, ...times(11, 'w', s(5), 1)], passed: [] },
  { reason: 'single bytes that keep every other limit alive', steps: times(61, 'w', s(1), 1), passed: ['floor'] },
  {
    reason: 'slow, because we are',
    steps: [1, ...times(200, 'w', s(0.1), 1_001, s(30))],
    passed: [],
  },
  {
    reason: 'slow, and our own pauses do not hide it',
    steps: [1, ...times(600, 'w', s(0.1), 900, s(5))],
    passed: ['floor'],
  },
  {
    reason: 'each minute counts for itself',
    steps: [1, 'w', s(5), 100_000_000, ...times(11, 'w', s(5), 1), ...times(12, 'w', s(5), 1)],
    passed: ['floor'],
  },
  {
    reason: 'after the floor nothing more is told',
    steps: [...times(61, 'w', s(1), 1), 'w', s(100)],
    passed: ['floor'],
  },
];

for (const { reason, steps, passed } of rows)
  t.test(reason, async (t) => {
    const clock = new FakeClock();
    const told: UnavailableReason[] = [];
    const watch = new TransferWatch(clock, { firstByteMs: 15_000, idleMs: 10_000 }, (limit) => told.push(limit));
    for (const step of steps) {
      if (step === 'w') watch.waits();
      else if (typeof step === 'number') watch.came(step);
      else clock.advanceNow(step.ms);
    }
    t.same(told, passed);
    watch.close();
    t.equal(clock.armed, 0, 'no timer is left');
    watch.waits();
    watch.came(1);
    watch.waits();
    t.equal(clock.armed, 0, 'and closed it stays closed');
    t.same(told, passed);
  });
