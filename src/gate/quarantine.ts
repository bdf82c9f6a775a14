// Keeps the operators' standing orders: one is in force before it is on disk, and is lifted only after that is.

import type { Clock, Timer } from '../core/clock.ts';
import { isCode } from '../core/errors.ts';
import type { AuditEntry } from './audit-chain.ts';
import type { Changes } from './changes.ts';
import type { Write } from './gate.ts';
import { InTurn } from './in-turn.ts';
import {
  isLoosened,
  isSame,
  type Order,
  type Orders,
  type OrderTerms,
  orderFor,
  readOrders,
  type Scope,
} from './orders.ts';
import { Persistence, type Trouble } from './persistence.ts';
import type { StateDir } from './state-dir.ts';

export interface QuarantinePorts {
  readonly state: StateDir;
  readonly clock: Clock;
  /** `AuditLog.append`. */
  readonly audit: (entry: AuditEntry) => Promise<unknown>;
  /** Notified at every change of what is in force. */
  readonly changes: Changes;
  readonly log: { warn(fields: object, message: string): void; info(fields: object, message: string): void };
}

/** Who asks, and which generation of an order they saw (null: they do not say; a number that no order has: none). */
export interface Asker {
  readonly by: string;
  readonly seen: number | null;
}

export type Changed =
  /** `isNew`: there was none before. `isKept`: it is on disk; while it is not, the gate refuses every write. */
  | { readonly kind: 'done'; readonly order: Order; readonly isNew: boolean; readonly isKept: boolean }
  | { readonly kind: 'lifted' }
  | { readonly kind: 'absent' }
  /** It would end sooner, and the asker did not say what they saw (`unseen`), or saw another (`stale`). */
  | { readonly kind: 'unseen' | 'stale'; readonly order: Order | undefined }
  /** More orders than anybody reads. */
  | { readonly kind: 'full' };

const FILE = 'quarantine.json';
const MAX_ORDERS = 1_000;
const WARN_BEFORE_MS = 3_600_000;
/** The wall may be put forward meanwhile: no timer notices, so it is looked at so often. */
const LOOK_MS = 60_000;

export class Quarantine {
  readonly #ports: QuarantinePorts;
  readonly #orders: Map<Scope, Order>;
  readonly #turns = new InTurn();
  readonly #warned = new Set<number>();
  readonly #persistence: Persistence;
  #generation: number;
  #uncertainSince: number | null;
  #timer: Timer | undefined;
  #isClosed = false;

