// Starts `store-child.ts`, waits for its `ready`, and kills it with SIGKILL: nothing in it can tidy up.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('store-child.ts', import.meta.url));

export const startChild = async (task: string, dir: string, wrapper: readonly string[] = []): Promise<ChildProcess> => {
  const [command = process.execPath, ...args] = [...wrapper, process.execPath, program, task, dir];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [said] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  if (!String(said).startsWith('ready')) throw new Error(`the child ended: ${String(said)}`);
  return child;
};

export const killChild = async (child: ChildProcess): Promise<void> => {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
};
