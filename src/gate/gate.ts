// The one place that decides a write: allow, or refuse with a reason and the sentence that the client prints.

import type { Front } from '../core/telemetry.ts';

/** One write as a front sees it, before any of its body was read. */
export interface Write {
  readonly front: Front;
  /** The Nix cache or the REAPI instance: what a quarantine's scope names. Null where only the body says it. */
  readonly tenant: string | null;
  /** HTTP method and route, or gRPC method. For log and audit; no decision rests on it. */
  readonly operation: string;
  /** The store path or action digest that it is about, where its head says so: what to push again once writes pass. */
  readonly subject?: string;
}

export type Decision =
  | { readonly allow: true }
  | {
      readonly allow: false;
      readonly by: 'health' | 'quarantine';
      /** The operator's reason, the class of the fault, `state-unwritable` or `state-corrupt`. */
      readonly reason: string;
      /** Whole and fit to be shown to the person whose push it stops; constant for one state of the gate. */
      readonly sentence: string;
      /** Only by health: when it is worth to ask again. */
      readonly retryAfterSeconds?: number;
    };

export interface Gate {
  /**
   * May take seconds: while health is unknown a write is held, not refused. A front that notices its client's
   * going aborts `signal`; the promise then resolves at once, with whatever nobody will read. Never rejects.
   */
  decide(write: Write, signal?: AbortSignal): Promise<Decision>;
}

/** The gate of a house that watches no health and knows no quarantine: it refuses nothing. */
export const openGate = (): Gate => ({
  decide: () => Promise.resolve({ allow: true }),
});
