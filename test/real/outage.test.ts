// An outage slows builds down a little while it lasts, and leaves no trace in any client when it is over.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { pause } from '../../src/core/clock.ts';
import { delay, headThenSilence, stallBefore, zeroBytes } from '../support/faults/transfer.ts';
import { whileUp } from '../support/faults/when.ts';
import { startHouse } from '../support/house.ts';
import { statusOf } from '../support/real/admin.ts';
import { fastClock } from '../support/real/fast-clock.ts';
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

const serve = async (t: Test, { paths }: World): Promise<ScriptedUpstream> => {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  for (const path of paths) path.putOn(upstream, '/lab');
  return upstream;
};

const narsAsked = (upstream: ScriptedUpstream): number =>
  upstream.requests.filter(({ path }) => NARS.test(path)).length;

const builtCount = (run: NixRun): number => run.stderr.split('\n').filter((line) => hasBuiltLocally(line)).length;

/** One user's builds, each in an empty store, all with one memory of narinfos. */
const makeUser = async (t: Test, version: NixVersion, url: string, { file }: World) => {
  const options = { substituters: [url] };
  const { cacheHome } = await makeNixStore(t, version, options);
  return async (flags: readonly string[] = []): Promise<NixRun> => {
    const client = await makeNixStore(t, version, { ...options, cacheHome });
    return client.build(file, { flags });
  };
};

t.test('two minutes of 200 with zero bytes, then 100 % hits at once', async (t) => {
  const world = await makeWorld(t, 100);
  const upstream = await serve(t, world);
  // The house lives through two minutes in ten seconds.
  const clock = fastClock(12);
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock });
  const outage = { isUp: true };
  upstream.script(NARS, whileUp(outage, zeroBytes()));
  const endsAt = clock.monotonic() + 120_000;
  const users = await Promise.all(
    nixVersions.map(async (version) => ({ version, build: await makeUser(t, version, `${house.nix}/lab`, world) })),
  );
  const rounds = users.map(async ({ version, build }) => {
    for (let round = 1; round === 1 || clock.monotonic() < endsAt; round += 1) {
      const run = await build();
      t.equal(run.code, 0, `${version}, round ${round}: exit 0`);
      t.equal(builtCount(run), 100, `${version}, round ${round}: all built`);
      t.comment(version, round, run.seconds);
    }
  });
  await Promise.all(rounds);
  outage.isUp = false;
  const asked = narsAsked(upstream);
  for (const { version, build } of users) {
    const run = await build();
    t.equal(run.code, 0, run.stderr);
    t.equal(builtCount(run), 0, `${version}: 100 % hits`);
    t.comment(version, run.seconds);
  }
  t.equal(narsAsked(upstream) - asked, 100, 'each NAR was fetched once');
  t.equal((await statusOf(house.admin)).suspects.open, 0, 'nothing is suspected');
});

t.test('a hung upstream', async (t) => {
  const world = await makeWorld(t, 300);
  const hangs = [
    { reason: 'bodies hang', pattern: NARS, fault: headThenSilence() },
    { reason: 'all hangs', pattern: /./, fault: stallBefore() },
  ];
  t.jobs = 2;
  for (const { reason, pattern, fault } of hangs) {
    t.test(`${reason}: 300 paths take under a minute to miss`, { buffered: true }, (t) =>
      Promise.all(
        nixVersions.map(async (version) => {
          const upstream = await serve(t, world);
          const house = await startHouse(t, { 'nix.upstream': upstream.origin });
          const build = await makeUser(t, version, `${house.nix}/lab`, world);
          await build(['--dry-run']);
          upstream.script(pattern, fault);
          const run = await build();
          t.equal(run.code, 0, run.stderr.slice(-1000));
          t.equal(builtCount(run), 300, `${version}: all built`);
          t.ok(run.seconds < 60, `${version}: ${run.seconds} s`);
          const misses = house.log.filter((l) => l['msg'] === 'nix: a miss').map((l) => Number(l['time']));
          console.log('MISSES', version, reason, misses.length, (Math.max(...misses) - Math.min(...misses)) / 1000);
          console.log('SECONDS', version, reason, run.seconds, narsAsked(upstream));
        }),
      ),
    );
  }
});

const RESTART_MS = 5000;

t.test('a restart of five seconds leaves no miss behind', async (t) => {
  const world = await makeWorld(t, 100);
  // Most of what a build asks for is in no cache: among the first to be answered again are paths that are absent.
  const sparse = { ...world, paths: world.paths.filter((_, index) => index % 4 === 0) };
  const moments = [
    { reason: 'while narinfos are asked', asked: NARINFOS, served: world },
    { reason: 'while narinfos are asked, most of them absent', asked: NARINFOS, served: sparse },
    { reason: 'while NARs are asked', asked: NARS, served: world },
  ];
  t.jobs = 3;
  for (const { reason, asked, served } of moments) {
    t.test(reason, { buffered: true }, (t) =>
      Promise.all(
        nixVersions.map(async (version) => {
          const upstream = await serve(t, served);
          const house = await startHouse(t, { 'nix.upstream': upstream.origin });
          const build = await makeUser(t, version, `${house.nix}/lab`, world);
          upstream.script(asked, delay(20));
          const running = build();
          await upstream.until(() => upstream.requests.filter(({ path }) => asked.test(path)).length >= 10);
          await upstream.refuse();
          await after(RESTART_MS);
          await upstream.comeBack();
          const run = await running;
          t.equal(run.code, 0, run.stderr);
          t.notMatch(run.stderr, /retrying|unable to/, `${version}: no noise`);
          const next = await build();
          t.equal(next.code, 0, next.stderr);
          t.equal(100 - builtCount(next), served.paths.length, `${version}: no miss is remembered`);
        }),
      ),
    );
  }
});

t.test('after a minute of refused connections a client that never asked before misses nothing', async (t) => {
  const world = await makeWorld(t, 100);
  const [known, ..._unknown] = world.paths;
  if (known === undefined) throw new Error('there are a hundred');
  await Promise.all(
    nixVersions.map(async (version) => {
      const upstream = await serve(t, world);
      // The house lives through a minute in six seconds.
      const clock = fastClock(10);
      const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock });
      const url = `${house.nix}/lab`;
      await (await makeUser(t, version, url, world))(['--dry-run']);
      await upstream.refuse();
      const run = await (await makeUser(t, version, url, world))();
      t.equal(run.code, 0, run.stderr);
      await pause(clock, 60_000);
      await upstream.comeBack();
      const next = await (await makeUser(t, version, url, world))();
      t.equal(next.code, 0, next.stderr);
      t.equal(builtCount(next), 0, `${version}: all is substituted`);
    }),
  );
});
