// On a machine without an xz decoder: what is compressed so cannot be proven, and is a miss or a refusal, never a promise.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { makeObject } from '../support/cache-object.ts';
import { get, put } from '../support/http-client.ts';
import { startUpstream } from '../support/scripted-upstream.ts';

const root = resolve(import.meta.dirname, '../..');

/** Serves without liblzma. */
const serve = async (t: Test, flags: readonly string[] = []) => {
  const listens = ['nix', 'bazel', 'admin'].map((front) => `--${front}.listen=127.0.0.1:0`);
  const hook = new URL('../support/without-lzma.ts', import.meta.url).pathname;
  const args = [
    '--import',
    hook,
    join(root, 'src/cli.ts'),
    'serve',
    '--json',
    '--health.watch=none',
    ...listens,
    ...flags,
  ];
  const child = spawn(process.execPath, args, { cwd: t.testdir(), stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close');
  const log: { level?: string; msg?: string }[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => log.push(JSON.parse(line)));
  const [line] = await once(child.stdout, 'data');
  const stop = async () => {
    child.kill('SIGTERM');
    await closed;
  };
  t.teardown(stop);
  const { nix }: { nix: string } = JSON.parse(String(line));
  return { nix: `http://${nix}`, log, stop };
};

t.test('in front of a cache, a narinfo that names xz is a miss', async (t) => {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  const xz = upstream.add(await makeObject({ seed: 'xz', kind: 'xz', sizeBytes: 5_000 }));
  const zstd = upstream.add(await makeObject({ seed: 'zstd', kind: 'zstd-one', sizeBytes: 5_000 }));
  const { nix, log, stop } = await serve(t, [`--nix.upstream=${upstream.origin}`, '--health.watch=none']);
  t.equal((await get(`${nix}${xz.narinfo}`)).status, 404);
  t.equal((await get(`${nix}${zstd.narinfo}`)).status, 200, 'others are served');
  t.equal((await get(`${nix}${zstd.nar}`)).status, 200);
  await stop();
  t.equal(log.filter(({ level, msg }) => level === 'warn' && msg?.includes('no xz decoder')).length, 1, 'said once');
});

t.test('as the cache, what is put as xz is refused, by its name and by its bytes', async (t) => {
  const { nix, stop } = await serve(t);
  const { narPath, narinfoPath, narinfo, body } = await makeObject({
    seed: 'xz',
    kind: 'xz',
    like: 'nix',
    sizeBytes: 5_000,
  });
  for (const path of [narPath, narPath.replace('.xz', '')]) {
    const refused = await put(`${nix}/${path}`, body.bytes);
    t.equal(refused.status, 400, path);
    t.notMatch(refused.body.toString(), /use .*xz/, 'and xz is not what is recommended');
  }
  t.equal((await put(`${nix}/${narinfoPath}`, narinfo)).status, 400);
  await stop();
});
