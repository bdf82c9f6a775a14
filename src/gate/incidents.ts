// Incidents as they are kept: one file each, with its evidence and with what was refused meanwhile.

import type { Clock, Timer } from '../core/clock.ts';
import type { Front } from '../core/telemetry.ts';
import type { Incident } from '../health/state.ts';
import type { Write } from './gate.ts';
import { InTurn } from './in-turn.ts';
import type { StateDir } from './state-dir.ts';

/** One store path or action digest that is to be pushed again. */
export interface RefusedWrite {
  readonly front: Front;
  readonly subject: string;
  readonly operation: string;
  /** When it was refused last, milliseconds since 1970. */
  readonly at: number;
}

/** Everything about one incident: what an operator hands on. */
export interface IncidentRecord {
  readonly incident: Incident;
  readonly refused: readonly RefusedWrite[];
  /** Refused writes in all: those without a subject, and those beyond the list, too. */
  readonly refusedTotal: number;
}

export interface IncidentsPorts {
  readonly state: StateDir;
  readonly clock: Clock;
  readonly log: { warn(fields: object, message: string): void };
}

const FOLDER = 'incidents';
const MAX_INCIDENTS = 100;
/** 200 bytes each in the file. */
const MAX_REFUSED = 5_000;
/** So many refusals of the last moments are lost to a kill. */
const FLUSH_MS = 5_000;

interface Refusals {
  readonly id: string;
  readonly bySubject: Map<string, RefusedWrite>;
  total: number;
}

const fileOf = (id: string): string => `${FOLDER}/${id}.json`;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Nothing is decided by it, it is only shown: so no more is checked than what is needed to list it. */
const readRecord = (value: unknown): IncidentRecord => {
  const incident = isObject(value) ? value['incident'] : undefined;
  if (!isObject(value) || !isObject(incident)) throw new Error('no incident');
  if (typeof incident['id'] !== 'string' || typeof incident['openedAt'] !== 'number') throw new Error('no incident');
  if (!Array.isArray(value['refused']) || typeof value['refusedTotal'] !== 'number') throw new Error('no refusals');
  return value as unknown as IncidentRecord;
};

export class Incidents {
  readonly #ports: IncidentsPorts;
  readonly #turns = new InTurn();
  /** Oldest first. */
  readonly #known: Map<string, Incident>;
  /** Of the incident that is open. */
  #refusals: Refusals | null = null;
  #timer: Timer | undefined;

  private constructor(ports: IncidentsPorts, known: readonly Incident[]) {
    this.#ports = ports;
    this.#known = new Map(known.map((incident) => [incident.id, incident]));
  }

  static async open(ports: IncidentsPorts): Promise<Incidents> {
    const { state, log } = ports;
    const known: Incident[] = [];
    for (const name of await state.list(FOLDER, '.json')) {
      const stored = await state.read(`${FOLDER}/${name}`, readRecord);
      if (stored.kind === 'read') known.push(stored.value.incident);
      else log.warn({ name, ...stored }, 'incidents: one that cannot be read');
    }
    return new Incidents(
      ports,
      known.sort((a, b) => a.openedAt - b.openedAt),
    );
  }

  /** Newest first. */
  list(): Incident[] {
    return [...this.#known.values()].reverse();
  }

  has(id: string): boolean {
    return this.#known.has(id);
  }

  /** Everything about one; undefined where there is none, or where its file can no longer be read. */
  async get(id: string): Promise<IncidentRecord | undefined> {
    const incident = this.#known.get(id);
    return incident && { incident, ...(await this.#refusedIn(id)) };
  }

  /** As it is now. Rejects with STATE_UNWRITABLE. */
  async record(incident: Incident): Promise<void> {
    this.#known.set(incident.id, incident);
    await this.#write(incident.id);
    for (const id of this.#known.keys()) {
      if (this.#known.size <= MAX_INCIDENTS) break;
      this.#known.delete(id);
      await this.#ports.state.remove(fileOf(id));
    }
  }

  /** Notes a refusal; on disk within seconds. */
  async refused(id: string, { front, operation, subject }: Write): Promise<void> {
    const refusals = await this.#refusalsOf(id);
    if (refusals === null) return;
    refusals.total++;
    const { bySubject } = refusals;
    if (subject !== undefined && (bySubject.has(subject) || bySubject.size < MAX_REFUSED))
      bySubject.set(subject, { front, subject, operation, at: this.#ports.clock.now() });
    this.#timer ??= this.#ports.clock.after(FLUSH_MS, () => void this.flush());
  }

  /** Writes down what was refused. Never rejects: it is noted again with the next refusal. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#refusals === null || !this.#known.has(this.#refusals.id)) return;
    try {
      await this.#write(this.#refusals.id);
    } catch (err) {
      this.#ports.log.warn({ err }, 'incidents: what was refused cannot be written down');
    }
  }

  #write(id: string): Promise<void> {
    return this.#turns.run(async () => {
      const incident = this.#known.get(id);
      if (incident === undefined) return;
      await this.#ports.state.write(fileOf(id), { incident, ...(await this.#refusedIn(id)) });
    });
  }

  async #refusedIn(id: string): Promise<Pick<IncidentRecord, 'refused' | 'refusedTotal'>> {
    if (this.#refusals?.id === id)
      return { refused: [...this.#refusals.bySubject.values()], refusedTotal: this.#refusals.total };
    const stored = await this.#ports.state.read(fileOf(id), readRecord);
    if (stored.kind !== 'read') return { refused: [], refusedTotal: 0 };
    const { refused, refusedTotal } = stored.value;
    return { refused, refusedTotal };
  }

  /** A restart goes on with what its file says. Null for an incident that is not kept. */
  async #refusalsOf(id: string): Promise<Refusals | null> {
    if (this.#refusals?.id === id) return this.#refusals;
    if (!this.#known.has(id)) return null;
    const { refused, refusedTotal } = await this.#refusedIn(id);
    // Another refusal may have come first.
    if (this.#refusals?.id !== id)
      this.#refusals = { id, bySubject: new Map(refused.map((one) => [one.subject, one])), total: refusedTotal };
    return this.#refusals;
  }
}
