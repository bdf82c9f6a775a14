// A path is pushed again with other content: who remembers the old narinfo gets the old bytes or a clean miss, who asks anew the new ones.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startHouse } from '../support/house.ts';
import { makeFileCache } from '../support/real/file-cache.ts';
import { makeNixStore, type NixStore, type NixVersion, nixVersions } from '../support/real/nix.ts';
import { temporaryDirectory } from '../support/real/scope.ts';
import { type ServedPath, type ServedShape, servedPaths } from '../support/real/served-cache.ts';
import { type ScriptedUpstream, startUpstream } from '../support/scripted-upstream.ts';

/** What the one output holds: it tells where it came from. */
type Origin = 'old' | 'new' | 'local';

const contentsOf = (origin: Origin): string => {
  const lines = Array.from({ length: 4000 }, (_, line) =>
    createHash('sha256').update(`${origin} ${line}`).digest('hex'),
  );
  return lines.join('\n');
};

const originOf = (store: NixStore, outPath: string): Origin | undefined => {
  const text = readFileSync(store.hostPath(outPath), 'utf8');
  return (['old', 'new', 'local'] as const).find((origin) => contentsOf(origin) === text);
};

/** Attic keeps one URL a path; Nix names the file by its hash, and the old one may stay or go. */
const shapes = {
  attic: { like: 'attic', kind: 'zstd-many' },
  nix: { like: 'nix', kind: 'xz' },
} as const satisfies Record<string, ServedShape>;
type Shape = keyof typeof shapes;

interface World {
  readonly file: string;
  readonly pushes: Readonly<Record<Shape, { readonly old: ServedPath; readonly new: ServedPath }>>;
}

/** A derivation that is not what it should be: its output depends on a file that no hash covers. */
const makeWorld = async (t: Test): Promise<World> => {
  const directory = await temporaryDirectory(t, 'expression');
  const file = join(directory, 'restless.nix');
  await writeFile(
    file,
    `derivation { name = "restless"; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
       args = [ "-c" "cat ${directory}/contents >$out" ]; }`,
  );
  const push = async (origin: Origin, shape: ServedShape): Promise<ServedPath> => {
    const builder = await makeNixStore(t, '2.8');
    await writeFile(join(directory, 'contents'), contentsOf(origin));
    const { outPath } = await builder.build(file);
    const [path] = await servedPaths(await makeFileCache(t, builder, [outPath], { compression: 'none' }), shape);
    if (path === undefined) throw new Error('nothing was pushed');
    return path;
  };
  const both = async (shape: ServedShape) => ({ old: await push('old', shape), new: await push('new', shape) });
  const pushes = { attic: await both(shapes.attic), nix: await both(shapes.nix) };
  await writeFile(join(directory, 'contents'), contentsOf('local'));
  return { file, pushes };
};

interface Row {
  readonly reason: string;
  readonly shape: Shape;
  /** Whether the old bytes went through cleanmiss once. */
  readonly isHeld: boolean;
  /** What befalls cleanmiss between the two pushes. */
  readonly befalls?: 'restart' | 'wipe';
  /** Whether the second push leaves the first one's file where it was. */
  readonly staysUpstream?: boolean;
  /** What the client with the old narinfo ends with. */
  readonly gets: 'old' | 'local';
}

const ROWS: readonly Row[] = [
  { reason: 'held', shape: 'attic', isHeld: true, gets: 'old' },
  { reason: 'held', shape: 'nix', isHeld: true, gets: 'old' },
  { reason: 'held, over a restart', shape: 'attic', isHeld: true, befalls: 'restart', gets: 'old' },
  { reason: 'held, over a restart', shape: 'nix', isHeld: true, befalls: 'restart', gets: 'old' },
  { reason: 'never seen', shape: 'attic', isHeld: false, gets: 'local' },
  { reason: 'never seen', shape: 'nix', isHeld: false, gets: 'local' },
  { reason: 'never seen, over a restart', shape: 'attic', isHeld: false, befalls: 'restart', gets: 'local' },
  { reason: 'held, and the store lost', shape: 'attic', isHeld: true, befalls: 'wipe', gets: 'local' },
  { reason: 'held, and the store lost', shape: 'nix', isHeld: true, befalls: 'wipe', gets: 'local' },
  // No record of the URL is left, and none is needed: it says itself which bytes are right.
  {
    reason: 'the store lost, the old file there',
    shape: 'nix',
    isHeld: false,
    befalls: 'wipe',
    staysUpstream: true,
    gets: 'old',
  },
];

