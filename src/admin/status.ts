// The state of the house as `GET /v1/status` shows it.

import type { BreakerState } from '../core/breaker.ts';
import type { Front } from '../core/telemetry.ts';

/** What the parts know of themselves, read from memory at once: no answer of admin ever waits for the store. */
export interface Readings {
  readonly store: { readonly bytes: number; readonly maxBytes: number; readonly objects: number };
  readonly fillsActive: number;
  readonly spoolBytes: number;
  readonly suspects: { readonly open: number; readonly held: number };
  /** Of each front that has an upstream. One that has several breakers names the worst. */
  readonly breakers: Readonly<Partial<Record<Front, BreakerState>>>;
  /** Bounded by whoever counts. */
  readonly redirectsRefused: readonly { readonly host: string; readonly count: number }[];
}

type HealthState = 'unknown' | 'green' | 'doubtful' | 'red' | 'recovering' | 'latched';

interface Writes {
  readonly writes: 'allowed' | 'refused';
  readonly reason: string | null;
}

/** Tools outside the project read this: fields are only ever added. Times are ISO 8601. */
export interface Status {
  readonly health: { readonly state: HealthState; readonly class: string | null; readonly since: string };
  readonly gate: Readonly<Record<Front, Writes>>;
  readonly quarantine: readonly {
    readonly scope: string;
    readonly reason: string;
    readonly since: string;
    readonly by: string;
    readonly expires: string | null;
  }[];
  readonly incident: {
    readonly id: string;
    readonly class: string;
    readonly openedAt: string;
    readonly recoveredAt: string | null;
    readonly ackedAt: string | null;
  } | null;
  readonly suspects: Readings['suspects'];
  readonly store: Readings['store'];
  readonly fills: { readonly active: number };
  readonly audit: { readonly head: string | null };
  /** Open when it is for any front; null without an upstream. */
  readonly upstream: { readonly breaker: BreakerState | null };
  readonly redirectsRefused: Readings['redirectsRefused'];
}

const worst = (states: readonly BreakerState[]): BreakerState | null =>
  states.includes('open') ? 'open' : (states[0] ?? null);

/** Nobody watches health and nobody can quarantine in this house: both say so by their emptiest values. */
export const statusOf = (readings: Readings, startedAtMs: number): Status => ({
  health: { state: 'unknown', class: null, since: new Date(startedAtMs).toISOString() },
  gate: { nix: { writes: 'allowed', reason: null }, bazel: { writes: 'allowed', reason: null } },
  quarantine: [],
  incident: null,
  suspects: readings.suspects,
  store: readings.store,
  fills: { active: readings.fillsActive },
  audit: { head: null },
  upstream: { breaker: worst(Object.values(readings.breakers)) },
  redirectsRefused: readings.redirectsRefused,
});
