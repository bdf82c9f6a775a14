// A machine's state as it was read from disk, checked: what does not fit counts as corrupt.

import { Type } from 'typebox';
import { Check } from 'typebox/value';
import type { MachineState } from './state.ts';

const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

const faults = [
  'UNREACHABLE',
  'TLS',
  'SLOW',
  'CREDENTIALS',
  'FORBIDDEN',
  'PROTOCOL',
  'STARTING',
  'BACKEND_5XX',
  'QUORUM',
  'INDEX_LOST',
  'INDEX_LOST_SUSPECTED',
  'BUCKET_ABSENT',
  'CANARY_LOST',
  'VIEW_SPLIT',
  'BODY_BROKEN',
  'BACKEND_REPLACED',
] as const;

const fault = Type.Enum([...faults]);

const row = Type.Object({
  at: Type.Number(),
  bucket: nullable(Type.String()),
  operation: Type.String(),
  class: Type.Enum([...faults, 'OK']),
  status: nullable(Type.Number()),
  code: nullable(Type.String()),
  requestId: nullable(Type.String()),
  ms: Type.Number(),
  serverVersion: nullable(Type.String()),
  marker: nullable(Type.Enum(['present', 'absent', 'unknown'])),
});

const incident = Type.Object({
  id: Type.String({ minLength: 1 }),
  class: fault,
  openedAt: Type.Number(),
  recoveredAt: nullable(Type.Number()),
  ackedAt: nullable(Type.Number()),
  ackNote: nullable(Type.String()),
  ackedBy: nullable(Type.String()),
  isLatching: Type.Boolean(),
  evidence: Type.Array(row),
});

const machine = Type.Object({
  state: Type.Enum(['unknown', 'green', 'doubtful', 'red', 'recovering', 'latched']),
  class: nullable(fault),
  since: Type.Number(),
  incident: nullable(incident),
  lastIncident: nullable(incident),
  reds: Type.Array(Type.Number()),
  opened: Type.Integer({ minimum: 0 }),
  baseline: Type.Object({
    storeId: nullable(Type.String()),
    canaries: Type.Array(Type.String()),
    listed: Type.Array(Type.String()),
  }),
  seenAt: Type.Number(),
  roundAt: nullable(Type.Number()),
  signAt: nullable(Type.Number()),
  doubt: Type.Object({
    rounds: Type.Integer({ minimum: 0 }),
    class: nullable(fault),
    same: Type.Integer({ minimum: 0 }),
    definite: nullable(fault),
  }),
  good: Type.Integer({ minimum: 0 }),
  failedProofs: Type.Integer({ minimum: 0 }),
  hasWriteProof: Type.Boolean(),
  evidence: Type.Array(row),
});

/** false: not a state that this version wrote. A red, recovering or latched one without its incident is none either. */
export const isMachineState = (value: unknown): value is MachineState => {
  if (!Check(machine, value)) return false;
  // Compiles only as long as the schema has all that the interface has.
  const state: MachineState = value;
  const needsIncident = state.state === 'red' || state.state === 'recovering' || state.state === 'latched';
  return !needsIncident || state.incident !== null;
};
