// What is known of the bucket index, as plain data: states, classes of fault, evidence, incidents.

export type HealthState = 'unknown' | 'green' | 'doubtful' | 'red' | 'recovering' | 'latched';

export type FaultClass =
  /** Refused, unknown host, no route, reset. */
  | 'UNREACHABLE'
  | 'TLS'
  /** No answer within the deadline. */
  | 'SLOW'
  /** The server does not know the key, or the secret is wrong. */
  | 'CREDENTIALS'
  /** The server knows the key and denies it what the probes need. */
  | 'FORBIDDEN'
  /** Not what an S3 server says: HTML, a redirect, a list without a list. */
  | 'PROTOCOL'
  /** Listens, and says that it is not ready yet. */
  | 'STARTING'
  | 'BACKEND_5XX'
  /** The same, and the server's own readiness says that its drives are gone. */
  | 'QUORUM'
  /** The API knows no such bucket; something else says that the bucket is there. */
  | 'INDEX_LOST'
  /** The same without that something else, and more than one bucket, or all, went at once. */
  | 'INDEX_LOST_SUSPECTED'
  /** One bucket is gone. */
  | 'BUCKET_ABSENT'
  /** The bucket is there and the canary once seen in it is not: an empty bucket shadows the data. */
  | 'CANARY_LOST'
  /** The list and the bucket's own answer disagree. */
  | 'VIEW_SPLIT'
  /** The canary is answered with other bytes, or is cut. */
  | 'BODY_BROKEN'
  /** Another store, or an empty drive, answers at this address. */
  | 'BACKEND_REPLACED';

/** `absent`: we looked, and the directory is not there. `unknown`: we could not look. */
export type Marker = 'present' | 'absent' | 'unknown';

/** One probe's result, as kept with an incident: no secrets, no presigned queries. */
export interface EvidenceRow {
  /** Wall clock, milliseconds. */
  readonly at: number;
  /** null: it asked for the whole store. */
  readonly bucket: string | null;
  readonly operation: string;
  readonly class: FaultClass | 'OK';
  readonly status: number | null;
  /** The S3 code, else the system's (`ECONNREFUSED`). */
  readonly code: string | null;
  readonly requestId: string | null;
  readonly ms: number;
  readonly serverVersion: string | null;
  /** null: no directory is watched. */
  readonly marker: Marker | null;
}

/** One red period. Plain JSON: it outlives a restart. */
export interface Incident {
  readonly id: string;
  /** Its first definite class; until there is one, the ambiguous class that opened it. */
  readonly class: FaultClass;
  /** Wall clock, milliseconds, as all its times. */
  readonly openedAt: number;
  /** When health was proven again. null: red or recovering. */
  readonly recoveredAt: number | null;
  readonly ackedAt: number | null;
  readonly ackNote: string | null;
  readonly ackedBy: string | null;
  /** It ends by an operator's ack, and not by itself. */
  readonly isLatching: boolean;
  /** At most 50 rows: how it began, and how it goes on. */
  readonly evidence: readonly EvidenceRow[];
}

/** What the store has shown at least once, so that its loss can be told from its never having been. Plain JSON. */
export interface Baseline {
  /** The store that the canaries name; null until one was read. */
  readonly storeId: string | null;
  /** Buckets whose canary was read whole. */
  readonly canaries: readonly string[];
  /** Buckets that a list has named. */
  readonly listed: readonly string[];
}

/** The machine's whole state. Plain JSON: the keeper writes it down. */
export interface MachineState {
  readonly state: HealthState;
  /** Why it is not green; null when nothing is known to be wrong. */
  readonly class: FaultClass | null;
  /** When `state` was entered. */
  readonly since: number;
  /** Open, or recovered and not acked though it latches. While there is one, no write passes. */
  readonly incident: Incident | null;
  /** The one that closed last, as it closed. */
  readonly lastIncident: Incident | null;
  /** When the incidents of the last hour opened. */
  readonly reds: readonly number[];
  /** Incidents opened so far: part of their ids. */
  readonly opened: number;
  readonly baseline: Baseline;
  /** The latest `now`: a clock that jumps back is seen by it. */
  readonly seenAt: number;
  /** When the last round finished; null: none since the start. */
  readonly roundAt: number | null;
  /** When real traffic last gave evidence: once a second counts. */
  readonly signAt: number | null;
  /** The bad rounds and signs since the last good round. */
  readonly doubt: Doubt;
  /** Good rounds since the last bad one. */
  readonly good: number;
  /** Write proofs that failed since the last that did not. */
  readonly failedProofs: number;
  /** Within this recovery a write was proven. */
  readonly hasWriteProof: boolean;
  /** The last rows, of which an incident is opened. */
  readonly evidence: readonly EvidenceRow[];
}

/** A run of bad rounds. */
export interface Doubt {
  readonly rounds: number;
  /** Its last class, and how many rounds in a row have said so. */
  readonly class: FaultClass | null;
  readonly same: number;
  /** The first definite class of the run. */
  readonly definite: FaultClass | null;
}

const definite: ReadonlySet<FaultClass> = new Set<FaultClass>([
  'QUORUM',
  'INDEX_LOST',
  'INDEX_LOST_SUSPECTED',
  'BUCKET_ABSENT',
  'CANARY_LOST',
  'VIEW_SPLIT',
  'BODY_BROKEN',
  'BACKEND_REPLACED',
]);

/** What an operator must have looked at before anybody writes again. */
const latching: ReadonlySet<FaultClass> = new Set<FaultClass>([
  'INDEX_LOST',
  'INDEX_LOST_SUSPECTED',
  'BUCKET_ABSENT',
  'CANARY_LOST',
  'VIEW_SPLIT',
  'BACKEND_REPLACED',
]);

/** The store itself has said it; the others may be the network's doing, or the configuration's. */
export const isDefinite = (fault: FaultClass): boolean => definite.has(fault);

export const latches = (fault: FaultClass): boolean => latching.has(fault);
