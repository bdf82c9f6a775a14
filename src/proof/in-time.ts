// Waits for a fill's verdict no longer than its asker does, and says what becomes of the asker then.

import type { Clock } from '../core/clock.ts';
import { unavailable } from '../core/verdict.ts';
import type { Fill, Verdict } from './fill.ts';

export interface Waiting {
  /** Aborted when nobody waits for the answer any more. The fill goes on. */
  readonly signal: AbortSignal;
  /** Monotonic ms by which the answer must begin. */
  readonly deadline: number;
  /** Whether a body may leave before its verdict: at the deadline, or from the start above a size. */
  readonly follow: 'never' | 'late' | { readonly aboveBytes: number; readonly byFrame?: boolean };
}

type InTime = Verdict | 'follow' | 'late';

export const verdictInTime = (clock: Clock, fill: Fill, { signal, deadline, follow }: Waiting): Promise<InTime> =>
  new Promise((resolve) => {
    const settle = (value: InTime) => {
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
      resolve(value);
    };
    const onAbort = () => settle(unavailable('aborted'));
    const onDeadline = () => {
      // Decided already, and about to be told.
      if (!fill.hasEnded) settle(follow !== 'never' && fill.isMoving ? 'follow' : 'late');
    };
    const timer = clock.after(Math.max(0, deadline - clock.monotonic()), onDeadline);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    void fill.verdict.then(settle);
    void followsEarly(fill, follow, signal).then((isEarly) => isEarly && settle('follow'));
  });

/** Whether the body is of a size that is followed from the start, once enough of it is here to be worth a head. */
const followsEarly = async (fill: Fill, follow: Waiting['follow'], signal: AbortSignal): Promise<boolean> => {
  if (typeof follow !== 'object' || (fill.claim.digest.sizeBytes ?? 0) <= follow.aboveBytes) return false;
  while (!fill.hasEnded && !signal.aborted) {
    if (fill.releasableBytes(follow.byFrame === true) > 0) return true;
    await fill.progressed();
  }
  return false;
};
