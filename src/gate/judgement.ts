// Whether one write may pass now, as a pure function of what is known; and the one sentence that says why not.

import type { MachineState } from '../health/state.ts';
import { writesUnder } from '../health/writes.ts';
import type { Decision } from './gate.ts';
import type { Order } from './orders.ts';
import type { Trouble } from './persistence.ts';

type Refusal = Decision & { readonly allow: false };

/** What a write meets. */
export interface Situation {
  /** The quarantine that it falls under. */
  readonly order: Order | undefined;
  readonly trouble: Trouble | null;
  /** Null where nobody watches. */
  readonly health: MachineState | null;
}

export type Judgement =
  | { readonly kind: 'allow' }
  /** Ask again after so long, or when something changed. `refusal` is for who cannot wait. */
  | { readonly kind: 'hold'; readonly forMs: number; readonly refusal: Refusal }
  | { readonly kind: 'refuse'; readonly refusal: Refusal };

const RETRY_SECONDS = 60;
/** Nobody knows yet, and mostly that is over within a few rounds. */
const RETRY_UNKNOWN_SECONDS = 15;

const iso = (ms: number): string => new Date(ms).toISOString();

const byOrder = ({ scope, reason, ticket, since }: Order): Refusal => ({
  allow: false,
  by: 'quarantine',
  reason,
  sentence:
    `This cache takes no writes since ${iso(since)}: quarantine (${scope}): ${reason}` +
    `${ticket === null ? '' : ` [${ticket}]`}. Reads go on.`,
});

const troubles: Readonly<Record<Trouble['kind'], string>> = {
  'state-corrupt': 'what cleanmiss keeps of its quarantines cannot be read (state-corrupt)',
  'state-unwritable': 'cleanmiss cannot write its state to disk (state-unwritable)',
};

const byTrouble = ({ kind, since }: Trouble): Refusal => ({
  allow: false,
  by: 'health',
  reason: kind,
  sentence: `This cache takes no writes since ${iso(since)}: ${troubles[kind]}. Reads go on.`,
  retryAfterSeconds: RETRY_SECONDS,
});

/** By incident, not by state: red, recovering and latched are one sentence. */
const byHealth = ({ incident }: MachineState, reason: string, since: number): Refusal => ({
  allow: false,
  by: 'health',
  reason: incident?.class ?? reason,
  sentence:
    incident === null
      ? `This cache takes no writes since ${iso(since)}: it is not known whether its object store is well (${reason}). Reads go on.`
      : `This cache takes no writes since ${iso(incident.openedAt)}: its object store is not well (${incident.class}, incident ${incident.id}). Reads go on.`,
  retryAfterSeconds: incident === null ? RETRY_UNKNOWN_SECONDS : RETRY_SECONDS,
});

/** `heldMs`: how long it has been held so far. `now` by the wall. */
export const judge = ({ order, trouble, health }: Situation, now: number, heldMs: number): Judgement => {
  if (order !== undefined) return { kind: 'refuse', refusal: byOrder(order) };
  if (trouble !== null) return { kind: 'refuse', refusal: byTrouble(trouble) };
  if (health === null) return { kind: 'allow' };
  const writes = writesUnder(health, now, heldMs);
  switch (writes.kind) {
    case 'allow':
      return { kind: 'allow' };
    case 'hold':
      return { kind: 'hold', forMs: writes.forMs, refusal: byHealth(health, health.class ?? 'UNKNOWN', health.since) };
    case 'refuse':
      return { kind: 'refuse', refusal: byHealth(health, writes.class, writes.since) };
  }
};
