// The state machine of health: a pure function of state, event and time.

import type { Finding, MachineEvent } from './finding.ts';
import { goneOn, MAX_EVIDENCE, openIncident, recentReds } from './incidents.ts';
import {
  type Baseline,
  type Doubt,
  type EvidenceRow,
  type FaultClass,
  type HealthState,
  isDefinite,
  type MachineState,
} from './state.ts';

/** Without a finished round for so long nothing is known: four intervals, or a stalled process. */
export const STALE_MS = 20_000;
/** Rounds in a row of one definite class that make red. */
const DEFINITE_ROUNDS = 2;
/** Bad rounds in a row of any class that make red: at 1 % each one false red in 58 days (bench/health-false-reds.ts). */
const BAD_ROUNDS = 3;
/** Write proofs in a row that fail while all reads are well: a store whose writes stall. */
const FAILED_PROOFS = 3;
export const RECOVERY_ROUNDS = 5;
export const RECOVERY_MS = 30_000;
/** A burst of one second is one sign. */
const SIGN_EVERY_MS = 1_000;

const noDoubt: Doubt = { rounds: 0, class: null, same: 0, definite: null };

const noBaseline: Baseline = { storeId: null, canaries: [], listed: [] };

export const initialState = (now: number): MachineState => ({
  state: 'unknown',
  class: null,
  since: now,
  incident: null,
  lastIncident: null,
  reds: [],
  opened: 0,
  baseline: noBaseline,
  seenAt: now,
  roundAt: null,
  signAt: null,
  doubt: noDoubt,
  good: 0,
  failedProofs: 0,
  hasWriteProof: false,
  evidence: [],
});

/** After a restart: what is open stays open, what was seen was seen, and nothing is known of now. */
export const restored = (saved: MachineState, now: number): MachineState => ({
  ...initialState(now),
  class: saved.incident?.class ?? null,
  incident: saved.incident,
  lastIncident: saved.lastIncident,
  reds: saved.reds.map((at) => Math.min(at, now)),
  opened: saved.opened,
  baseline: saved.baseline,
});

export const canAck = (state: MachineState, id: string): 'ok' | 'unknown-incident' | 'not-latched' => {
  if (state.incident?.id !== id) return 'unknown-incident';
  return state.state === 'latched' ? 'ok' : 'not-latched';
};

/** Where a clock jumped back, as much time has passed as before the jump. */
export const rebased = (state: MachineState, now: number): MachineState => {
  const byMs = now - state.seenAt;
  if (byMs >= 0) return state;
  return {
    ...state,
    since: state.since + byMs,
    reds: state.reds.map((at) => at + byMs),
    roundAt: state.roundAt === null ? null : state.roundAt + byMs,
    signAt: state.signAt === null ? null : state.signAt + byMs,
    seenAt: now,
  };
};

/** When what was known ceased to be; null: it is still known. Red needs no proof to stay red. */
export const staleSince = (state: MachineState, now: number): number | null => {
  if (state.state === 'red' || state.state === 'unknown') return null;
  const until = (state.roundAt ?? state.since) + STALE_MS;
  return now > until ? until : null;
};

const entered = (state: MachineState, name: HealthState, fault: FaultClass | null, now: number): MachineState => ({
  ...state,
  state: name,
  class: fault,
  since: state.state === name ? state.since : now,
});

/** Whatever came before the silence proves nothing after it. */
const aged = (state: MachineState, now: number): MachineState => {
  if (staleSince(state, now) === null) return state;
  const forgotten = { ...state, doubt: noDoubt, good: 0, failedProofs: 0, hasWriteProof: false };
  return entered(forgotten, 'unknown', state.incident?.class ?? null, now);
};

/** A store of a million buckets is none that a cache is alone with. */
const MAX_LISTED = 1_000;

const union = (
  known: readonly string[],
  seen: readonly string[],
  max = Number.POSITIVE_INFINITY,
): readonly string[] => {
  const fresh = seen.filter((name) => !known.includes(name)).slice(0, Math.max(0, max - known.length));
  return fresh.length === 0 ? known : [...known, ...fresh];
};

/** The same object where nothing is new: whoever keeps it sees that by identity. */
const merged = (known: Baseline, seen: Baseline): Baseline => {
  const storeId = known.storeId ?? seen.storeId;
  const canaries = union(known.canaries, seen.canaries);
  const listed = union(known.listed, seen.listed, MAX_LISTED);
  const isSame = storeId === known.storeId && canaries === known.canaries && listed === known.listed;
  return isSame ? known : { storeId, canaries, listed };
};

/** With what `canary init` has written, so that a canary's loss is known from the first round on. */
export const remembering = (state: MachineState, seen: Baseline): MachineState => ({
  ...state,
  baseline: merged(state.baseline, seen),
});

/** With and without its corroboration it is one fault; what was corroborated once is. */
const sameFault = (one: FaultClass | null, other: FaultClass): FaultClass | null => {
  if (one === other) return one;
  const isIndex = (fault: FaultClass | null) => fault === 'INDEX_LOST' || fault === 'INDEX_LOST_SUSPECTED';
  return isIndex(one) && isIndex(other) ? 'INDEX_LOST' : null;
};

