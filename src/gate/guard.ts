// Everything that the gate rests on, opened from one directory: quarantine, incidents, audit log, and health as it is kept.

import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import type { Front } from '../core/telemetry.ts';
import type { MachineState } from '../health/state.ts';
import { AuditLog } from './audit.ts';
import { Changes } from './changes.ts';
import { GuardedGate, type Stance } from './guarded-gate.ts';
import { HealthKeeper } from './health-keeper.ts';
import { Incidents } from './incidents.ts';
import type { Order } from './orders.ts';
import type { Trouble } from './persistence.ts';
import { Quarantine } from './quarantine.ts';
import { type OpenFile, StateDir } from './state-dir.ts';

export interface GuardOptions {
  /** `[state] dir`; the caller owns it. */
  readonly dir: string;
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  /** Whether somebody watches health: then `keeper` is there, and must follow the watch before the gate is asked. */
  readonly isWatched: boolean;
  /** Tests replace it, to have a disk that takes nothing. */
  readonly openFile?: OpenFile;
}

/** What of it is shown, as of now. */
export interface GuardReadings {
  /** Null where nobody watches. */
  readonly health: MachineState | null;
  readonly stances: Readonly<Record<Front, Stance>>;
  readonly orders: readonly Order[];
  readonly trouble: Trouble | null;
  readonly auditHead: string | null;
  readonly writesHeld: number;
}

export interface Guard {
  readonly gate: GuardedGate;
  readonly quarantine: Quarantine;
  readonly incidents: Incidents;
  readonly audit: AuditLog;
  readonly keeper: HealthKeeper | null;
  /** Notified whenever the gate may decide otherwise. */
  readonly changes: Changes;
  readings(): GuardReadings;
  /** For files that were corrupt: the operator vouches for what they held. Rejects with STATE_UNWRITABLE. */
  assumeClear(reason: string | null, by: string): Promise<void>;
  /** Writes down what is still in memory alone. */
  close(): Promise<void>;
}

/** Before anything listens. */
export const openGuard = async ({ dir, clock, log, isWatched, openFile }: GuardOptions): Promise<Guard> => {
  const state = new StateDir(dir, openFile);
  const changes = new Changes();
  const path = join(dir, 'audit.ndjson');
  const audit = await AuditLog.open({ path, clock, log, ...(openFile && { openFile }) });
  const incidents = await Incidents.open({ state, clock, log });
  const ports = { state, clock, log, changes, audit: audit.append.bind(audit) };
  const quarantine = await Quarantine.open(ports);
  const keeper = isWatched ? await HealthKeeper.open({ ...ports, incidents }) : null;
  const trouble = () => quarantine.trouble ?? keeper?.trouble ?? null;
  const gate = new GuardedGate({
    clock,
    health: keeper,
    quarantine,
    trouble,
    changes,
    onRefused: (write, _refusal, incidentId) => {
      if (incidentId !== null) void incidents.refused(incidentId, write);
    },
  });
  return {
    gate,
    quarantine,
    incidents,
    audit,
    keeper,
    changes,
    readings: () => ({
      health: keeper?.current ?? null,
      stances: { nix: gate.stance('nix'), bazel: gate.stance('bazel') },
      orders: quarantine.orders,
      trouble: trouble(),
      auditHead: audit.head,
      writesHeld: gate.held,
    }),
    assumeClear: async (reason, by) => {
      await quarantine.assumeClear(reason, by);
      await keeper?.assumeClear(reason, by);
    },
    close: async () => {
      quarantine.close();
      keeper?.close();
      await incidents.flush();
    },
  };
};
