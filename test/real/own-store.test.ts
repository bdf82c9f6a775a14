// Without an upstream cleanmiss is the cache: what `nix copy` was told is stored is there, whole, whatever befalls the process.

import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { metric, statusOf, untilTrue } from '../support/real/admin.ts';
import { startCleanmiss } from '../support/real/cleanmiss.ts';
import { writeDerivations } from '../support/real/derivations.ts';
import { hasBuiltLocally, makeNixStore, type NixStore, type NixVersion, nixVersions } from '../support/real/nix.ts';
import type { ProgramRun } from '../support/real/program.ts';
import { temporaryDirectory } from '../support/real/scope.ts';

const bytesOf = (store: NixStore, outPath: string): Buffer => readFileSync(join(store.hostPath(outPath), 'contents'));

/** `top` refers to `dep`, and `twin` holds what `dep` holds; all built in a store of its own. */
const makeBuilder = async (t: Test, version: NixVersion) => {
  const file = await writeDerivations(await temporaryDirectory(t, 'expression'), [
    { name: 'dep', sizeBytes: 200_000, content: 'halves' },
    { name: 'twin', sizeBytes: 200_000, content: 'halves', seed: 'dep' },
    { name: 'top', sizeBytes: 400_000, content: 'halves', references: ['dep'] },
  ]);
  const store = await makeNixStore(t, version);
  const { outPaths, stderr } = await store.build(file, { attr: ['dep', 'twin', 'top'] });
  const [dep, twin, top] = outPaths;
  if (dep === undefined || twin === undefined || top === undefined) throw new Error(stderr);
  return { file, store, dep, twin, top };
};

type Builder = Awaited<ReturnType<typeof makeBuilder>>;

const checkCopied = (t: Test, { code, stderr }: ProgramRun, name: string): void => {
  t.equal(code, 0, `${name}: exit 0 (${stderr})`);
};

/** Two new clients of this version: one builds `top`, the other has nothing but the store paths. */
const checkSubstitutes = async (
  t: Test,
  { file, store, dep, top }: Builder,
  version: NixVersion,
  url: string,
): Promise<void> => {
  const client = await makeNixStore(t, version, { substituters: [url] });
  const run = await client.build(file, { attr: 'top' });
  t.equal(run.code, 0, `${version}: nix-build (${run.stderr})`);
  t.equal(hasBuiltLocally(run.stderr), false, `${version}: nothing is built`);
  const other = await makeNixStore(t, version, { substituters: [url] });
  const { code, stderr } = await other.realise(top);
  t.equal(code, 0, `${version}: nix-store --realise (${stderr})`);
  for (const path of [dep, top]) {
    t.ok(bytesOf(client, path).equals(bytesOf(store, path)), `${version}: built ${path}`);
    t.ok(bytesOf(other, path).equals(bytesOf(store, path)), `${version}: realised ${path}`);
  }
};

t.jobs = 3;

for (const version of nixVersions) {
  t.test(`Nix ${version} pushes in every compression, over a restart`, { buffered: true }, async (t) => {
    const builder = await makeBuilder(t, version);
    const data = await temporaryDirectory(t, 'data');
    const first = await startCleanmiss(t, {}, data);
    const compressions = ['xz', 'zstd', 'none', 'gzip', 'br'] as const;
    for (const compression of compressions) {
      const run = await builder.store.copyTo(`${first.nix}/${compression}`, [builder.top], { compression });
      checkCopied(t, run, compression);
    }
    await checkSubstitutes(t, builder, version, `${first.nix}/xz`);
    t.equal(await first.stop(), 0, 'drained');
    const second = await startCleanmiss(t, {}, data);
    for (const [index, compression] of compressions.entries()) {
      const reader = nixVersions[index % 2] ?? version;
      await checkSubstitutes(t, builder, reader, `${second.nix}/${compression}`);
    }
    t.equal(await second.stop(), 0, 'drained');
  });
}

t.test('two paths with one content, and a push of what is there', { buffered: true }, async (t) => {
  for (const version of nixVersions) {
    const builder = await makeBuilder(t, version);
    const { nix, admin } = await startCleanmiss(t);
    const late = await makeNixStore(t, version, { substituters: [nix] });
    // It remembers for an hour that they are not there, and pushes what others have pushed meanwhile.
    await late.build(builder.file, { attr: ['dep', 'twin'], flags: ['--dry-run'] });
    checkCopied(t, await builder.store.copyTo(nix, [builder.dep, builder.twin], { compression: 'zstd' }), 'both');
    t.equal((await statusOf(admin)).store.objects, 1, 'one form');
    await late.build(builder.file, { attr: ['dep', 'twin'], substituters: [] });
    checkCopied(t, await late.copyTo(nix, [builder.dep, builder.twin], { compression: 'zstd' }), 'again');
    t.equal((await statusOf(admin)).store.objects, 1, 'still one');
    const client = await makeNixStore(t, version, { substituters: [nix] });
    const run = await client.build(builder.file, { attr: ['dep', 'twin'] });
    t.equal(run.code, 0, run.stderr);
    t.equal(hasBuiltLocally(run.stderr), false, 'both are substituted');
  }
});

