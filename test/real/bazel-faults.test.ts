// Whatever is wrong behind bazel-remote: a build that asks it directly warns, fails or takes wrong bytes; through cleanmiss
// it goes on, and rebuilds only what is broken.

import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { pause, systemClock } from '../../src/core/clock.ts';
import { type BazelBuild, type BazelVersion, bazelVersions } from '../support/bazel.ts';
import { type BazelRemote, startBazelRemote } from '../support/bazel-remote.ts';
import { startHouse } from '../support/house.ts';
import { type GrpcRelay, startGrpcRelay } from '../support/real/grpc-relay.ts';
import { type SeededCache, seedCache } from '../support/real/seeded-cache.ts';

/** `all`: every output is downloaded, and not verified. `top`: only what something needs, and verified. */
type Mode = 'all' | 'top';

const TOP = ['//:top']; // Which hangs on all the others.

const asked: Readonly<Record<BazelVersion, Readonly<Record<Mode, { flags: string[]; targets?: string[] }>>>> = {
  // Its default, and what 7.7 has made the default.
  '4.2': {
    all: { flags: ['--noremote_verify_downloads'] },
    top: { flags: ['--remote_download_toplevel'], targets: TOP },
  },
  '7.7': {
    all: { flags: ['--remote_download_outputs=all', '--noremote_verify_downloads'] },
    top: { flags: [], targets: TOP },
  },
};

type Outcome = 'fails' | 'warns' | 'takes wrong bytes' | 'is sound';

interface Broken {
  readonly cache: SeededCache;
  readonly remote: BazelRemote;
}

interface Row {
  readonly fault: string;
  readonly break: (at: Broken) => void | Promise<void>;
  /** Whose blobs it breaks, of actions that are built anew; none by default. */
  readonly broken?: readonly string[];
  /** Reads of each that cleanmiss may try. */
  readonly tries?: number;
  /** They are known to be broken, so that what is built anew is taken, and kept. */
  readonly isRefuted?: true;
  /** Of bazel-remote. */
  readonly flags?: readonly string[];
  /** It strikes when this much of the big output has passed, not before the build. */
  readonly afterBytes?: number;
  /** Nothing can be had while it lasts; or as much as was had before. */
  readonly hits?: 'none' | 'some';
  readonly refusesWrites?: true;
  readonly hangs?: true;
  /** Our store had all of it before. */
  readonly isWarm?: true;
  /** Then the next build has all that there ever was. */
  readonly heal?: (at: Broken) => void | Promise<void>;
  /** Asked of bazel-remote itself; otherwise not shown. */
  readonly direct?: Readonly<Partial<Record<Mode, (version: BazelVersion) => Outcome>>>;
}

const MIDDLE = 'link_05.txt'; // The turned action must have it.
/** One that is read in many pieces, one in one, and one of a directory. */
const VICTIMS = [MIDDLE, 'big.bin', 'leaf_05.txt', 'folder_2/part_1/deep/file_4'];

const eachOf =
  (change: (object: string, at: SeededCache, output: string) => Promise<void>) =>
  async ({ cache }: Broken): Promise<void> => {
    for (const output of VICTIMS) await change(cache.object(output), cache, output);
  };

const flip = async (object: string): Promise<void> => {
  const bytes = await readFile(object);
  const at = bytes.length - 20; // Behind it is a checksum, which bazel-remote looks at only sometimes.
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  await writeFile(object, bytes);
};

const cut = async (object: string): Promise<void> => writeFile(object, (await readFile(object)).subarray(0, -100));

const fails = (): Outcome => 'fails';
const warns = (): Outcome => 'warns';

