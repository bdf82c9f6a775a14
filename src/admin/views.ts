// How admin spells what the gate keeps: times in ISO 8601, and nothing that is not meant for people and tools.

import type { IncidentRecord } from '../gate/incidents.ts';
import type { Order } from '../gate/orders.ts';
import type { Incident } from '../health/state.ts';

export const iso = (ms: number): string => new Date(ms).toISOString();

const isoOrNull = (ms: number | null): string | null => (ms === null ? null : iso(ms));

export const orderView = ({ scope, reason, ticket, since, by, expires }: Order) => ({
  scope,
  reason,
  since: iso(since),
  by,
  expires: isoOrNull(expires),
  ticket,
});

export type OrderView = ReturnType<typeof orderView>;

export const incidentView = (incident: Incident) => ({
  id: incident.id,
  class: incident.class,
  openedAt: iso(incident.openedAt),
  recoveredAt: isoOrNull(incident.recoveredAt),
  ackedAt: isoOrNull(incident.ackedAt),
  ackedBy: incident.ackedBy,
  ackNote: incident.ackNote,
  isLatching: incident.isLatching,
});

export type IncidentView = ReturnType<typeof incidentView>;

/** Everything: what an operator hands on as one file. */
export const recordView = ({ incident, refused, refusedTotal }: IncidentRecord) => ({
  ...incidentView(incident),
  evidence: incident.evidence.map((row) => ({ ...row, at: iso(row.at) })),
  refusedTotal,
  refused: refused.map((write) => ({ ...write, at: iso(write.at) })),
});

export type RecordView = ReturnType<typeof recordView>;
