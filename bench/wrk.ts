// Small requests, set by wrk: one client process that nginx itself does not outrun.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runProgram } from '../test/support/real/program.ts';
import { type Scope, temporaryDirectory } from '../test/support/real/scope.ts';

const script = fileURLToPath(new URL('paths.lua', import.meta.url));

export interface Load {
  readonly seconds: number;
  readonly connections: number;
  /** What each connection waits before each request. Without it, it asks as soon as it has its answer. */
  readonly pauseMs?: number;
}

export interface LoadResult {
  readonly requestsPerSecond: number;
  readonly p99Ms: number;
}

/** The paths are asked for in turn, again and again. Rejects when one answer is no 200. */
export const wrk = async (scope: Scope, origin: string, paths: readonly string[], load: Load): Promise<LoadResult> => {
  const list = join(await temporaryDirectory(scope, 'paths'), 'paths');
  await writeFile(list, `${paths.join('\n')}\n`);
  const flags = ['-t1', `-c${load.connections}`, `-d${load.seconds}s`, '--timeout=30s', '-s', script, origin];
  const { code, stdout, stderr } = await runProgram('/usr/bin/wrk', [...flags, '--', list, String(load.pauseMs ?? 0)], {
    env: {},
  });
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  if (code !== 0 || !line.startsWith('{')) throw new Error(`wrk: ${stdout}${stderr}`);
  const result: { requests: number; us: number; failed: number; p99us: number } = JSON.parse(line);
  if (result.failed > 0 || result.requests === 0) throw new Error(`${result.failed} requests failed: ${stdout}`);
  return { requestsPerSecond: (result.requests / result.us) * 1e6, p99Ms: result.p99us / 1000 };
};
