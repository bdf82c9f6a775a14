// Whether the buckets' directories lie on the drive beneath the store: present, absent, or not to be known now.

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Clock, pause } from '../core/clock.ts';
import type { Look, Looked } from './markers-child.ts';
import type { Marker } from './state.ts';

/** A stat takes microseconds, or as long as the volume hangs. */
const LIMIT_MS = 1_000;
/** A start of Node takes its time on a busy machine, and is no sign of the volume's. */
const START_MS = 5_000;
/** Killed, and not gone: each hangs in the kernel until its volume answers. More of them would tell no more. */
const MAX_HANGING = 2;

export interface MarkersOptions {
  readonly clock: Clock;
  /** Holds the buckets' directories. Read only. */
  readonly dir: string;
  readonly buckets: readonly string[];
}

export class Markers {
  readonly #options: MarkersOptions;
  #child: ChildProcess | null = null;
  #isWarm = false;
  #hanging = 0;
  #looks = 0;

  /** Whoever makes one closes it. The child starts with the first look, and ends with us. */
  constructor(options: MarkersOptions) {
    this.#options = options;
  }

  /** Never rejects. One look at a time is all that is asked of it. */
  async look(): Promise<ReadonlyMap<string, Marker>> {
    const { clock, dir, buckets } = this.#options;
    const child = this.#hanging < MAX_HANGING ? this.#running() : null;
    if (child === null) return this.#all(() => 'unknown');
    const id = ++this.#looks;
    const over = new AbortController();
    const answered = new Promise<Looked | null>((resolve) => {
      const hear = (message: Looked) => message.id === id && resolve(message);
      const lose = () => resolve(null);
      child.on('message', hear);
      child.once('exit', lose);
      over.signal.addEventListener('abort', () => {
        child.off('message', hear);
        child.off('exit', lose);
      });
    });
    child.send({ id, dir, buckets } satisfies Look, (error) => error !== null && over.abort());
    const late = pause(clock, this.#isWarm ? LIMIT_MS : START_MS, over.signal).then(() => null);
    const looked = await Promise.race([answered, late]);
    over.abort();
    if (looked === null) this.#giveUp(child);
    else this.#isWarm = true;
    return this.#all((index) => looked?.markers[index] ?? 'unknown');
  }

  close(): void {
    this.#child?.kill('SIGKILL');
    this.#child = null;
    this.#hanging = MAX_HANGING; // No look starts another.
  }

  #all(marker: (index: number) => Marker): ReadonlyMap<string, Marker> {
    return new Map(this.#options.buckets.map((bucket, index) => [bucket, marker(index)]));
  }

  #running(): ChildProcess {
    if (this.#child !== null) return this.#child;
    const file = import.meta.url.endsWith('.ts') ? './markers-child.ts' : './markers-child.js';
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
      // None of our secrets, flags or files.
      env: {},
      execArgv: [],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    child.unref();
    child.channel?.unref();
    child.on('error', () => this.#giveUp(child)); // Not started, or not to be reached: unknown, as `look` says.
    this.#child = child;
    this.#isWarm = false;
    return child;
  }

  #giveUp(child: ChildProcess): void {
    if (this.#child !== child) return;
    this.#child = null;
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    this.#hanging += 1;
    child.once('exit', () => {
      this.#hanging -= 1;
    });
    child.kill('SIGKILL');
  }
}