const deepened = (doubt: Doubt, fault: FaultClass): Doubt => {
  const same = sameFault(doubt.class, fault);
  return {
    rounds: doubt.rounds + 1,
    class: same ?? fault,
    same: same === null ? 1 : doubt.same + 1,
    definite: doubt.definite ?? (isDefinite(fault) ? fault : null),
  };
};

/** What a run of bad rounds has confirmed; null: it may still be a blip. */
const confirmed = ({ rounds, class: last, same, definite }: Doubt): FaultClass | null => {
  if (last !== null && isDefinite(last) && same >= DEFINITE_ROUNDS) return last;
  return rounds >= BAD_ROUNDS ? (definite ?? last) : null;
};

const red = (state: MachineState, fault: FaultClass, rows: readonly EvidenceRow[], now: number): MachineState => {
  if (state.incident !== null) {
    const incident = goneOn(state.incident, fault, rows);
    return entered({ ...state, incident, hasWriteProof: false }, 'red', incident.class, now);
  }
  const reds = [...recentReds(state.reds, now), now];
  const incident = openIncident({ class: fault, evidence: state.evidence, opened: state.opened, reds }, now);
  return entered({ ...state, incident, reds, opened: state.opened + 1 }, 'red', fault, now);
};

const gotWorse = (before: MachineState, fault: FaultClass, rows: readonly EvidenceRow[], now: number): MachineState => {
  const state = { ...before, doubt: deepened(before.doubt, fault), good: 0 };
  // What was not yet proven well again gets no benefit of the doubt.
  const isUnproven = state.incident !== null && state.state !== 'latched';
  const found = isUnproven ? fault : confirmed(state.doubt);
  if (found !== null) return red(state, found, rows, now);
  if (state.state === 'latched') return state;
  if (state.state === 'unknown') return { ...state, class: fault };
  return entered(state, 'doubtful', state.doubt.definite ?? fault, now);
};

const recovered = (state: MachineState, now: number): MachineState => {
  const { incident } = state;
  if (incident === null) return entered(state, 'green', null, now);
  const over = { ...incident, recoveredAt: now };
  if (over.isLatching) return entered({ ...state, incident: over }, 'latched', over.class, now);
  return entered({ ...state, incident: null, lastIncident: over }, 'green', null, now);
};

const gotBetter = (before: MachineState, finding: Finding, rows: readonly EvidenceRow[], now: number): MachineState => {
  const hasFailed = finding.proof !== null && finding.proof !== 'OK';
  const state: MachineState = {
    ...before,
    doubt: noDoubt,
    good: before.good + 1,
    failedProofs: hasFailed ? before.failedProofs + 1 : finding.proof === 'OK' ? 0 : before.failedProofs,
    hasWriteProof: before.hasWriteProof || finding.proof === 'OK',
  };
  const failure = hasFailed ? (finding.proof as FaultClass) : null;
  switch (state.state) {
    case 'red':
      return entered({ ...state, good: 1, hasWriteProof: false }, 'recovering', state.class, now);
    case 'recovering': {
      if (failure !== null) return red({ ...state, good: 0 }, failure, rows, now);
      const isDue = state.good >= RECOVERY_ROUNDS && now - state.since >= RECOVERY_MS && state.hasWriteProof;
      return isDue ? recovered(state, now) : state;
    }
    case 'latched':
      return state;
    case 'unknown':
    case 'green':
    case 'doubtful':
      if (state.incident !== null) {
        return entered({ ...state, good: 1, hasWriteProof: false }, 'recovering', state.class, now);
      }
      if (failure !== null && state.failedProofs >= FAILED_PROOFS) return red(state, failure, rows, now);
      if (state.failedProofs > 0) return entered(state, 'doubtful', failure ?? state.class, now);
      return entered(state, 'green', null, now);
  }
};

const withRows = (state: MachineState, rows: readonly EvidenceRow[]): MachineState => ({
  ...state,
  evidence: [...state.evidence, ...rows].slice(-MAX_EVIDENCE),
});

const acked = (state: MachineState, note: string, by: string, now: number): MachineState => {
  if (state.incident === null) return state;
  const lastIncident = { ...state.incident, ackedAt: now, ackNote: note, ackedBy: by };
  const closed = { ...state, incident: null, lastIncident };
  // A bad round since is a doubt of the next day, not of this incident.
  const isDoubtful = state.doubt.rounds > 0 || state.failedProofs > 0;
  return isDoubtful ? entered(closed, 'doubtful', state.doubt.class, now) : entered(closed, 'green', null, now);
};

export const step = (before: MachineState, event: MachineEvent, now: number): MachineState => {
  const state: MachineState = { ...aged(rebased(before, now), now), seenAt: now };
  switch (event.kind) {
    case 'round': {
      const { finding, evidence } = event;
      const looked = withRows({ ...state, roundAt: now, baseline: merged(state.baseline, finding.seen) }, evidence);
      return finding.class === 'OK'
        ? gotBetter(looked, finding, evidence, now)
        : gotWorse(looked, finding.class, evidence, now);
    }
    case 'sign':
      if (state.signAt !== null && now - state.signAt < SIGN_EVERY_MS) return state;
      return gotWorse(withRows({ ...state, signAt: now }, [event.row]), event.class, [event.row], now);
    case 'ack':
      return canAck(state, event.id) === 'ok' ? acked(state, event.note, event.by, now) : state;
    case 'tick':
      return state;
  }
};
