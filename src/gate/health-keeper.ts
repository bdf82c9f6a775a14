// Keeps what of health must outlive a restart, and shows it to the gate: worse at once, better only once that is on disk.

import type { Clock } from '../core/clock.ts';
import type { MachineEvent } from '../health/finding.ts';
import { canAck } from '../health/machine.ts';
import type { MachineState } from '../health/state.ts';
import { isMachineState } from '../health/state-schema.ts';
import type { AuditEntry } from './audit-chain.ts';
import type { Changes } from './changes.ts';
import { healthRows } from './health-rows.ts';
import { InTurn } from './in-turn.ts';
import type { Incidents } from './incidents.ts';
import { Persistence, type Trouble } from './persistence.ts';
import type { StateDir } from './state-dir.ts';

/** What of `HealthWatch` is needed here. */
export interface Watched {
  readonly current: MachineState;
  onChange(listener: (before: MachineState, after: MachineState) => void | Promise<void>): unknown;
  /** Resolves once the listeners have, with what it came to. */
  apply(event: MachineEvent): Promise<MachineState>;
}

export interface HealthKeeperPorts {
  readonly state: StateDir;
  readonly clock: Clock;
  readonly incidents: Incidents;
  readonly audit: (entry: AuditEntry) => Promise<unknown>;
  readonly changes: Changes;
  readonly log: { warn(fields: object, message: string): void; info(fields: object, message: string): void };
}

/** `isKept`: it is on disk, and so in force; else it is as soon as the disk takes it. */
export type Acked =
  | { readonly kind: 'acked'; readonly isKept: boolean }
  | { readonly kind: 'unknown-incident' | 'not-latched' };

interface Saved {
  readonly version: 1;
  /** An earlier file was corrupt, and may have held a latch. */
  readonly isUncertain: boolean;
  readonly machine: MachineState | null;
}

const FILE = 'health.json';

const readSaved = (value: unknown): Saved => {
  if (
    typeof value !== 'object' ||
    value === null ||
    !('version' in value && 'isUncertain' in value && 'machine' in value)
  )
    throw new Error('this is no state of health');
  const { version, isUncertain, machine } = value;
  if (version !== 1 || typeof isUncertain !== 'boolean' || !(machine === null || isMachineState(machine)))
    throw new Error('this is no state of health');
  return { version, isUncertain, machine };
};

export class HealthKeeper {
  readonly #ports: HealthKeeperPorts;
  readonly #persistence: Persistence;
  readonly #turns = new InTurn();
  /** What was on disk at start; null where there was nothing that could be read. */
  readonly saved: MachineState | null;
  #uncertainSince: number | null;
  /** What the gate sees, as of the last material change. */
  #shown: MachineState | null = null;
  /** What the watch said at the last one. */
  #latest: MachineState | null = null;
  #written: MachineState | null = null;
  #keeping: Promise<unknown> = Promise.resolve();
  #watch: Watched | null = null;

  private constructor(ports: HealthKeeperPorts, saved: MachineState | null, uncertainSince: number | null) {
    this.#ports = ports;
    this.saved = saved;
    this.#uncertainSince = uncertainSince;
    this.#persistence = new Persistence({
      ...ports,
      write: () => this.#turns.run(() => this.#write()),
      onKept: () => this.#onKept(),
    });
  }

  /** Before anything listens. `saved` is then what a `HealthWatch` is restored from. */
  static async open(ports: HealthKeeperPorts): Promise<HealthKeeper> {
    const { state, clock, log } = ports;
    const stored = await state.read(FILE, readSaved);
    if (stored.kind === 'corrupt') {
      log.warn({ path: state.path(FILE), detail: stored.detail }, 'health: its file is corrupt, no write is allowed');
      await state.setAside(FILE);
    }
    const saved = stored.kind === 'read' ? stored.value.machine : null;
    const isUncertain = stored.kind === 'corrupt' || (stored.kind === 'read' && stored.value.isUncertain);
    const keeper = new HealthKeeper(ports, saved, isUncertain ? clock.now() : null);
    if (stored.kind === 'corrupt') await keeper.#persistence.keep([]);
    return keeper;
  }

  /** Once, before the watch starts. */
  follow(watch: Watched): void {
    this.#watch = watch;
    this.#shown = watch.current;
    this.#latest = watch.current;
    watch.onChange((before, after) => this.#changed(before, after));
  }

  /** What the gate, and whoever else trusts in health, goes by. Throws before `follow`. */
  get current(): MachineState {
    const live = this.#watch?.current;
    if (live === undefined || this.#shown === null) throw new Error('no watch is followed yet');
    return this.#isLoosened(this.#shown, live) ? this.#shown : live;
  }

  get trouble(): Trouble | null {
    if (this.#uncertainSince !== null) return { kind: 'state-corrupt', since: this.#uncertainSince };
    return this.#persistence.trouble;
  }

  /** An operator has looked at the incident of this id. Writes pass again once that is audited and on disk. */
  async ack(id: string, note: string, by: string): Promise<Acked> {
    if (this.#watch === null) return { kind: 'unknown-incident' };
    const can = canAck(this.#watch.current, id);
    if (can !== 'ok') return { kind: can };
    const { lastIncident } = await this.#watch.apply({ kind: 'ack', id, note, by });
    // A round may have come between, and a bad one.
    if (lastIncident?.id !== id || lastIncident.ackedAt === null) return { kind: 'not-latched' };
    await this.#keeping;
    return { kind: 'acked', isKept: this.#persistence.trouble === null };
  }

  /** The operator vouches for there having been no latch in the file that was corrupt. Rejects with STATE_UNWRITABLE. */
  async assumeClear(reason: string | null, by: string): Promise<void> {
    if (this.#uncertainSince === null) return;
    await this.#ports.audit({ by, action: 'health.assume-clear', subject: FILE, text: reason });
    await this.#turns.run(() =>
      this.#ports.state.write(FILE, { version: 1, isUncertain: false, machine: this.#latest }),
    );
    this.#uncertainSince = null;
    this.#ports.changes.notify();
  }

  close(): void {
    this.#persistence.close();
  }

  /** Never rejects. The watch waits for it before its next round. */
  async #changed(before: MachineState, after: MachineState): Promise<void> {
    this.#latest = after;
    if (this.#shown !== null && !this.#isLoosened(this.#shown, after)) {
      this.#shown = after;
      this.#ports.changes.notify();
    }
    this.#keeping = this.#persistence.keep(healthRows(before, after));
    await this.#keeping;
  }

  /**
   * An incident closes, or the first green comes where there was no file: somebody may have lost one that had a latch.
   * Green and doubtful are nothing to keep: after a restart both are unknown.
   */
  #isLoosened(before: MachineState, after: MachineState): boolean {
    if (before.incident !== null) return after.incident?.id !== before.incident.id;
    return before.state === 'unknown' && this.saved === null && this.#written === null && after.state !== 'unknown';
  }

  async #write(): Promise<void> {
    const machine = this.#latest;
    const saved: Saved = { version: 1, isUncertain: this.#uncertainSince !== null, machine };
    await this.#ports.state.write(FILE, saved);
    for (const incident of [machine?.lastIncident, machine?.incident]) {
      if (incident) await this.#ports.incidents.record(incident);
    }
    this.#written = machine;
  }

  /** On disk is what the watch says: from now on the gate goes by it. */
  #onKept(): void {
    if (this.#written === null || this.#written !== this.#latest || this.#written === this.#shown) return;
    this.#shown = this.#written;
    this.#ports.changes.notify();
  }
}
