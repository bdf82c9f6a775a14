// Where the bodies come from: files behind nginx, which sends them from memory, or a process that makes them up.

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { makeObject } from '../test/support/cache-object.ts';
import { signingKey } from '../test/support/narinfo.ts';
import { startProgram } from '../test/support/real/program.ts';
import type { Scope } from '../test/support/real/scope.ts';
import { lazyObject } from './lazy-nar.ts';
import type { LazyUpstreamOptions } from './lazy-upstream.ts';

/** The files of a cache, and where its narinfos are. */
export interface CacheFiles {
  readonly root: string;
  readonly narinfoPaths: readonly string[];
}

/** On tmpfs where there is one: no disk but our own is measured. */
const memoryDirectory = (): Promise<string> =>
  access('/dev/shm').then(
    () => '/dev/shm',
    () => tmpdir(),
  );

const emptyCache = async (scope: Scope): Promise<string> => {
  const root = await mkdtemp(join(await memoryDirectory(), 'cleanmiss-origin-'));
  scope.teardown(() => rm(root, { recursive: true, force: true }));
  await mkdir(join(root, 'nar'));
  await writeFile(join(root, 'nix-cache-info'), 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n');
  return root;
};

/** As Attic serves them, with the references and the signature that a package has: 711 bytes of narinfo, 43 KB for 64 KiB in three frames. */
export const smallNars = async (scope: Scope, count: number, sizeBytes: number): Promise<CacheFiles> => {
  const root = await emptyCache(scope);
  const key = signingKey('bench-1');
  const references = Array.from({ length: 8 }, (_, index) => `${'0'.repeat(31)}${index}-glibc-2.40-${index}`);
  const narinfoPaths: string[] = [];
  for (let index = 0; index < count; index++) {
    const object = await makeObject({ seed: `small-${index}`, sizeBytes, references, key });
    await writeFile(join(root, object.narinfoPath), object.narinfo);
    await writeFile(join(root, object.narPath), object.body.bytes);
    narinfoPaths.push(object.narinfoPath);
  }
  return { root, narinfoPaths };
};

/** NARs in many zstd frames, each of other content. */
export const largeNars = async (scope: Scope, count: number, sizeBytes: number): Promise<CacheFiles> => {
  const root = await emptyCache(scope);
  const narinfoPaths: string[] = [];
  for (let index = 0; index < count; index++) {
    const object = await lazyObject(`large-${index}`, sizeBytes);
    await writeFile(join(root, object.narinfoPath), object.narinfo);
    await pipeline(Readable.from(object.encoded()), createWriteStream(join(root, object.narPath)));
    narinfoPaths.push(object.narinfoPath);
  }
  return { root, narinfoPaths };
};

const lazyUpstream = fileURLToPath(new URL('lazy-upstream.ts', import.meta.url));

export const startLazyUpstream = async (
  scope: Scope,
  options: LazyUpstreamOptions,
): Promise<{ readonly url: string; readonly narinfoPaths: readonly string[] }> => {
  const { child, kill } = startProgram(process.execPath, [lazyUpstream, JSON.stringify(options)], { env: {} });
  scope.teardown(kill);
  const [line] = await Promise.race([once(child.stdout, 'data'), once(child, 'close')]);
  return JSON.parse(String(line));
};