const pushAgain = (upstream: ScriptedUpstream, { pushes }: World, shape: Shape, staysUpstream = false): void => {
  const before = pushes[shape].old.putOn(upstream, '/lab');
  const after = pushes[shape].new.putOn(upstream, '/lab');
  if (before.nar !== after.nar && !staysUpstream) upstream.remove(before.nar);
};

const checkRow = async (t: Test, world: World, version: NixVersion, row: Row): Promise<void> => {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  world.pushes[row.shape].old.putOn(upstream, '/lab');
  const dir = await temporaryDirectory(t, 'house');
  // Else a client that asks anew within a minute gets the old narinfo, and with it the old bytes.
  const flags = { 'nix.upstream': upstream.origin, 'records.fresh': '0s' };
  let house = await startHouse(t, flags, { dir });
  const url = `${house.nix}/lab`;

  const build = async (name: string, cacheHome?: string) => {
    const client = await makeNixStore(t, version, {
      substituters: [url],
      ...(cacheHome !== undefined && { cacheHome }),
    });
    const run = await client.build(world.file);
    t.equal(run.code, 0, `${version}, ${name}: exit 0 (${run.stderr})`);
    t.notMatch(run.stderr, /mismatch|corrupt|retrying/, `${version}, ${name}: nothing wrong arrived`);
    return originOf(client, run.outPath);
  };

  const first = await makeNixStore(t, version, { substituters: [url] });
  const { code, stderr } = await first.build(world.file, { flags: row.isHeld ? [] : ['--dry-run'] });
  t.equal(code, 0, stderr);

  pushAgain(upstream, world, row.shape, row.staysUpstream);
  if (row.befalls !== undefined) {
    await house.close();
    if (row.befalls === 'wipe') await rm(join(dir, 'cleanmiss-data'), { recursive: true });
    house = await startHouse(t, { ...flags, 'nix.listen': new URL(house.nix).host }, { dir });
  }
  const asked = upstream.requests.length;
  t.equal(await build('the old client', first.cacheHome), row.gets, `${version}: the old client`);
  if (row.isHeld && row.befalls === undefined) {
    t.same(
      upstream.requests.slice(asked).filter(({ path }) => path.includes('/nar/')),
      [],
      'no NAR was fetched',
    );
  }
  t.equal(await build('a new client'), 'new', `${version}: a new client`);
  t.equal(await build('the old client again', first.cacheHome), row.gets, `${version}: the old client again`);
  await house.close();
};

t.jobs = 4;
const world = await makeWorld(t);

t.test('without cleanmiss, the old client fails', async (t) => {
  const checkDirect = async (version: NixVersion) => {
    const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
    t.teardown(() => upstream.close());
    world.pushes.attic.old.putOn(upstream, '/lab');
    const substituters = [upstream.url('lab')];
    const first = await makeNixStore(t, version, { substituters });
    await first.build(world.file, { flags: ['--dry-run'] });
    pushAgain(upstream, world, 'attic');
    const client = await makeNixStore(t, version, { substituters, cacheHome: first.cacheHome });
    const run = await client.build(world.file);
    t.equal(run.code, 1, `${version}: exit 1`);
    t.match(run.stderr, 'hash mismatch', `${version}: what it says`);
  };
  await Promise.all(nixVersions.map(checkDirect));
});

for (const row of ROWS) {
  t.test(`${row.shape}: ${row.reason}`, { buffered: true }, async (t) => {
    await Promise.all(nixVersions.map((version) => checkRow(t, world, version, row)));
  });
}

t.test(
  'within the minute in which the old narinfo is fresh, who asks anew misses once',
  { buffered: true },
  async (t) => {
    const checkVersion = async (version: NixVersion) => {
      const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
      t.teardown(() => upstream.close());
      world.pushes.attic.old.putOn(upstream, '/lab');
      const house = await startHouse(t, { 'nix.upstream': upstream.origin });
      const newClient = () => makeNixStore(t, version, { substituters: [`${house.nix}/lab`] });
      await (await newClient()).build(world.file, { flags: ['--dry-run'] });
      pushAgain(upstream, world, 'attic');
      for (const origin of ['local', 'new'] as const) {
        const client = await newClient();
        const run = await client.build(world.file);
        t.equal(run.code, 0, `${version}: exit 0 (${run.stderr})`);
        t.notMatch(run.stderr, 'mismatch', `${version}: nothing wrong arrived`);
        t.equal(originOf(client, run.outPath), origin, `${version}: ${origin}`);
      }
    };
    await Promise.all(nixVersions.map(checkVersion));
  },
);
