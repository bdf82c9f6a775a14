// A real server that a test stops, kills, pauses and starts again on the same ports; gone when the scope ends.

import { once } from 'node:events';
import { pause, systemClock } from '../../src/core/clock.ts';
import { type Program, startProgram } from './real/program.ts';
import type { Scope } from './real/scope.ts';

export interface ServerShape {
  readonly program: string;
  readonly args: readonly string[];
  /** Asked until `isReady` likes the status. */
  readonly readyUrl: string;
  isReady(status: number): boolean;
}

const START_WITHIN_MS = 20_000;
const STOP_WITHIN_MS = 10_000;
const KEPT_LOG = 1 << 20;

interface Run extends Program {
  readonly closed: Promise<unknown>;
}

/** Made stopped. The scope kills it. */
export class RestartableServer {
  readonly #shape: ServerShape;
  #run: Run | null = null;
  #log = '';

  constructor(scope: Scope, shape: ServerShape) {
    this.#shape = shape;
    scope.teardown(() => this.kill());
  }

  get isRunning(): boolean {
    return this.#run !== null;
  }

  /** What all its runs printed, the last MiB of it. */
  log(): string {
    return this.#log;
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    if (this.#run) throw new Error('it runs already');
    const program = startProgram(this.#shape.program, this.#shape.args, { env: { HOME: '/nonexistent' } });
    const run = { ...program, closed: once(program.child, 'close') };
    this.#run = run;
    for (const stream of [program.child.stdout, program.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-KEPT_LOG);
      });
    }
    let hasEnded = false;
    program.child.once('close', () => {
      hasEnded = true;
      if (this.#run === run) this.#run = null;
    });
    for (const giveUpAt = performance.now() + START_WITHIN_MS; !(await this.#answers()); ) {
      if (!hasEnded && performance.now() < giveUpAt) {
        await pause(systemClock, 20);
        continue;
      }
      await this.kill();
      throw new Error(`${this.#shape.program} does not start: ${this.#log.slice(-2000)}`);
    }
  }

  /** SIGTERM, as an operator does, and its own ways of ending. Rejects if it has to be killed. */
  async stop(): Promise<void> {
    const run = this.#run;
    if (!run) return;
    run.child.kill('SIGTERM');
    run.child.kill('SIGCONT'); // A paused one would not hear of it.
    const timer = systemClock.after(STOP_WITHIN_MS, run.kill);
    await run.closed;
    timer.cancel();
    if (run.child.signalCode === 'SIGKILL') throw new Error(`${this.#shape.program} had to be killed`);
  }

  /** SIGKILL: nothing in it can tidy up. */
  async kill(): Promise<void> {
    const run = this.#run;
    run?.kill();
    await run?.closed;
  }

  /** It keeps its connections, accepts more, and answers none. */
  pause(): void {
    this.#run?.child.kill('SIGSTOP');
  }

  resume(): void {
    this.#run?.child.kill('SIGCONT');
  }

  async #answers(): Promise<boolean> {
    try {
      const response = await fetch(this.#shape.readyUrl, { signal: AbortSignal.timeout(1000) });
      await response.body?.cancel();
      return this.#shape.isReady(response.status);
    } catch {
      return false; // Not yet.
    }
  }
}
