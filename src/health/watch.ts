// Runs the rounds: one at a time, sooner while in doubt, and tells what changed.

import { type Clock, pause, type Timer } from '../core/clock.ts';
import type { Answer } from './answer.ts';
import { classify, classifyProof, evidenceOf } from './classify.ts';
import type { MachineEvent } from './finding.ts';
import { RECOVERY_MS, RECOVERY_ROUNDS, STALE_MS, step } from './machine.ts';
import { isMaterial } from './material.ts';
import type { Round } from './round.ts';
import type { EvidenceRow, FaultClass, MachineState } from './state.ts';

/** Between rounds while the next one decides. Never more: red within 7 s of a loss, of which 6 may pass unseen. */
const DOUBT_MS = 1_000;
/** While red or recovering: the store has trouble enough. */
const DOWN_MS = 2_000;
/** Of replicas that started together. Sooner only: a loss is red within 7 s, whatever the dice say. */
const JITTER = 0.2;
/** Half of what makes a green state stale. */
const MAX_INTERVAL_MS = STALE_MS / 2;
/** Signs and callers bring a round forward, and bring no storm. */
const SOONEST_MS = 1_000;
const TICK_MS = 1_000;
/** The only look at writes that stall: RustFS skips its own while it is read from. */
const PROOF_EVERY_MS = 900_000;
/** A proof that got no answer may hang in the server for 30 s; a second one beside it is what breaks RustFS's index. */
const PROOF_AFTER_SLOW_MS = 35_000;

export interface WatchPorts {
  readonly clock: Clock;
  /** Never rejects, and is over within seconds. */
  look(): Promise<Round>;
  /** Never rejects. */
  proveWrite(): Promise<readonly Answer[]>;
  /** Whether our own small writes may go out while all is well: not under a quarantine. */
  mayWrite(): boolean;
  /** From 0 to below 1. */
  random(): number;
  readonly log: { warn(fields: object, message: string): void };
}

export type Listener = (before: MachineState, after: MachineState) => void | Promise<void>;

export class HealthWatch {
  readonly #ports: WatchPorts;
  readonly #intervalMs: number;
  #state: MachineState;
  readonly #listeners: Listener[] = [];
  #told: Promise<unknown> = Promise.resolve();
  #change = new AbortController();
  readonly #over = new AbortController();
  #sleep = new AbortController();
  #startedAtMs = Number.NEGATIVE_INFINITY;
  #isWanted = false;
  /** Of callers whose round has not begun. */
  #asked: (() => void)[] = [];
  #proofAtMs: number;
  #isProofSlow = false;
  #ticking: Timer | null = null;
  #running: Promise<void> | null = null;
  #withoutCanary = '';

  /** `state`: as the machine made it, new or restored. Nothing runs before `start`; whoever makes one closes it. */
  constructor(ports: WatchPorts, state: MachineState, intervalMs: number) {
    this.#ports = ports;
    this.#state = state;
    this.#intervalMs = Math.min(intervalMs, MAX_INTERVAL_MS);
    this.#proofAtMs = ports.clock.monotonic();
  }

  get current(): MachineState {
    return this.#state;
  }

  /** A round finished within the time that its word is good for. */
  get isFresh(): boolean {
    const { roundAt } = this.#state;
    return roundAt !== null && this.#ports.clock.now() - roundAt <= STALE_MS;
  }

  start(): void {
    if (this.#running !== null) return;
    this.#running = this.#run();
    this.#tick();
  }

  /** Resolves when the round under way is over. */
  async close(): Promise<void> {
    this.#over.abort();
    this.#sleep.abort();
    this.#ticking?.cancel();
    await this.#running;
    await this.#told;
    for (const done of this.#asked.splice(0)) done();
  }

  /** Called as soon as `current` has changed in what outlives a round; the next round waits for what it returns. */
  onChange(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Resolves at the next such change, or when `signal` is aborted. */
  changed(signal?: AbortSignal): Promise<void> {
    const change = this.#change.signal;
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        change.removeEventListener('abort', done);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      change.addEventListener('abort', done);
      signal?.addEventListener('abort', done);
    });
  }

  /** Something went wrong that may be the store's doing: the next round comes now, or a second after the last began. */
  bringForward(): void {
    this.#isWanted = true;
    this.#sleep.abort();
  }

  /** Resolves when a round that began after the call is over, or the watch is closed. */
  async probeNow(): Promise<void> {
    if (this.#over.signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#asked.push(resolve);
      this.bringForward();
    });
  }

