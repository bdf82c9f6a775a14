// The gate of a house with health and quarantine: every write of both fronts is decided by the one function in here.

import type { Clock } from '../core/clock.ts';
import type { Front } from '../core/telemetry.ts';
import type { MachineState } from '../health/state.ts';
import type { Changes } from './changes.ts';
import type { Decision, Gate, Write } from './gate.ts';
import { type Judgement, judge, type Situation } from './judgement.ts';

/** Writes that wait at a time. Each holds a connection, and its client waits with it. */
const MAX_HELD = 256;

export interface GuardedGateParts {
  readonly clock: Clock;
  /** As the keeper shows it; null where nobody watches. */
  readonly health: { readonly current: MachineState } | null;
  readonly quarantine: { find(write: Write): Situation['order'] };
  /** Of whatever keeps state. */
  readonly trouble: () => Situation['trouble'];
  /** Notified whenever one of the three above changes. */
  readonly changes: Changes;
  /** Must not throw. `incidentId`: of the incident that is open, whether it or a quarantine refused. */
  readonly onRefused?: (write: Write, refusal: Decision & { readonly allow: false }, incidentId: string | null) => void;
}

/** How the gate stands for what no narrower quarantine names. */
export interface Stance {
  readonly writes: 'allowed' | 'refused';
  readonly reason: string | null;
}

export class GuardedGate implements Gate {
  readonly #parts: GuardedGateParts;
  #held = 0;

  constructor(parts: GuardedGateParts) {
    this.#parts = parts;
  }

  /** Writes that wait for a decision. */
  get held(): number {
    return this.#held;
  }

  stance(front: Front): Stance {
    const judged = this.#judge({ front, tenant: '', operation: '' }, 0);
    if (judged.kind === 'allow') return { writes: 'allowed', reason: null };
    return { writes: 'refused', reason: judged.refusal.reason };
  }

  async decide(write: Write, signal: AbortSignal = NEVER): Promise<Decision> {
    const { clock } = this.#parts;
    const since = clock.monotonic();
    let judged = this.#judge(write, 0);
    if (judged.kind === 'hold' && this.#held < MAX_HELD) {
      this.#held++;
      try {
        while (judged.kind === 'hold' && !signal.aborted) {
          await this.#wait(judged.forMs, signal);
          judged = this.#judge(write, clock.monotonic() - since);
        }
      } finally {
        this.#held--;
      }
    }
    if (judged.kind === 'allow') return { allow: true };
    if (!signal.aborted)
      this.#parts.onRefused?.(write, judged.refusal, this.#parts.health?.current.incident?.id ?? null);
    return judged.refusal;
  }

  #judge(write: Write, heldMs: number): Judgement {
    const { clock, health, quarantine, trouble } = this.#parts;
    const situation = { order: quarantine.find(write), trouble: trouble(), health: health?.current ?? null };
    return judge(situation, clock.now(), heldMs);
  }

  /** Until something changes, `ms` are over, or the signal is aborted. */
  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const end = () => over.abort();
    const timer = this.#parts.clock.after(ms, end);
    signal.addEventListener('abort', end, { once: true });
    await this.#parts.changes.next(over.signal);
    timer.cancel();
    signal.removeEventListener('abort', end);
  }
}

const NEVER = new AbortController().signal;
