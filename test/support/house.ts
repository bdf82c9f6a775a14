// A whole house on free ports, with its own directories: what `npm start` composes, and nothing less.

import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { compose } from '../../src/compose.ts';
import { loadConfig } from '../../src/config.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { Gate } from '../../src/gate/gate.ts';

export interface TestHouse {
  /** `http://127.0.0.1:port` of the Nix front. */
  readonly nix: string;
  /** `127.0.0.1:port` of the Bazel front. */
  readonly bazel: string;
  readonly admin: string;
  readonly dir: string;
  /** Every log line, parsed. */
  readonly log: readonly Readonly<Record<string, unknown>>[];
  /** Files in the spool. */
  spooled(): Promise<string[]>;
  close(): Promise<void>;
}

interface Scope {
  teardown(action: () => unknown): unknown;
}

/** `flags` as on the command line, such as `{'nix.upstream': 'http://127.0.0.1:1'}`. `dir` is kept if it is given. */
export const startHouse = async (
  t: Scope,
  flags: Readonly<Record<string, string>> = {},
  { dir, clock = systemClock, gate }: { readonly dir?: string; readonly clock?: Clock; readonly gate?: Gate } = {},
): Promise<TestHouse> => {
  const home = dir ?? (await mkdtemp(join(tmpdir(), 'cleanmiss-')));
  const all = {
    'nix.listen': '127.0.0.1:0',
    'bazel.listen': '127.0.0.1:0',
    'admin.listen': '127.0.0.1:0',
    'health.watch': 'none',
    ...flags,
  };
  const { config } = loadConfig({ cwd: home, env: {}, flags: all, readFile: () => undefined });
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const house = await compose(config, { clock, log, ...(gate && { gate }) });
  let isClosed = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    await house.close();
  };
  t.teardown(async () => {
    await close();
    if (dir === undefined) await rm(home, { recursive: true, force: true });
  });
  return {
    nix: `http://${house.nix.address}`,
    bazel: house.bazel.address,
    admin: `http://${house.admin.address}`,
    dir: home,
    log: lines,
    spooled: () => readdir(join(home, 'cleanmiss-data/store/spool')),
    close,
  };
};
