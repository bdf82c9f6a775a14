// The life of an incident: opened with its evidence, kept up while red, recovered, acked.

import { type EvidenceRow, type FaultClass, type Incident, isDefinite, latches } from './state.ts';

export const MAX_EVIDENCE = 50;

/** Reds within an hour that latch, whatever their class: a store that comes and goes. */
const REDS_TO_LATCH = 3;
const REDS_WITHIN_MS = 3_600_000;

/** How it began is worth as much as how it stands now: from both ends. */
const kept = (rows: readonly EvidenceRow[]): readonly EvidenceRow[] =>
  rows.length <= MAX_EVIDENCE ? rows : [...rows.slice(0, MAX_EVIDENCE / 2), ...rows.slice(-MAX_EVIDENCE / 2)];

export const recentReds = (reds: readonly number[], now: number): readonly number[] =>
  reds.filter((at) => now - at < REDS_WITHIN_MS);

export interface Opening {
  readonly class: FaultClass;
  readonly evidence: readonly EvidenceRow[];
  /** Incidents opened before. */
  readonly opened: number;
  /** Of the last hour, this one included. */
  readonly reds: readonly number[];
}

/** The id names number and time: unlike any other, also where the clock went back or the number was lost. */
export const openIncident = (opening: Opening, now: number): Incident => ({
  id: `${opening.opened + 1}-${new Date(now).toISOString().replace(/[-:]|\.\d+/g, '')}`,
  class: opening.class,
  openedAt: now,
  recoveredAt: null,
  ackedAt: null,
  ackNote: null,
  ackedBy: null,
  isLatching: latches(opening.class) || opening.reds.length >= REDS_TO_LATCH,
  evidence: kept(opening.evidence),
});

/** More of the same red period. Its first definite class stays; any latching class latches it. */
export const goneOn = (incident: Incident, fault: FaultClass, rows: readonly EvidenceRow[]): Incident => ({
  ...incident,
  class: isDefinite(incident.class) || !isDefinite(fault) ? incident.class : fault,
  recoveredAt: null,
  isLatching: incident.isLatching || latches(fault),
  evidence: kept([...incident.evidence, ...rows]),
});