const ROWS: readonly Row[] = [
  { fault: "bazel-remote's disk is wiped", break: () => {}, direct: { all: () => 'is sound' } },
  { fault: 'a flipped byte', break: eachOf(flip), broken: VICTIMS, tries: 2, direct: { all: warns, top: fails } },
  {
    fault: 'another valid blob under the key',
    break: eachOf(async (object, cache, output) => writeFile(object, await readFile(cache.impostor(output)))),
    broken: VICTIMS,
    tries: 2,
    isRefuted: true,
    direct: { all: () => 'takes wrong bytes', top: fails },
  },
  { fault: 'a cut object', break: eachOf(cut), broken: VICTIMS, direct: { all: warns, top: fails } },
  { fault: 'an empty object', break: eachOf((object) => truncate(object)), broken: VICTIMS, direct: { top: fails } },
  { fault: 'a deleted object', break: eachOf((object) => rm(object)), broken: VICTIMS },
  {
    fault: 'the middle of a chain is gone, its action result stands',
    break: ({ cache }) => rm(cache.object(MIDDLE)),
    broken: [MIDDLE],
    flags: ['--disable_grpc_ac_deps_check'],
    direct: { top: fails },
  },
  { fault: 'the bucket is gone', break: ({ cache }) => cache.s3.loseIndex(), hits: 'none', direct: { all: warns } },
  {
    fault: 'S3 is stopped',
    break: ({ cache }) => cache.s3.stop(),
    heal: ({ cache }) => cache.s3.start(),
    hits: 'none',
    refusesWrites: true,
    hangs: true, // bazel-remote takes 4 s to say so.
  },
  {
    fault: 'S3 hangs',
    break: ({ cache }) => cache.s3.pause(),
    heal: ({ cache }) => cache.s3.resume(),
    hits: 'none',
    refusesWrites: true,
    hangs: true,
  },
  {
    fault: 'bazel-remote is stopped',
    break: ({ remote }) => remote.stop(),
    heal: ({ remote }) => remote.start(),
    hits: 'none',
    refusesWrites: true,
    direct: { top: (version) => (version === '4.2' ? 'fails' : 'warns') },
  },
  {
    fault: 'S3 hangs, all is in our store',
    break: ({ cache }) => cache.s3.pause(),
    heal: ({ cache }) => cache.s3.resume(),
    isWarm: true,
    hangs: true,
  },
  { fault: 'bazel-remote is stopped, all is in our store', break: ({ remote }) => remote.stop(), isWarm: true },
  {
    fault: 'bazel-remote is killed in mid-read',
    break: ({ remote }) => remote.kill(),
    afterBytes: 2_000_000,
    broken: ['big.bin'],
    tries: 4,
    hits: 'some',
    refusesWrites: true,
  },
];

/** All that a build may take longer than twice the time without a cache: this machine's other work, and the breaker. */
const SLACK_MS = 15_000;
const HANG_MS = 25_000;
/** The breaker's own, in which it lets nobody try. */
const BREAK_MS = 2_000;

const checkBytes = async (t: Test, { bazel, turned }: SeededCache, mode: Mode): Promise<void> => {
  const outputs = await bazel.workspace.outputs();
  t.ok(mode === 'all' ? outputs.size === turned.size : outputs.has('top.txt'), `${outputs.size} outputs are there`);
  for (const [output, hash] of outputs) if (turned.get(output) !== hash) t.fail(`wrong bytes in ${output}`);
};

const WARNING =
  /WARNING: (?:Remote Cache: |Writing to Remote Cache:\n).*FAILED_PRECONDITION: cleanmiss: the cache behind/;

const checkBuild = async (t: Test, cache: SeededCache, mode: Mode, build: BazelBuild, refusesWrites = false) => {
  t.equal(build.exit, 0, `exit 0 (${build.stderr})`);
  t.equal(build.actions, cache.bazel.workspace.actions);
  t.equal(build.warnings.length, refusesWrites ? 1 : 0, `${build.warnings}`);
  if (refusesWrites) t.match(build.stderr, WARNING);
  await checkBytes(t, cache, mode);
};

/** Nobody asks twice for what is sound, and nobody is promised what is not. */
const checkCalls = (t: Test, cache: SeededCache, row: Row, front: GrpcRelay, behind: GrpcRelay) => {
  const { broken = [], tries = 1 } = row;
  const more = (counts: ReadonlyMap<string, number>, most: (hash: string) => number) =>
    [...counts].filter(([hash, count]) => count > most(hash));
  t.equal(front.counts('GetActionResult').size, cache.bazel.workspace.actions);
  for (const relay of [front, behind])
    t.same(
      more(relay.counts('GetActionResult'), () => 1),
      [],
      'one GetActionResult an action',
    );
  const hashes = (outputs: readonly string[]) => new Set(outputs.map((output) => cache.seeded.get(output)));
  const victims = hashes(broken);
  // Files of one directory, of which one is broken: the others are let go, and another directory may have the same.
  const beside = hashes([...cache.seeded.keys()].filter((output) => broken.some((one) => inOneFolder(one, output))));
  const triesOf = (hash: string) => {
    if (victims.has(hash) || row.hits === 'some') return tries;
    return beside.has(hash) ? 2 : 1;
  };
  t.same(more(behind.counts('Read'), triesOf), [], 'one Read a blob behind cleanmiss');
  const files = [...cache.turned.values()];
  // Bazel reads a blob for each of the files that it is: once, where it is what an action printed.
  const asFiles = (hash: string) => Math.max(1, files.filter((file) => file === hash).length);
  t.same(
    more(front.counts('Read'), (hash) => (victims.has(hash) ? 0 : asFiles(hash))),
    [],
    'and before it',
  );
};

const inOneFolder = (one: string, other: string): boolean =>
  one.includes('/') && other.startsWith(one.slice(0, one.indexOf('/') + 1));

