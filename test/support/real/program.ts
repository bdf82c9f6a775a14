// Starts the real programs that .setup/clients brought. None of them outlives the process that started it.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { isCode } from '../../../src/core/errors.ts';

const cacheHome = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');

/** A file that .setup/clients put into its cache folder. */
export const fetched = (path: string): string => join(cacheHome, 'cleanmiss-test', path);

/** Throws unless the program is there: a real test without its program fails, it does not skip. */
export const present = (program: string): string => {
  try {
    accessSync(program, constants.X_OK);
  } catch (cause) {
    throw new Error(`${program} is missing: run \`sh .setup/clients\``, { cause });
  }
  return program;
};

export interface ProgramRun {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

export interface ProgramOptions {
  readonly env: Readonly<Record<string, string>>;
  /** Kills it, with SIGKILL. */
  readonly signal?: AbortSignal;
}

export interface Program {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  /** Kills it and its children at once. Its `close` event follows. */
  kill(): void;
}

/** The kernel kills it when we die, however that happens (prctl(2), PR_SET_PDEATHSIG). */
export const startProgram = (program: string, args: readonly string[], options: ProgramOptions): Program => {
  const { env, signal } = options;
  const child = spawn('/usr/bin/setpriv', ['--pdeathsig', 'KILL', present(program), ...args], {
    detached: true, // A process group: a child that was forked a moment ago cannot slip away from its kill.
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let isClosed = false;
  const kill = () => {
    if (isClosed || child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if (!isCode(error, 'ESRCH')) throw error; // All of them have ended, and `close` is on its way.
    }
  };
  signal?.addEventListener('abort', kill, { once: true });
  child.once('close', () => {
    isClosed = true;
    signal?.removeEventListener('abort', kill);
  });
  if (signal?.aborted) kill();
  return { child, kill };
};

/** Runs it to its end, and until nobody holds its output any more. Rejects only when it cannot be started. */
export const runProgram = (program: string, args: readonly string[], options: ProgramOptions): Promise<ProgramRun> =>
  new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const { child } = startProgram(program, args, options);
    const printed = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        printed[name] += text;
      });
    }
    child.once('error', reject);
    child.once('close', (code, signal) => {
      resolve({ code, signal, ...printed, seconds: (performance.now() - startedAt) / 1000 });
    });
  });
