// What one round of probes came to, and what else the state machine is told.

import type { Baseline, EvidenceRow, FaultClass } from './state.ts';

export interface Finding {
  /** The worst of the round; a definite class beats an ambiguous one. */
  readonly class: FaultClass | 'OK';
  /** null: no write was tried. Else how it went, whatever the reads say. */
  readonly proof: FaultClass | 'OK' | null;
  /** What this round read whole. */
  readonly seen: Baseline;
  /** Buckets in which no canary was ever seen: a warning, `cleanmiss canary init` is due. */
  readonly withoutCanary: readonly string[];
}

export type MachineEvent =
  | { readonly kind: 'round'; readonly finding: Finding; readonly evidence: readonly EvidenceRow[] }
  /** Real traffic met a NoSuchBucket: a fault can come and go between two rounds. */
  | { readonly kind: 'sign'; readonly class: FaultClass; readonly row: EvidenceRow }
  /** To be asked for only when `canAck` says ok: anything else changes nothing. */
  | { readonly kind: 'ack'; readonly id: string; readonly note: string; readonly by: string }
  | { readonly kind: 'tick' };