const buildThrough = async (t: Test, cache: SeededCache, row: Row, mode: Mode): Promise<void> => {
  const { bazel, version } = cache;
  await cache.restore();
  const remote = await startBazelRemote(t, { s3: cache.s3, flags: row.flags ?? [] });
  const at = { cache, remote };
  let strikes: Promise<void> | null = null;
  const behind = await startGrpcRelay(t, {
    to: `127.0.0.1:${remote.grpcPort}`,
    onAnswer({ method, bytes }) {
      if (method === 'Read' && bytes > (row.afterBytes ?? Number.POSITIVE_INFINITY))
        strikes ??= (async () => row.break(at))();
    },
  });
  const house = await startHouse(t, { 'bazel.upstream': `grpc://${behind.address}` });
  const front = await startGrpcRelay(t, { to: house.bazel });
  const build = async () => {
    await bazel.clean();
    return await bazel.build({ remoteCache: `grpc://${front.address}`, ...asked[version][mode] });
  };
  let isHealed = false;
  const heal = async () => {
    if (!isHealed) await row.heal?.(at);
    isHealed = true;
  };
  t.teardown(async () => {
    await heal();
    await cache.s3.relink();
  });
  const { actions } = bazel.workspace;
  const seededActions = actions - cache.turnedActions;
  if (row.isWarm) {
    await build();
    front.forget();
    behind.forget();
  }
  if (row.afterBytes === undefined) await row.break(at);
  const broken = await build();
  await strikes;
  await checkBuild(t, cache, mode, broken, row.refusesWrites);
  const most = row.isWarm ? actions : seededActions - (row.broken?.length ?? 0);
  if (row.hits === 'some') t.ok(broken.remoteHits <= most, `${broken.remoteHits} hits`);
  else t.equal(broken.remoteHits, row.hits === 'none' ? 0 : most, 'only what is broken is built anew');
  const limitMs = 2 * cache.uncachedMs + SLACK_MS + (row.hangs ? HANG_MS : 0);
  t.ok(broken.wallMs < limitMs, `${Math.round(broken.wallMs)} of ${Math.round(limitMs)} ms`);
  checkCalls(t, cache, row, front, behind);
  if (mode === 'top') return;

  behind.forget();
  if (row.isRefuted) {
    const again = await build();
    await checkBuild(t, cache, mode, again);
    t.equal(again.remoteHits, actions, 'what was built anew is there for all');
    t.same([...behind.counts('Read')], [], 'and none of it is asked for again');
  } else if (row.heal && !row.isWarm) {
    await heal();
    await pause(systemClock, BREAK_MS);
    const healed = await build();
    await checkBuild(t, cache, mode, healed);
    t.equal(healed.remoteHits, seededActions, 'no client is left with a miss');
  }
};

const buildDirectly = async (t: Test, cache: SeededCache, row: Row, mode: Mode, outcome: Outcome): Promise<void> => {
  const { bazel, version } = cache;
  await cache.restore();
  const remote = await startBazelRemote(t, { s3: cache.s3, flags: row.flags ?? [] });
  try {
    await row.break({ cache, remote });
    await bazel.clean();
    const { flags, ...targets } = asked[version][mode];
    // Its default of 5 makes it no better, and takes half a minute.
    const retries = '--remote_retries=0';
    const build = await bazel.build({
      remoteCache: `grpc://127.0.0.1:${remote.grpcPort}`,
      ...targets,
      flags: [...flags, retries],
    });
    const seen = (): Outcome => {
      if (build.exit !== 0) return 'fails';
      return build.warnings.length > 0 ? 'warns' : 'is sound';
    };
    const outputs = await bazel.workspace.outputs();
    const isWrong = [...outputs].some(([output, hash]) => cache.turned.get(output) !== hash);
    t.equal(isWrong ? 'takes wrong bytes' : seen(), outcome, build.stderr);
    // 36 and 34 are what 4.2 has of it.
    if (outcome === 'fails') t.ok([34, 36, 39].includes(build.exit ?? 0), `exit ${build.exit}`);
  } finally {
    await cache.s3.relink();
  }
};

t.setTimeout(900_000);
// Each version has all of its own; much of the time they wait.
t.jobs = 2;
for (const version of bazelVersions) {
  t.test(`Bazel ${version}`, { buffered: true }, async (t) => {
    const cache = await seedCache(t, version, { impostors: VICTIMS });
    for (const row of ROWS) {
      for (const mode of row.isWarm ? (['all'] as const) : (['all', 'top'] as const)) {
        await t.test(`${row.fault}: ${mode}`, async (t) => {
          await t.test('through cleanmiss', (t) => buildThrough(t, cache, row, mode));
          const direct = row.direct?.[mode];
          if (direct)
            await t.test(`directly, it ${direct(version)}`, (t) => buildDirectly(t, cache, row, mode, direct(version)));
        });
      }
    }
  });
}
