// An outage slows builds down a little while it lasts, and leaves no trace in any client when it is over.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pause, systemClock } from '../../src/core/clock.ts';
import { makeObject } from '../support/cache-object.ts';
import { delay, headThenSilence, stallBefore, zeroBytes } from '../support/faults/transfer.ts';
import { whileUp } from '../support/faults/when.ts';
import { startHouse } from '../support/house.ts';
import { statusOf } from '../support/real/admin.ts';
import { AheadClock } from '../support/real/ahead-clock.ts';
import { makeFileCache } from '../support/real/file-cache.ts';
import { hasBuiltLocally, makeNixStore, type NixRun, type NixVersion, nixVersions } from '../support/real/nix.ts';
import { temporaryDirectory } from '../support/real/scope.ts';
import { type ServedPath, servedPaths } from '../support/real/served-cache.ts';
import { type ScriptedUpstream, startUpstream } from '../support/scripted-upstream.ts';

interface World {
  readonly file: string;
  readonly paths: readonly ServedPath[];
}

/** Paths that cost next to nothing to build. */
const makeWorld = async (t: Test, count: number): Promise<World> => {
  const file = join(await temporaryDirectory(t, 'expression'), 'many.nix');
  await writeFile(
    file,
    `builtins.genList (n: derivation { name = "path-\${toString n}"; system = builtins.currentSystem; builder = "/bin/sh";
       args = [ "-c" "echo \${toString n} >$out" ]; }) ${count}`,
  );
  const builder = await makeNixStore(t, '2.8');
  const { outPaths } = await builder.build(file);
  const cache = await makeFileCache(t, builder, outPaths, { compression: 'none' });
  const paths = await servedPaths(cache);
  if (paths.length !== count) throw new Error(`${paths.length} paths`);
  return { file, paths };
};

const NARS = /\/nar\//;
const NARINFOS = /\.narinfo$/;

const serve = async (t: Test, paths: readonly ServedPath[]): Promise<ScriptedUpstream> => {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  for (const path of paths) path.putOn(upstream, '/lab');
  return upstream;
};

const narsAsked = (upstream: ScriptedUpstream): number =>
  upstream.requests.filter(({ path }) => NARS.test(path)).length;

const builtCount = (run: NixRun): number => run.stderr.split('\n').filter((line) => hasBuiltLocally(line)).length;

/** One user's builds, each in an empty store, all with one memory of narinfos. */
const makeUser = async (t: Test, version: NixVersion, url: string) => {
  const options = { substituters: [url] };
  const { cacheHome } = await makeNixStore(t, version, options);
  return async (flags: readonly string[] = []): Promise<NixRun> => {
    const client = await makeNixStore(t, version, { ...options, cacheHome });
    return client.build(world.file, { flags });
  };
};

t.jobs = 5;
const world = await makeWorld(t, 100);

t.test('two minutes of 200 with zero bytes, then 100 % hits at once', { buffered: true }, async (t) => {
  const upstream = await serve(t, world.paths);
  const clock = new AheadClock();
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock });
  const outage = { isUp: true };
  upstream.script(NARS, whileUp(outage, zeroBytes()));
  const users = await Promise.all(
    nixVersions.map(async (version) => ({ version, build: await makeUser(t, version, `${house.nix}/lab`) })),
  );
  // Of the two minutes, the house is spared those in which nobody would ask.
  for (const minutes of [0, 1, 2]) {
    const builds = users.map(async ({ version, build }) => {
      const run = await build();
      t.equal(run.code, 0, `${version}, after ${minutes} minutes: exit 0`);
      t.equal(builtCount(run), 100, `${version}, after ${minutes} minutes: all built`);
    });
    await Promise.all(builds);
    if (minutes < 2) clock.jump(60_000);
  }
  outage.isUp = false;
  const asked = narsAsked(upstream);
  for (const { version, build } of users) {
    const run = await build();
    t.equal(run.code, 0, run.stderr);
    t.equal(builtCount(run), 0, `${version}: 100 % hits`);
  }
  t.equal(narsAsked(upstream) - asked, 100, 'each NAR was fetched once');
  t.equal((await statusOf(house.admin)).suspects.open, 0, 'nothing is suspected');
});

