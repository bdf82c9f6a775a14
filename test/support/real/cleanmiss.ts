// cleanmiss as its users start it: a process of its own, that can be killed at any moment and be started again.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { startProgram } from './program.ts';
import { type Scope, temporaryDirectory } from './scope.ts';

export interface Cleanmiss {
  /** `http://host:port` of the Nix front. */
  readonly nix: string;
  /** `host:port` of the Bazel front. */
  readonly bazel: string;
  readonly admin: string;
  readonly pid: number;
  /** The most memory that it ever held, in bytes. */
  peakMemory(): Promise<number>;
  /** SIGKILL: nothing in it can tidy up. */
  kill(): Promise<void>;
  /** SIGTERM, and a drain. Resolves with the exit code. */
  stop(): Promise<number | null>;
}

const cli = fileURLToPath(new URL('../../../src/cli.ts', import.meta.url));

/** `serve`, with flags as on the command line. `dir` is where its data lie; without one they go with the scope. */
export const startCleanmiss = async (
  scope: Scope,
  flags: Readonly<Record<string, string>> = {},
  dir?: string,
): Promise<Cleanmiss> => {
  const home = dir ?? (await temporaryDirectory(scope, 'data'));
  const all = {
    'nix.listen': '127.0.0.1:0',
    'bazel.listen': '127.0.0.1:0',
    'admin.listen': '127.0.0.1:0',
    'store.dir': `${home}/store`,
    'state.dir': `${home}/state`,
    'health.watch': 'none',
    ...flags,
  };
  const args = Object.entries(all).map(([name, value]) => `--${name}=${value}`);
  const { child, kill } = startProgram(process.execPath, [cli, 'serve', '--json', ...args], { env: {} });
  const closed = once(child, 'close');
  const killed = async () => {
    kill();
    await closed;
  };
  scope.teardown(killed);
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-10_000);
  });
  const [first] = await Promise.race([once(child.stdout, 'data'), closed]);
  const { pid } = child;
  if (!Buffer.isBuffer(first) || pid === undefined) throw new Error(`cleanmiss does not start: ${log}`);
  const addresses: { nix: string; bazel: string; admin: string } = JSON.parse(first.toString());
  return {
    nix: `http://${addresses.nix}`,
    bazel: addresses.bazel,
    admin: `http://${addresses.admin}`,
    pid,
    async peakMemory() {
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
    },
    kill: killed,
    async stop() {
      child.kill('SIGTERM');
      const [code] = await closed;
      return code;
    },
  };
};
