// A watch whose rounds a test tells one by one, run by the real state machine.

import type { Clock } from '../../src/core/clock.ts';
import type { Watched } from '../../src/gate/health-keeper.ts';
import type { MachineEvent } from '../../src/health/finding.ts';
import { initialState, step } from '../../src/health/machine.ts';
import type { EvidenceRow, FaultClass, MachineState } from '../../src/health/state.ts';

export class HealthScript implements Watched {
  readonly #clock: Clock;
  readonly #listeners: ((before: MachineState, after: MachineState) => void | Promise<void>)[] = [];
  current: MachineState;

  constructor(clock: Clock, state = initialState(clock.now())) {
    this.#clock = clock;
    this.current = state;
  }

  onChange(listener: (before: MachineState, after: MachineState) => void | Promise<void>): void {
    this.#listeners.push(listener);
  }

  async apply(event: MachineEvent): Promise<MachineState> {
    const before = this.current;
    this.current = step(before, event, this.#clock.now());
    const { state, incident, class: fault, lastIncident } = this.current;
    const isSame =
      state === before.state &&
      fault === before.class &&
      incident?.id === before.incident?.id &&
      incident?.recoveredAt === before.incident?.recoveredAt &&
      lastIncident === before.lastIncident;
    const after = this.current;
    if (!isSame) await Promise.all(this.#listeners.map((listener) => listener(before, after)));
    return after;
  }

  /** One round with this outcome; a good one proves a write as well. */
  async round(fault: FaultClass | 'OK' = 'OK'): Promise<void> {
    const row: EvidenceRow = {
      at: this.#clock.now(),
      bucket: 'nix',
      operation: 'ListBuckets',
      class: fault,
      status: 200,
      code: null,
      requestId: null,
      ms: 2,
      serverVersion: null,
      marker: null,
    };
    const seen = { storeId: null, canaries: [], listed: [] };
    const finding = { class: fault, proof: fault === 'OK' ? ('OK' as const) : null, seen, withoutCanary: [] };
    await this.apply({ kind: 'round', finding, evidence: [row] });
  }
}