  /** A NoSuchBucket that real traffic met. Evidence by itself, and the next round comes now. */
  async noSuchBucket(row: Omit<EvidenceRow, 'class' | 'marker' | 'serverVersion'>): Promise<void> {
    const fault = 'INDEX_LOST_SUSPECTED';
    const whole: EvidenceRow = { ...row, class: fault, marker: null, serverVersion: null };
    const told = this.apply({ kind: 'sign', class: fault, row: whole });
    this.bringForward();
    await told;
  }

  /** Resolves when all have heard of it, with the state as it then is. */
  async apply(event: MachineEvent): Promise<MachineState> {
    const before = this.#state;
    const after = step(before, event, this.#ports.clock.now());
    this.#state = after;
    if (isMaterial(before, after)) {
      const telling = this.#listeners.map((listener) => this.#tell(listener, before, after));
      this.#told = Promise.all([this.#told, ...telling]);
      const change = this.#change;
      this.#change = new AbortController();
      change.abort();
    }
    await this.#told;
    return this.#state;
  }

  async #tell(listener: Listener, before: MachineState, after: MachineState): Promise<void> {
    try {
      await listener(before, after);
    } catch (error) {
      this.#ports.log.warn({ err: error, state: after.state }, 'A change of health was not heard');
    }
  }

  #tick(): void {
    this.#ticking = this.#ports.clock.after(TICK_MS, () => {
      this.#tick();
      void this.apply({ kind: 'tick' });
    });
  }

  async #run(): Promise<void> {
    while (!this.#over.signal.aborted) {
      const asked = this.#asked.splice(0);
      this.#isWanted = false;
      this.#startedAtMs = this.#ports.clock.monotonic();
      await this.#round();
      for (const done of asked) done();
      await this.#rest();
    }
  }

  async #round(): Promise<void> {
    const round = await this.#ports.look();
    // Whoever closes us may cut the look short: it then says nothing of the store.
    if (this.#over.signal.aborted) return;
    const read = classify(round, this.#state.baseline);
    const proofAnswers = read.class === 'OK' && this.#isProofDue() ? await this.#ports.proveWrite() : [];
    if (this.#over.signal.aborted) return;
    const proof = classifyProof(proofAnswers);
    if (proof !== null) {
      this.#proofAtMs = this.#ports.clock.monotonic();
      this.#isProofSlow = proof === 'SLOW';
    }
    const finding = { ...read, proof };
    const worst: FaultClass | 'OK' = finding.class === 'OK' ? (proof ?? 'OK') : finding.class;
    this.#warn(finding.withoutCanary);
    await this.apply({ kind: 'round', finding, evidence: evidenceOf(round, proofAnswers, worst) });
  }

  #isProofDue(): boolean {
    const { state, since, good, failedProofs, hasWriteProof } = this.#state;
    const { clock } = this.#ports;
    const sinceProofMs = clock.monotonic() - this.#proofAtMs;
    if (this.#isProofSlow && sinceProofMs < PROOF_AFTER_SLOW_MS) return false;
    switch (state) {
      case 'recovering':
        return !hasWriteProof && good + 1 >= RECOVERY_ROUNDS && clock.now() - since >= RECOVERY_MS;
      case 'green':
        return sinceProofMs >= PROOF_EVERY_MS && this.#ports.mayWrite();
      case 'doubtful':
        return failedProofs > 0 && this.#ports.mayWrite();
      default:
        return false;
    }
  }

  /** Said when it changes, and not with every round. */
  #warn(withoutCanary: readonly string[]): void {
    const names = withoutCanary.join(' ');
    if (names === this.#withoutCanary) return;
    this.#withoutCanary = names;
    if (names === '') return;
    this.#ports.log.warn({ buckets: withoutCanary }, 'No canary in these buckets: run `cleanmiss canary init`');
  }

  /** The time between rounds, cut short by `bringForward`, but never below a second from start to start. */
  async #rest(): Promise<void> {
    const { clock } = this.#ports;
    if (this.#over.signal.aborted) return;
    this.#sleep = new AbortController();
    if (!this.#isWanted) await pause(clock, this.#restMs(), this.#sleep.signal);
    const soonestMs = this.#startedAtMs + SOONEST_MS - clock.monotonic();
    if (this.#isWanted && soonestMs > 0) await pause(clock, soonestMs, this.#over.signal);
  }

  #restMs(): number {
    const jitter = 1 - JITTER * this.#ports.random();
    const { state, doubt } = this.#state;
    switch (state) {
      case 'unknown':
      case 'doubtful':
        return DOUBT_MS;
      case 'red':
      case 'recovering':
        return DOWN_MS * jitter;
      case 'latched':
        return doubt.rounds > 0 ? DOUBT_MS : this.#intervalMs * jitter;
      case 'green':
        return this.#intervalMs * jitter;
    }
  }
}