t.test('300 paths of a hung upstream take under a minute to miss', { buffered: true }, async (t) => {
  const objects = await Promise.all(Array.from({ length: 300 }, (_, seed) => makeObject({ seed, sizeBytes: 300 })));
  const storePaths = objects.map(({ storePath }) => storePath);
  const hangs = [
    { reason: 'a head, then silence', pattern: NARS, fault: headThenSilence() },
    { reason: 'no answer to anything', pattern: /./, fault: stallBefore() },
  ];
  const cases = hangs.flatMap((hang) => nixVersions.map((version) => ({ ...hang, version })));
  await Promise.all(
    cases.map(async ({ version, reason, pattern, fault }) => {
      const upstream = await serve(t, []);
      for (const object of objects) upstream.add(object, { cache: 'lab' });
      const house = await startHouse(t, { 'nix.upstream': upstream.origin });
      const client = await makeNixStore(t, version, { substituters: [`${house.nix}/lab`] });
      await client.run('nix-store', ['--realise', '--dry-run', ...storePaths]);
      upstream.script(pattern, fault);
      // 2.8 asks for one NAR at a time: what each of them waits for adds up.
      const run = await client.run('nix-store', ['--realise', '--keep-going', ...storePaths]);
      const misses = run.stderr.match(/does not exist in binary cache/g) ?? [];
      t.equal(misses.length, 300, `${version}, ${reason}: all missed, each once`);
      t.ok(run.seconds < 60, `${version}, ${reason}: ${run.seconds} s`);
    }),
  );
});

t.test('a restart of five seconds leaves no miss behind', { buffered: true }, async (t) => {
  // Most of what a build asks for is in no cache: among the first to be answered again are paths that are absent.
  const sparse = world.paths.filter((_, index) => index % 4 === 0);
  const moments = [
    { reason: 'while narinfos are asked', asked: NARINFOS, paths: world.paths },
    { reason: 'while narinfos are asked, most of them absent', asked: NARINFOS, paths: sparse },
    { reason: 'while NARs are asked', asked: NARS, paths: world.paths },
  ];
  const cases = moments.flatMap((moment) => nixVersions.map((version) => ({ ...moment, version })));
  await Promise.all(
    cases.map(async ({ reason, asked, paths, version }) => {
      const name = `${version}, ${reason}`;
      const upstream = await serve(t, paths);
      const house = await startHouse(t, { 'nix.upstream': upstream.origin });
      const build = await makeUser(t, version, `${house.nix}/lab`);
      // So that ten have come while the others are still to come.
      upstream.script(asked, delay(20));
      const running = build();
      await upstream.until(() => upstream.requests.filter(({ path }) => asked.test(path)).length >= 10);
      await upstream.refuse();
      await pause(systemClock, 5000);
      await upstream.comeBack();
      const run = await running;
      t.equal(run.code, 0, `${name}: exit 0 (${run.stderr})`);
      t.notMatch(run.stderr, /retrying|unable to/, `${name}: no noise`);
      // Of bodies, so long after the last refusal the next trial is due.
      await pause(systemClock, 2000);
      const next = await build();
      t.equal(next.code, 0, next.stderr);
      t.equal(100 - builtCount(next), paths.length, `${name}: no miss is remembered`);
    }),
  );
});

t.test('behind a long outage a client that never asked before misses nothing', { buffered: true }, (t) =>
  Promise.all(
    nixVersions.map(async (version) => {
      const upstream = await serve(t, world.paths);
      const house = await startHouse(t, { 'nix.upstream': upstream.origin });
      const user = () => makeUser(t, version, `${house.nix}/lab`);
      // Opens the breakers, and outlasts the patience with narinfos.
      await (await user())(['--dry-run']);
      await upstream.refuse();
      const run = await (await user())();
      t.equal(run.code, 0, run.stderr);
      await pause(systemClock, 9000);
      await upstream.comeBack();
      const next = await (await user())();
      t.equal(next.code, 0, next.stderr);
      t.equal(builtCount(next), 0, `${version}: all is substituted`);
    }),
  ),
);
