// Puts a tightening on disk after it took effect, and goes on trying: until it is there, the gate allows nothing.

import type { Clock, Timer } from '../core/clock.ts';
import type { AuditEntry } from './audit-chain.ts';
import type { Changes } from './changes.ts';

/** Why nobody knows what is in force (`state-corrupt`), or would know it after a restart. */
export interface Trouble {
  readonly kind: 'state-corrupt' | 'state-unwritable';
  /** Milliseconds since 1970. */
  readonly since: number;
}

export interface PersistencePorts {
  readonly clock: Clock;
  /** Writes what is in force at the moment, in turn with the other writes of its file. */
  readonly write: () => Promise<void>;
  readonly audit: (entry: AuditEntry) => Promise<unknown>;
  /** After each write that succeeded, rows and all, before anybody is told. */
  readonly onKept?: () => void;
  readonly changes: Changes;
  readonly log: { warn(fields: object, message: string): void };
}

const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 30_000;
/** Rows that wait for a disk that takes them; what is more is told by the log alone. */
const MAX_WAITING = 1_000;

export class Persistence {
  readonly #ports: PersistencePorts;
  readonly #waiting: AuditEntry[] = [];
  #trouble: Trouble | null = null;
  #pauseMs = FIRST_PAUSE_MS;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(ports: PersistencePorts) {
    this.#ports = ports;
  }

  get trouble(): Trouble | null {
    return this.#trouble;
  }

  /** Resolves with whether what is in force, and the rows about it, are on disk now. Never rejects. */
  async keep(rows: readonly AuditEntry[]): Promise<boolean> {
    for (const row of rows) {
      if (this.#waiting.length < MAX_WAITING) this.#waiting.push(row);
      else this.#ports.log.warn({ row }, 'audit: a row too many waits for the disk');
    }
    try {
      await this.#ports.write();
      await this.#writeRows();
    } catch (error) {
      this.#failed(error);
      return false;
    }
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#timer?.cancel();
    const wasTrouble = this.#trouble !== null;
    this.#trouble = null;
    this.#ports.onKept?.();
    if (wasTrouble) this.#ports.changes.notify();
    return true;
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  /** Each once: a row that another call took meanwhile is that one's. */
  async #writeRows(): Promise<void> {
    for (let row = this.#waiting.shift(); row !== undefined; row = this.#waiting.shift()) {
      try {
        await this.#ports.audit(row);
      } catch (error) {
        this.#waiting.unshift(row);
        throw error;
      }
    }
  }

  #failed(error: unknown): void {
    const { clock, log, changes } = this.#ports;
    log.warn({ err: error }, 'gate: its state cannot be written, no write is allowed');
    this.#trouble ??= { kind: 'state-unwritable', since: clock.now() };
    changes.notify();
    this.#timer?.cancel();
    if (this.#isClosed) return;
    this.#timer = clock.after(this.#pauseMs, () => void this.keep([]));
    this.#pauseMs = Math.min(this.#pauseMs * 2, MAX_PAUSE_MS);
  }
}
