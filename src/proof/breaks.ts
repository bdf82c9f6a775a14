// Says whether, how often and how soon a body is gone on with whose transfer brought less than all of it.

import { type Failure, unavailable } from '../core/verdict.ts';
import type { Prover } from './prover.ts';
import type { TransferEnd } from './transfer.ts';

/** Tries to go on after a break: 0.1, 0.4 and 1.6 s apart, well inside the release budget. */
const MAX_BREAKS = 3;
const FIRST_PAUSE_MS = 100;
const PAUSE_GROWTH = 4;

export const pauseMs = (breaks: number): number => FIRST_PAUSE_MS * PAUSE_GROWTH ** breaks;

/** What a body is missed for when nobody goes on with it. */
export const failureOf = (end: Exclude<TransferEnd, { kind: 'changed' }>, { encodedBytes }: Prover): Failure => {
  switch (end.kind) {
    case 'ended':
      return unavailable(encodedBytes === 0 ? 'empty' : 'short');
    case 'broken':
      return unavailable(end.reason);
    case 'failed':
      return end.failure;
  }
};

/** The upstream said something, if not what was asked for. */
export const isAnswer = (failure: Failure): boolean =>
  failure.kind === 'unavailable' && (failure.reason === 'status' || failure.reason === 'protocol');

/** How often a body that ended so may be gone on with. */
export const breaksAllowed = (failure: Failure, { encodedBytes }: Prover): number => {
  if (failure.kind !== 'unavailable') return 0;
  switch (failure.reason) {
    case 'cut':
    case 'short':
      return MAX_BREAKS;
    // Nothing at all, or a silence, is an upstream in trouble more than a cut line: one more try shows which.
    case 'empty':
    case 'idle':
      return 1;
    // No miss before the first byte is retried; behind it, an upstream that restarts answers so for a moment.
    case 'protocol':
    case 'redirect':
    case 'refused':
    case 'status':
      return encodedBytes > 0 ? MAX_BREAKS : 0;
    default:
      return 0;
  }
};
