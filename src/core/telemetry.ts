// What the parts report while they work, as plain calls: who counts it is wired in `compose.ts`.

import type { Failure, RefutedReason, UnavailableReason } from './verdict.ts';

export type Front = 'nix' | 'bazel';

/** How a read was answered: from the store, by a fill (started or joined), or as a miss, whatever its cause. */
export type RequestResult = 'hit' | 'fill' | 'miss';

/** How a fill ended. `denied` is the upstream's refusal of the credentials. */
export type VerdictKind = 'proven' | Failure['kind'];

/** `none` for verdicts that need no reason: proven, absent, denied. */
export type VerdictReason = RefutedReason | UnavailableReason | 'none';

/** Why a write was refused. A word of this list, never an operator's text: it becomes a label. */
export type WriteRefusedReason = 'health' | 'quarantine' | 'proof' | 'conflict' | 'busy' | 'unavailable';

/** Why an action result is not answered: none is there, none can be had, it is none, or what it names does not stand. */
export type ActionMiss = 'absent' | 'unavailable' | 'malformed' | 'tree' | 'inlined' | 'suspect' | 'missing';

/** Every call is cheap, and none throws. */
export interface Telemetry {
  /** Once for each read of a body. */
  request(front: Front, result: RequestResult): void;
  /** Once for each fill. */
  verdict(front: Front, verdict: VerdictKind, reason: VerdictReason): void;
  /** Once for each request for a body that goes out to the upstream; resumes and second fetches count. */
  transfer(front: Front): void;
  /** Once for each ask for an action result. */
  actionResult(answer: 'hit' | ActionMiss): void;
  writeRefused(front: Front, reason: WriteRefusedReason): void;
}

export const verdictReason = (failure: Failure): VerdictReason => ('reason' in failure ? failure.reason : 'none');
