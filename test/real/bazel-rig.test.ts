// Proves the Bazel rig: both real Bazels, real bazel-remote and a real S3 server, whole and broken.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import t from 'tap';
import { type Bazel, type BazelVersion, bazelVersions, makeBazel } from '../support/bazel.ts';
import { type BazelRemote, startBazelRemote } from '../support/bazel-remote.ts';
import { makeWorkspace } from '../support/bazel-workspace.ts';
import { untilTrue } from '../support/real/admin.ts';
import { startVersitygw } from '../support/versitygw.ts';

const remoteCacheOf = ({ grpcPort }: BazelRemote): string => `grpc://127.0.0.1:${grpcPort}`;

const cases: readonly { version: BazelVersion; reason: string; flags: readonly string[] }[] = [
  ...bazelVersions.map((version) => ({ version, reason: 'identity', flags: [] })),
  { version: '7.7', reason: 'zstd', flags: ['--remote_cache_compression'] },
];

for (const { version, reason, flags } of cases) {
  t.test(
    `Bazel ${version} builds cold, then hits everything, on bazel-remote's disk and in S3: ${reason}`,
    async (t) => {
      const s3 = await startVersitygw(t);
      const remote = await startBazelRemote(t, { s3 });
      const workspace = await makeWorkspace(t);
      const bazel = await makeBazel(t, version, workspace);
      const build = () => bazel.build({ remoteCache: remoteCacheOf(remote), flags });

      const cold = await build();
      t.match(cold, { exit: 0, warnings: [], actions: 40, localActions: 40, remoteHits: 0 }, cold.stderr);
      t.equal(workspace.actions, 40);
      const built = await workspace.outputs();
      t.equal(built.size, 88);
      t.equal(built.get(workspace.middle.file), workspace.middle.digest.hash);
      t.equal(built.get('empty.txt'), createHash('sha256').digest('hex'));

      const hitsAll = async (name: string): Promise<void> => {
        await bazel.clean();
        t.equal((await workspace.outputs()).size, 0);
        const warm = await build();
        t.match(
          warm,
          { exit: 0, warnings: [], actions: 40, localActions: 0, remoteHits: 40 },
          `${name}: ${warm.stderr}`,
        );
        t.match(warm.stdout, 'spoken for plain');
        t.match(warm.stderr, 'complained for plain');
        t.same(await workspace.outputs(), built, `${name}: the same bytes`);
      };
      await hitsAll('warm');
      const reads = remote.log().match(/(?<= READ COMPLETED )\S+(?=\/[0-9a-f]{64})/g) ?? [];
      t.same([...new Set(reads)], [reason === 'zstd' ? 'compressed-blobs/zstd' : 'blobs']);
      await remote.uploaded();
      await remote.wipe();
      await hitsAll('from S3');
      await bazel.shutdown();
      await hitsAll('in a new server');
    },
  );
}

t.test(
  'both Bazels build the same bytes, and need the middle of the chain when the link behind it turns',
  async (t) => {
    const remote = await startBazelRemote(t, { storage: 'uncompressed' });
    const workspaces = await Promise.all(bazelVersions.map(() => makeWorkspace(t, { salt: 'other' })));
    const outputs: ReadonlyMap<string, string>[] = [];
    for (const [index, version] of bazelVersions.entries()) {
      const workspace = workspaces[index];
      if (!workspace) throw new Error('one for each');
      const bazel = await makeBazel(t, version, workspace);
      const remoteCache = remoteCacheOf(remote);
      t.match(await bazel.build({ remoteCache: null }), { exit: 0, warnings: [], localActions: 40, remoteHits: 0 });
      outputs.push(await workspace.outputs());
      await bazel.clean();
      t.match(await bazel.build({ remoteCache, targets: [workspace.end] }), { exit: 0, actions: 12, localActions: 12 });
      await workspace.turn(version);
      await bazel.clean();
      const turned = await bazel.build({ remoteCache, targets: [workspace.end] });
      t.match(turned, { exit: 0, warnings: [], remoteHits: 6, localActions: 6 }, turned.stderr);
      const middle = await readFile(`${workspace.dir}/bazel-bin/${workspace.middle.file}`);
      t.ok(middle.equals(workspace.middle.content));
    }
    t.same(outputs[0], outputs[1]);
  },
);

t.test('S3 loses its index, hangs, stops, and serves what is written into its files', async (t) => {
  const s3 = await startVersitygw(t);
  const remote = await startBazelRemote(t, { s3, storage: 'uncompressed' });
  const bytes = Buffer.from('a blob');
  const hash = createHash('sha256').update(bytes).digest('hex');
  const url = `http://127.0.0.1:${remote.httpPort}/cas/${hash}`;
  const get = async (signal?: AbortSignal) => {
    const response = await fetch(url, { ...(signal && { signal }) });
    return { status: response.status, body: await response.text() };
  };
  t.equal((await fetch(url, { method: 'PUT', body: bytes })).status, 200);
  await remote.uploaded();
  await remote.wipe();
  await s3.loseIndex();
  t.match(await get(), { status: 500, body: /bucket does not exist/ });
  await s3.stop();
  await s3.start();
  t.match(await get(), { status: 200, body: 'a blob' }, 'a restart heals');

  await remote.wipe();
  await s3.loseIndex();
  await s3.relink();
  s3.pause();
  await t.rejects(get(AbortSignal.timeout(500)), { name: 'TimeoutError' });
  s3.resume();
  t.match(await get(), { status: 200, body: 'a blob' });

  await writeFile(s3.diskPath(remote.objectKey('cas', hash)), 'a blur');
  await remote.kill();
  await remote.start();
  t.match(await get(), { body: 'a blob' }, 'its own disk is asked first');
  await remote.wipe();
  t.match(await get(), { status: 200, body: 'a blur' });

  await s3.stop();
  await t.rejects(fetch(s3.endpoint));
  await remote.stop();
  await t.rejects(get());
});

/** Every process whose command line or environment shows the mark. */
const processesWith = (mark: string): string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      return ['environ', 'cmdline'].some((file) => readFileSync(`/proc/${pid}/${file}`).includes(mark));
    } catch {
      return false; // No process, or one that has just ended.
    }
  });

t.test('a scope ends with all that ran in it: clients, servers, mounts, directories', async (t) => {
  for (const version of bazelVersions) {
    const teardowns: (() => unknown)[] = [];
    const scope = { teardown: (action: () => unknown) => teardowns.unshift(action) };
    const s3 = await startVersitygw(scope);
    const remote = await startBazelRemote(scope, { s3 });
    const bazel: Bazel = await makeBazel(scope, version, await makeWorkspace(scope));
    const leaving = new AbortController();
    const running = bazel.build({ remoteCache: remoteCacheOf(remote), signal: leaving.signal });
    await untilTrue(() => existsSync(`${bazel.outputBase}/server/command_port`)); // It is up, and no child of ours any more.
    leaving.abort();
    t.equal((await running).exit, null);
    t.not(processesWith(bazel.outputBase).length, 0, 'the server lives on');
    const left = bazel.build({ remoteCache: null });
    s3.pause();
    remote.pause();
    for (const action of teardowns) await action();
    t.equal((await left).exit, null, 'what ran on when the scope ended');
    for (const mark of [bazel.outputBase, remote.dir]) await untilTrue(() => processesWith(mark).length === 0);
    for (const path of [bazel.outputBase, bazel.workspace.dir, remote.dir, s3.diskPath('')]) t.notOk(existsSync(path));
  }
  t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), 'bazel-7.7/root', 'no mount is left');
});