t.test('other content under a stored path is refused in words', { buffered: true }, async (t) => {
  const directory = await temporaryDirectory(t, 'expression');
  const file = join(directory, 'restless.nix');
  await writeFile(
    file,
    `derivation { name = "restless"; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
       args = [ "-c" "mkdir $out; cat ${directory}/contents >$out/contents" ]; }`,
  );
  for (const version of nixVersions) {
    const { nix } = await startCleanmiss(t);
    const build = async (contents: string) => {
      await writeFile(join(directory, 'contents'), contents);
      const store = await makeNixStore(t, version);
      await store.build(file, { substituters: [nix], flags: ['--dry-run'] });
      return { store, outPath: (await store.build(file)).outPath };
    };
    const [one, other] = [await build('one'), await build('other')];
    t.equal(one.outPath, other.outPath);
    checkCopied(t, await one.store.copyTo(nix, [one.outPath]), 'the first');
    const run = await other.store.copyTo(nix, [other.outPath]);
    t.equal(run.code, 1, `${version}: exit 1`);
    t.match(run.stderr, 'HTTP error 409');
    t.match(run.stderr, `${one.outPath} is stored here with other content`);
    const client = await makeNixStore(t, version, { substituters: [nix] });
    await client.realise(one.outPath);
    t.equal(bytesOf(client, one.outPath).toString(), 'one', 'the first stands');
  }
});

t.test('with nix.trustedKeys only signed paths are stored', { buffered: true }, async (t) => {
  for (const version of nixVersions) {
    const builder = await makeBuilder(t, version);
    const key = await builder.store.makeKey('ours-1');
    const { nix } = await startCleanmiss(t, { 'nix.trustedKeys': key.publicKey });
    const unsigned = await builder.store.copyTo(nix, [builder.dep], { compression: 'none' });
    t.equal(unsigned.code, 1, `${version}: exit 1`);
    t.match(unsigned.stderr, 'the narinfo is signed by none of nix.trustedKeys');
    t.equal(unsigned.stderr.match(/signed by none/g)?.length, 1, 'said once');
    checkCopied(t, await builder.store.copyTo(nix, [builder.top], { compression: 'none', key }), 'signed');
    const client = await makeNixStore(t, version, { substituters: [nix], trustedKeys: [key.publicKey] });
    const run = await client.realise(builder.top);
    t.equal(run.code, 0, run.stderr);
    t.ok(bytesOf(client, builder.top).equals(bytesOf(builder.store, builder.top)));
  }
});

/** Copies one path after the other, until its server is gone. Returns those that were acknowledged. */
const pushUntilDead = async (
  store: NixStore,
  url: string,
  paths: readonly string[],
  acknowledged: string[],
): Promise<void> => {
  for (const path of paths) {
    const { code } = await store.copyTo(url, [path], { compression: 'zstd', settings: { 'download-attempts': 1 } });
    if (code !== 0) return;
    acknowledged.push(path);
  }
};

t.test('kill -9 in a stream of pushes loses nothing that was acknowledged', { buffered: true }, async (t) => {
  const names = Array.from({ length: 30 }, (_, index) => `path-${index}`);
  const file = await writeDerivations(await temporaryDirectory(t, 'expression'), [
    ...names.map((name) => ({ name, sizeBytes: 100_000 })),
    { name: 'large', sizeBytes: 60_000_000 },
  ]);
  const [builder, other] = [await makeNixStore(t, '2.34'), await makeNixStore(t, '2.8')];
  const small = (await builder.build(file, { attr: names })).outPaths;
  const large = (await builder.build(file, { attr: 'large' })).outPath;
  await other.build(file, { attr: names });
  const data = await temporaryDirectory(t, 'data');
  let cleanmiss = await startCleanmiss(t, {}, data);
  const listen = new URL(cleanmiss.nix).host;

  const acknowledged: string[] = [];
  for (const [round, reader] of (['2.8', '2.34', '2.8'] as const).entries()) {
    const before = acknowledged.length;
    const left = small.filter((path) => !acknowledged.includes(path));
    const streams = [builder, other].map((store, index) =>
      pushUntilDead(
        store,
        cleanmiss.nix,
        left.filter((_, nth) => nth % 2 === index),
        acknowledged,
      ),
    );
    await untilTrue(() => acknowledged.length > before);
    const settings = { 'download-attempts': 1 };
    const last = builder.copyTo(cleanmiss.nix, [large], { compression: 'none', settings });
    await untilTrue(async () => (await metric(cleanmiss.admin, 'cleanmiss_spool_bytes')) > 1_000_000);
    await cleanmiss.kill();
    t.equal((await last).code, 1, `round ${round}: the large one was under way`);
    await Promise.all(streams);
    t.ok(acknowledged.length < small.length, `round ${round}: ${acknowledged.length} acknowledged, and more to come`);
    cleanmiss = await startCleanmiss(t, { 'nix.listen': listen }, data);
    const client = await makeNixStore(t, reader, { substituters: [cleanmiss.nix] });
    const run = await client.run('nix-store', ['--realise', ...acknowledged]);
    t.equal(run.code, 0, `round ${round}: all acknowledged paths are there (${run.stderr})`);
    for (const path of acknowledged)
      t.ok(bytesOf(client, path).equals(bytesOf(builder, path)), `round ${round}: ${path}`);
  }
  checkCopied(t, await builder.copyTo(cleanmiss.nix, [...small, large], { compression: 'zstd' }), 'the rest');
  const client = await makeNixStore(t, '2.34', { substituters: [cleanmiss.nix] });
  const run = await client.build(file);
  t.equal(run.code, 0, run.stderr);
  t.equal(hasBuiltLocally(run.stderr), false, 'everything is there');
  t.equal((await statusOf(cleanmiss.admin)).store.objects, small.length + 1, 'and nothing else');
});
