// The limits of one transfer: a first byte in time, no long silence, and a floor under its speed.

import type { Clock, Timer } from '../core/clock.ts';
import type { UnavailableReason } from '../core/verdict.ts';

export interface TransferLimits {
  /** From the request to the first body byte, head or no head: Attic sends a head and then hangs with its store. */
  readonly firstByteMs: number;
  readonly idleMs: number;
}

/** 10 kB/s over a minute: below it a hung store drips, or an attacker holds a place. */
const FLOOR_WINDOW_MS = 60_000;
const FLOOR_BYTES = 10_000 * (FLOOR_WINDOW_MS / 1_000);

/** Counts only the time that the transfer keeps us waiting, never the time that we make it wait. */
export class TransferWatch {
  readonly #clock: Clock;
  readonly #limits: TransferLimits;
  readonly #onLimit: (reason: UnavailableReason) => void;
  #timer: Timer | null = null;
  #isOver = false;
  #isWaiting = false;
  #hasBytes = false;
  #waitingSince: number;
  #windowBytes = 0;
  #windowMs = 0;

  /** `onLimit` is called once, when the first limit is passed. Whoever makes one closes it. */
  constructor(clock: Clock, limits: TransferLimits, onLimit: (reason: UnavailableReason) => void) {
    this.#clock = clock;
    this.#limits = limits;
    this.#onLimit = onLimit;
    this.#waitingSince = clock.monotonic();
    this.waits();
  }

  /** From now on we wait for bytes. */
  waits(): void {
    if (this.#isWaiting || this.#isOver) return;
    this.#isWaiting = true;
    if (this.#hasBytes) this.#waitingSince = this.#clock.monotonic();
    const limitMs = this.#hasBytes ? this.#limits.idleMs : this.#limits.firstByteMs;
    this.#arm(limitMs, this.#hasBytes ? 'idle' : 'first-byte');
  }

  /** Bytes came: until `waits`, nothing counts. */
  came(bytes: number): void {
    if (this.#isOver) return;
    this.#timer?.cancel();
    if (this.#isWaiting && this.#hasBytes) this.#windowMs += this.#clock.monotonic() - this.#waitingSince;
    this.#isWaiting = false;
    this.#hasBytes = true;
    this.#windowBytes += bytes;
    if (this.#windowMs < FLOOR_WINDOW_MS) return;
    if (this.#windowBytes < FLOOR_BYTES * (this.#windowMs / FLOOR_WINDOW_MS)) this.#pass('floor');
    this.#windowBytes = 0;
    this.#windowMs = 0;
  }

  /** What is told after it counts for nothing. */
  close(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(ms: number, reason: UnavailableReason): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(ms, () => this.#pass(reason));
  }

  #pass(reason: UnavailableReason): void {
    this.close();
    this.#onLimit(reason);
  }
}
