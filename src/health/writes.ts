// What health says to one write: it may go, it waits for the next rounds, or it is refused.

import { rebased, staleSince } from './machine.ts';
import type { FaultClass, MachineState } from './state.ts';

/** A second look at definite evidence takes a second, or the deadline of a round. */
const DOUBT_HOLD_MS = 2_000;
/** From the start, or from the last word that was known, to the first full round. */
const UNKNOWN_HOLD_MS = 15_000;

export type WriteVerdict =
  | { readonly kind: 'allow' }
  /** Decide again after so long, or when the state changes. */
  | { readonly kind: 'hold'; readonly forMs: number }
  | { readonly kind: 'refuse'; readonly class: FaultClass | 'UNKNOWN'; readonly since: number };

/** `heldMs`: how long this write has been held so far. */
export const writesUnder = (state: MachineState, now: number, heldMs: number): WriteVerdict => {
  if (state.incident !== null) return { kind: 'refuse', class: state.incident.class, since: state.incident.openedAt };
  const present = rebased(state, now);
  const staleAt = staleSince(present, now);
  if (staleAt !== null || present.state === 'unknown') {
    // What is stale becomes unknown with the next tick; a clock that was put on by hours has refused nobody until then.
    const forMs = UNKNOWN_HOLD_MS - Math.max(heldMs, staleAt === null ? now - present.since : 0);
    return forMs > 0 ? { kind: 'hold', forMs } : { kind: 'refuse', class: 'UNKNOWN', since: staleAt ?? present.since };
  }
  switch (present.state) {
    case 'green':
      return { kind: 'allow' };
    case 'doubtful': {
      const forMs = DOUBT_HOLD_MS - heldMs;
      return present.doubt.definite !== null && forMs > 0 ? { kind: 'hold', forMs } : { kind: 'allow' };
    }
    default:
      // Red, recovering and latched have an incident. Should one have none, nothing is known.
      return { kind: 'refuse', class: 'UNKNOWN', since: present.since };
  }
};
