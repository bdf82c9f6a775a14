// Faults in how an answer arrives: it stops, hangs, crawls or waits.

import { frameMiddle, frameStart, type Stop } from '../upstream-plan.ts';
import type { Fault } from './when.ts';

const stopAt = (at: Stop['at'], how: Stop['how']): Fault => {
  const stop: Stop = { at, how };
  return (plan) => ({ ...plan, stop });
};
const afterBytes = (byte: number): Stop['at'] => ({ byte, of: 'answer' });

export const closeWithoutHead = (): Fault => stopAt('before-head', 'fin');
export const resetWithoutHead = (): Fault => stopAt('before-head', 'reset');
/** Takes the request and never answers. */
export const stallBefore = (): Fault => stopAt('before-head', 'silence');
/** A good head, then FIN: Attic with its bucket gone. */
export const zeroBytes = (): Fault => stopAt(afterBytes(0), 'fin');
export const headThenSilence = (): Fault => stopAt(afterBytes(0), 'silence');
/** FIN after so many body bytes of this answer, in the middle of what was announced. */
export const cutAfter = (bytes: number): Fault => stopAt(afterBytes(bytes), 'fin');
export const resetAfter = (bytes: number): Fault => stopAt(afterBytes(bytes), 'reset');
export const stallAfter = (bytes: number): Fault => stopAt(afterBytes(bytes), 'silence');

/** All bytes, but not the last chunk. */
export const withoutTerminator = (): Fault => (plan) => ({
  ...plan,
  framing: 'chunked',
  stop: { at: afterBytes(Number.POSITIVE_INFINITY), how: 'fin' },
});

/** FIN right before frame `index` (from 0) of the object: no decoder notices. */
export const cutAtFrame =
  (index: number): Fault =>
  (plan) => ({
    ...plan,
    stop: { at: { byte: frameStart(plan.content, index), of: 'object' }, how: 'fin' },
  });

export const cutInsideFrame =
  (index: number): Fault =>
  (plan) => ({
    ...plan,
    stop: { at: { byte: frameMiddle(plan.content, index), of: 'object' }, how: 'fin' },
  });

export const delay =
  (ms: number): Fault =>
  (plan) => ({ ...plan, delayMs: ms });

/** An even flow, in pieces of a 50th of a second. */
export const slow =
  (bytesPerSecond: number): Fault =>
  (plan) => ({
    ...plan,
    pace: { bytesPerSecond, pieceBytes: Math.max(1, Math.ceil(bytesPerSecond / 50)) },
  });

/** Single bytes: every time limit but a floor is kept alive. */
export const drip =
  (bytesPerSecond: number): Fault =>
  (plan) => ({ ...plan, pace: { bytesPerSecond, pieceBytes: 1 } });

/** Waits for the promise before the head: a test's way to hold a transfer open without a sleep. */
export const holdBefore =
  (until: Promise<unknown>): Fault =>
  (plan) => ({ ...plan, holds: [...plan.holds, { at: 'head', until }] });

/** Sends so many body bytes, waits for the promise, and goes on. */
export const holdAfter =
  (bytes: number, until: Promise<unknown>): Fault =>
  (plan) => ({ ...plan, holds: [...plan.holds, { at: bytes, until }] });
