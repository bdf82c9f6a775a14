// Which changes of the machine's state are worth telling: those that outlive a round.

import type { Incident, MachineState } from './state.ts';

const isSameIncident = (one: Incident | null, other: Incident | null): boolean =>
  one?.id === other?.id &&
  one?.class === other?.class &&
  one?.recoveredAt === other?.recoveredAt &&
  one?.ackedAt === other?.ackedAt &&
  one?.isLatching === other?.isLatching;

/** Evidence and counters go on with every round, and are kept with the next change. */
export const isMaterial = (before: MachineState, after: MachineState): boolean =>
  before.state !== after.state ||
  before.class !== after.class ||
  before.baseline !== after.baseline ||
  (before.doubt.definite === null) !== (after.doubt.definite === null) ||
  !isSameIncident(before.incident, after.incident) ||
  !isSameIncident(before.lastIncident, after.lastIncident);
