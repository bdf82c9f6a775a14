// The state of the house as `GET /v1/status` shows it.

import type { BreakerState } from '../core/breaker.ts';
import type { Front } from '../core/telemetry.ts';
import type { GuardReadings } from '../gate/guard.ts';
import type { HealthState } from '../health/state.ts';
import { type IncidentView, incidentView, iso, type OrderView, orderView } from './views.ts';

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
  /** Without it nobody watches health, and nobody can quarantine. */
  readonly guard?: GuardReadings;
}

interface Writes {
  readonly writes: 'allowed' | 'refused';
  readonly reason: string | null;
}

/** Tools outside the project read this: fields are only ever added. Times are ISO 8601. */
export interface Status {
  readonly health: {
    readonly state: HealthState;
    readonly class: string | null;
    readonly since: string;
    /** False: nobody looks, and `unknown` is nothing to worry about. */
    readonly watched: boolean;
  };
  readonly gate: Readonly<Record<Front, Writes>>;
  readonly quarantine: readonly OrderView[];
  readonly incident: IncidentView | null;
  readonly suspects: Readings['suspects'];
  readonly store: Readings['store'];
  readonly fills: { readonly active: number };
  readonly audit: { readonly head: string | null };
  /** Open when it is for any front; null without an upstream. */
  readonly upstream: { readonly breaker: BreakerState | null };
  readonly breakers: Readings['breakers'];
  readonly redirectsRefused: Readings['redirectsRefused'];
}

const worst = (states: readonly BreakerState[]): BreakerState | null =>
  states.includes('open') ? 'open' : (states[0] ?? null);

const allowed: Writes = { writes: 'allowed', reason: null };

export const statusOf = (readings: Readings, startedAtMs: number): Status => {
  const { guard } = readings;
  const health = guard?.health ?? null;
  return {
    health: {
      state: health?.state ?? 'unknown',
      class: health?.class ?? null,
      since: iso(health?.since ?? startedAtMs),
      watched: health !== null,
    },
    gate: guard?.stances ?? { nix: allowed, bazel: allowed },
    quarantine: guard?.orders.map(orderView) ?? [],
    incident: health === null || health.incident === null ? null : incidentView(health.incident),
    suspects: readings.suspects,
    store: readings.store,
    fills: { active: readings.fillsActive },
    audit: { head: guard?.auditHead ?? null },
    upstream: { breaker: worst(Object.values(readings.breakers)) },
    breakers: readings.breakers,
    redirectsRefused: readings.redirectsRefused,
  };
};
