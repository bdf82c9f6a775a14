// What a change of health says to the audit log: incidents opened, recovered, acked and closed.

import type { Incident, MachineState } from '../health/state.ts';
import type { AuditEntry } from './audit-chain.ts';

const row = (
  action: string,
  incident: Incident,
  by = 'cleanmiss',
  text: string | null = incident.class,
): AuditEntry => ({
  by,
  action,
  subject: incident.id,
  text,
});

/** Where an acked incident went: it may have closed, or be open still. */
const find = ({ incident, lastIncident }: MachineState, id: string): Incident | null =>
  incident?.id === id ? incident : lastIncident?.id === id ? lastIncident : null;

export const healthRows = (before: MachineState, after: MachineState): AuditEntry[] => {
  const rows: AuditEntry[] = [];
  const was = before.incident;
  const now = was === null ? null : find(after, was.id);
  if (was !== null && now !== null) {
    if (was.class !== now.class) rows.push(row('incident.class', now));
    if (was.recoveredAt === null && now.recoveredAt !== null) rows.push(row('incident.recovered', now));
    if (was.recoveredAt !== null && now.recoveredAt === null) rows.push(row('incident.red-again', now));
    if (was.ackedAt === null && now.ackedAt !== null)
      rows.push(row('incident.acked', now, now.ackedBy ?? 'cleanmiss', now.ackNote));
  }
  if (was !== null && after.incident?.id !== was.id) rows.push(row('incident.closed', now ?? was));
  if (after.incident !== null && after.incident.id !== was?.id) rows.push(row('incident.opened', after.incident));
  return rows;
};