  private constructor(ports: QuarantinePorts, saved: Orders, uncertainSince: number | null) {
    this.#ports = ports;
    this.#orders = new Map(saved.orders.map((order) => [order.scope, order]));
    this.#generation = saved.generation;
    this.#uncertainSince = uncertainSince;
    this.#persistence = new Persistence({
      ...ports,
      write: () => this.#turns.run(() => ports.state.write(FILE, this.#saved())),
    });
  }

  /** Before anything listens. A file that cannot be read is kept beside, and stops every write until `assumeClear`. */
  static async open(ports: QuarantinePorts): Promise<Quarantine> {
    const { state, clock, log } = ports;
    const stored = await state.read(FILE, readOrders);
    // Generations go on after a file is lost, so that no old one comes to fit again.
    const none: Orders = { version: 1, generation: Math.floor(clock.now() / 1_000), isUncertain: false, orders: [] };
    if (stored.kind === 'corrupt') {
      log.warn(
        { path: state.path(FILE), detail: stored.detail },
        'quarantine: its file is corrupt, no write is allowed',
      );
      await state.setAside(FILE);
    }
    const saved = stored.kind === 'read' ? stored.value : none;
    const isUncertain = stored.kind === 'corrupt' || saved.isUncertain;
    const quarantine = new Quarantine(ports, saved, isUncertain ? clock.now() : null);
    if (stored.kind === 'corrupt') await quarantine.#persistence.keep([]);
    quarantine.#look();
    return quarantine;
  }

  get orders(): readonly Order[] {
    return [...this.#orders.values()];
  }

  /** Why nobody knows what is in force, or would know it after a restart; null while all is well. */
  get trouble(): Trouble | null {
    if (this.#uncertainSince !== null) return { kind: 'state-corrupt', since: this.#uncertainSince };
    return this.#persistence.trouble;
  }

  get(scope: Scope): Order | undefined {
    return this.#orders.get(scope);
  }

  find(write: Write): Order | undefined {
    return orderFor(this.#orders.values(), write);
  }

  /** Sets an order, or changes one. Rejects with STATE_UNWRITABLE only where it would end one sooner. */
  async on(scope: Scope, terms: OrderTerms, asker: Asker): Promise<Changed> {
    const before = this.#orders.get(scope);
    if (asker.seen !== null && asker.seen !== before?.generation) return { kind: 'stale', order: before };
    if (before === undefined && this.#orders.size >= MAX_ORDERS) return { kind: 'full' };
    if (before !== undefined && isSame(before, terms))
      return { kind: 'done', order: before, isNew: false, isKept: this.#persistence.trouble === null };
    if (before !== undefined && isLoosened(before, terms)) return await this.#replace(before, terms, asker);
    const order = this.#order(scope, terms, asker, before);
    this.#orders.set(scope, order);
    this.#changed();
    const entry = { ...rowOf('quarantine.on', order, asker.by), before: before ?? null, after: order };
    const isKept = await this.#persistence.keep([entry]);
    return { kind: 'done', order, isNew: before === undefined, isKept };
  }

  /** Lifts an order that the asker has seen. Rejects with STATE_UNWRITABLE; it is in force as before then. */
  async off(scope: Scope, reason: string | null, asker: Asker): Promise<Changed> {
    const before = this.#orders.get(scope);
    if (before === undefined) return { kind: 'absent' };
    if (asker.seen === null) return { kind: 'unseen', order: before };
    if (asker.seen !== before.generation) return { kind: 'stale', order: before };
    const isLifted = await this.#loosen(before, undefined, {
      ...rowOf('quarantine.off', before, asker.by),
      text: reason,
      before,
      after: null,
    });
    return isLifted ? { kind: 'lifted' } : { kind: 'stale', order: this.#orders.get(scope) };
  }

  /** The operator vouches for there having been no more in the file that was corrupt. Rejects with STATE_UNWRITABLE. */
  async assumeClear(reason: string | null, by: string): Promise<void> {
    if (this.#uncertainSince === null) return;
    await this.#ports.audit({ by, action: 'quarantine.assume-clear', subject: FILE, text: reason });
    await this.#turns.run(() => this.#ports.state.write(FILE, { ...this.#saved(), isUncertain: false }));
    this.#uncertainSince = null;
    this.#changed();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#persistence.close();
  }

  #order(scope: Scope, terms: OrderTerms, { by }: Asker, before: Order | undefined): Order {
    const since = before?.since ?? this.#ports.clock.now();
    return { scope, ...terms, since, by, generation: ++this.#generation };
  }

  async #replace(before: Order, terms: OrderTerms, asker: Asker): Promise<Changed> {
    if (asker.seen === null) return { kind: 'unseen', order: before };
    const order = this.#order(before.scope, terms, asker, before);
    const entry = { ...rowOf('quarantine.on', order, asker.by), before, after: order };
    if (!(await this.#loosen(before, order, entry))) return { kind: 'stale', order: this.#orders.get(before.scope) };
    return { kind: 'done', order, isNew: false, isKept: true };
  }

  /** Audited, then on disk, then in force. False where the order was changed meanwhile: then it is as that left it. */
  async #loosen(before: Order, after: Order | undefined, entry: AuditEntry): Promise<boolean> {
    const { audit, state } = this.#ports;
    const isCurrent = () => this.#orders.get(before.scope)?.generation === before.generation;
    try {
      await this.#turns.run(async () => {
        if (!isCurrent()) return;
        await audit(entry);
        await state.write(FILE, this.#saved({ without: before, with: after }));
      });
    } catch (error) {
      // It may have happened all the same: until the file says again what is in force, nobody knows.
      void this.#persistence.keep([{ ...rowOf('quarantine.kept', before, 'cleanmiss') }]);
      throw error;
    }
    if (!isCurrent()) return false;
    this.#orders.delete(before.scope);
    if (after !== undefined) this.#orders.set(after.scope, after);
    this.#changed();
    return true;
  }

  #saved(change?: { readonly without: Order; readonly with: Order | undefined }): Orders {
    const orders = [...this.#orders.values()].flatMap((order) =>
      order.generation !== change?.without.generation ? [order] : change.with === undefined ? [] : [change.with],
    );
    return { version: 1, generation: this.#generation, isUncertain: this.#uncertainSince !== null, orders };
  }

  #changed(): void {
    this.#look();
    this.#ports.changes.notify();
  }

  /** Warns of orders about to end, ends those that are due, and comes back when the next of either is. */
  #look(): void {
    this.#timer?.cancel();
    if (this.#isClosed) return;
    const { clock, log } = this.#ports;
    const now = clock.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const order of this.#orders.values()) {
      if (order.expires === null) continue;
      const leftMs = order.expires - now;
      if (leftMs <= 0) void this.#expire(order);
      if (leftMs > 0 && leftMs <= WARN_BEFORE_MS && !this.#warned.has(order.generation)) {
        this.#warned.add(order.generation);
        log.warn({ scope: order.scope, expires: new Date(order.expires).toISOString() }, 'quarantine: it ends soon');
      }
      nextMs = Math.min(nextMs, leftMs <= 0 ? LOOK_MS : Math.min(leftMs, LOOK_MS));
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#timer = clock.after(nextMs, () => this.#look());
  }

  /** Never rejects: what cannot be lifted stays in force, and is tried again. */
  async #expire(order: Order): Promise<void> {
    try {
      const entry = { ...rowOf('quarantine.expired', order, 'cleanmiss'), before: order, after: null };
      if (await this.#loosen(order, undefined, entry))
        this.#ports.log.info({ scope: order.scope }, 'quarantine: it has ended');
    } catch (error) {
      if (!isCode(error, 'STATE_UNWRITABLE')) throw error;
      this.#ports.log.warn(
        { err: error, scope: order.scope },
        'quarantine: it has ended, and that cannot be written down',
      );
    }
  }
}

const rowOf = (action: string, { scope, reason }: Order, by: string): AuditEntry => ({
  by,
  action,
  subject: scope,
  text: reason,
});
