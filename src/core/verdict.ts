// How a fill ended. Refuted is a statement about content; unavailable is one about the moment.

/** Why bytes do not match their digest. Spelled the same in metrics, logs and suspects. */
export type RefutedReason = 'hash' | 'long' | 'short' | 'decode' | 'trailing';

/** Why a body could not be had, or its proof not be finished. Spelled the same in metrics and logs. */
export type UnavailableReason =
  | 'aborted'
  | 'breaker'
  | 'busy'
  | 'cut'
  | 'disk'
  | 'empty'
  | 'first-byte'
  | 'floor'
  | 'idle'
  | 'late'
  | 'protocol'
  | 'redirect'
  | 'refused'
  | 'short'
  | 'status'
  | 'unprovable';

export interface Refuted {
  readonly kind: 'refuted';
  readonly reason: RefutedReason;
  /** Where it was noticed, in encoded bytes from the start. */
  readonly atByte: number;
  /** SHA-256 and size of what came instead, as far as it was decoded. */
  readonly found: { readonly sha256: string | null; readonly sizeBytes: number };
}

export type Failure =
  | Refuted
  | { readonly kind: 'absent' }
  | { readonly kind: 'denied' }
  | { readonly kind: 'unavailable'; readonly reason: UnavailableReason; readonly detail?: string };

export const unavailable = (reason: UnavailableReason, detail?: string): Failure =>
  detail === undefined ? { kind: 'unavailable', reason } : { kind: 'unavailable', reason, detail };
