// Whatever is wrong with a NAR: a build that asks the cache itself fails; through cleanmiss it goes on, without --fallback.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { BodyKind } from '../support/encodings.ts';
import { framed, redirect, status } from '../support/faults/answer.ts';
import { cleanShort, contentEncodingGzip, flip, trailing } from '../support/faults/content.ts';
import { narinfoField } from '../support/faults/narinfo.ts';
import {
  closeWithoutHead,
  cutAfter,
  headThenSilence,
  stallAfter,
  stallBefore,
  zeroBytes,
} from '../support/faults/transfer.ts';
import { type Fault, when } from '../support/faults/when.ts';
import { startHouse } from '../support/house.ts';
import { writeDerivations } from '../support/real/derivations.ts';
import { makeFileCache } from '../support/real/file-cache.ts';
import {
  hasBuiltLocally,
  makeNixStore,
  type NixSettings,
  type NixStore,
  type NixVersion,
  nixVersions,
} from '../support/real/nix.ts';
import { temporaryDirectory } from '../support/real/scope.ts';
import { type ServedPath, servedPaths } from '../support/real/served-cache.ts';
import { startUpstream } from '../support/scripted-upstream.ts';

/** `failed`: exit 1, and nothing was built. `built` and `substituted`: exit 0, and where the output came from. */
type Outcome = 'failed' | 'built' | 'substituted';

interface Row {
  readonly fault: string;
  /** Given half the size of the body that it meets. */
  readonly script: (halfBytes: number) => Fault;
  /** Whose request is met; the NAR's by default. */
  readonly on?: 'narinfo';
  /** The client has remembered the narinfo, and then nobody listens any more. */
  readonly isRefused?: true;
  readonly kinds?: readonly BodyKind[];
  /** Of the client, whose patience is scaled down as ours is: 5 tries of 300 s each would be one of 8 s. */
  readonly settings?: NixSettings;
  /** Asked of the cache itself; `failed` by default. */
  readonly direct?: (version: NixVersion, kind: BodyKind) => Outcome;
  /** Asked through cleanmiss; `built` by default. */
  readonly through?: Outcome;
  /** GETs of the NAR that cleanmiss sends for one answer. */
  readonly asks: number;
}

const ALL: readonly BodyKind[] = ['zstd-many', 'xz', 'none'];
const IMPATIENT: NixSettings = { 'stalled-download-timeout': 8, 'download-attempts': 1 };

const ROWS: readonly Row[] = [
  { fault: '404', script: () => status(404), direct: () => 'built', asks: 1 },
  { fault: '503', script: () => status(503), asks: 1 },
  { fault: 'refused connections', script: () => (plan) => plan, isRefused: true, asks: 0 },
  { fault: 'closed without a head', script: closeWithoutHead, asks: 2 },
  { fault: 'a head, then FIN', script: zeroBytes, asks: 2 },
  { fault: 'zero bytes', script: () => cleanShort(0), kinds: ALL, asks: 2 },
  { fault: 'cut, with a length', script: (half) => both(framed('length'), cutAfter(half)), asks: 4 },
  { fault: 'cut, chunked', script: cutAfter, kinds: ALL, asks: 4 },
  { fault: 'cleanly short', script: cleanShort, kinds: ALL, asks: 2 },
  { fault: 'one flipped bit', script: () => flip('middle'), kinds: ALL, asks: 2 },
  {
    fault: 'trailing bytes',
    script: () => trailing(Buffer.from('trailing')),
    kinds: ALL,
    // Nix reads a NAR to its end, and looks no further where nothing is compressed.
    direct: (_, kind) => (kind === 'none' ? 'substituted' : 'failed'),
    asks: 2,
  },
  { fault: 'no head at all', script: stallBefore, settings: IMPATIENT, asks: 1 },
  { fault: 'a head, then silence', script: headThenSilence, settings: IMPATIENT, asks: 1 },
  { fault: 'silence in the middle', script: stallAfter, settings: IMPATIENT, asks: 2 },
  { fault: '307 to a dead host', script: () => redirect('http://127.0.0.1:9/dead'), asks: 1 },
  {
    fault: 'Content-Encoding gzip',
    script: contentEncodingGzip,
    kinds: ALL,
    // 2.8 undoes what a Content-Encoding names, or what a Compression names, but never both.
    direct: (version, kind) => (version === '2.8' && kind !== 'none' ? 'failed' : 'substituted'),
    through: 'substituted',
    asks: 1,
  },
  {
    fault: 'a wrong Compression',
    script: () => narinfoField('Compression', 'xz'),
    on: 'narinfo',
    // 2.8 does not read the field: it looks at the bytes.
    direct: (version) => (version === '2.8' ? 'substituted' : 'failed'),
    asks: 2,
  },
];

const both = (...faults: readonly Fault[]): Fault => when(() => true, ...faults);

const LIMITS = { 'upstream.firstByte': '3s', 'upstream.idle': '1s', 'nix.redirectHosts': '127.0.0.1:9' };

interface World {
  readonly file: string;
  /** Where all was built: what every client must end with. */
  readonly builder: NixStore;
  readonly outPaths: Readonly<Record<string, string>>;
  readonly served: ReadonlyMap<BodyKind, readonly ServedPath[]>;
}

/** `lone`, and `top` which refers to `dep`. */
const makeWorld = async (t: Test): Promise<World> => {
  const file = await writeDerivations(await temporaryDirectory(t, 'expression'), [
    { name: 'lone', sizeBytes: 200_000, content: 'halves' },
    { name: 'dep', sizeBytes: 200_000, content: 'halves' },
    { name: 'top', sizeBytes: 20_000, references: ['dep'] },
  ]);
  const builder = await makeNixStore(t, '2.8');
  const { outPaths, stderr } = await builder.build(file, { attr: ['lone', 'dep', 'top'] });
  const [lone, dep, top] = outPaths;
  if (lone === undefined || dep === undefined || top === undefined) throw new Error(stderr);
  const cache = await makeFileCache(t, builder, outPaths, { compression: 'none' });
  const served = new Map<BodyKind, ServedPath[]>();
  for (const kind of ALL) served.set(kind, await servedPaths(cache, { kind }));
  return { file, builder, outPaths: { lone, dep, top }, served };
};

/** One build of `attr` by one client, of which the NAR of `bad` is bad. */
interface Case {
  readonly row: Row;
  readonly kind: BodyKind;
  readonly attr: 'lone' | 'top';
  readonly bad: 'lone' | 'dep';
  readonly version: NixVersion;
  readonly isDirect: boolean;
}

const buildOnce = async (t: Test, world: World, { row, kind, attr, bad, version, isDirect }: Case) => {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  const served = (world.served.get(kind) ?? []).map((path) => ({ ...path, ...path.putOn(upstream, '/lab') }));
  const victim = served.find(({ storePath }) => storePath === world.outPaths[bad]);
  if (victim === undefined) throw new Error(`${bad} is not in the cache`);
  upstream.script(row.on === 'narinfo' ? victim.narinfo : victim.nar, row.script(victim.bodyBytes >> 1));
  const house = isDirect ? null : await startHouse(t, { 'nix.upstream': upstream.origin, ...LIMITS });
  const client = await makeNixStore(t, version, {
    substituters: [house === null ? upstream.url('lab') : `${house.nix}/lab`],
    settings: row.settings ?? {},
  });
  if (row.isRefused) {
    await client.build(world.file, { attr, flags: ['--dry-run'] });
    await upstream.refuse();
  }
  const run = await client.build(world.file, { attr });
  await house?.close();
  return { run, client, transfers: upstream.transfers(victim.nar) };
};

/** All bytes are what they must be, wherever they come from. */
const checkOutput = (t: Test, { builder }: World, client: NixStore, outPath: string, name: string): void => {
  const contents = (store: NixStore) => readFileSync(join(store.hostPath(outPath), 'contents'));
  t.ok(contents(client).equals(contents(builder)), `${name}: the bytes`);
};

const checkThrough = async (t: Test, world: World, one: Case): Promise<void> => {
  const { row, attr, bad, version } = one;
  const name = `through cleanmiss, ${version}`;
  const { run, client, transfers } = await buildOnce(t, world, one);
  t.equal(run.code, 0, `${name}: exit 0 (${run.stderr})`);
  const isBuilt = row.through !== 'substituted';
  t.equal(hasBuiltLocally(run.stderr, bad), isBuilt, `${name}: ${isBuilt ? 'built' : 'substituted'}`);
  // From 2.30 on what refers to a miss is built as well, though its own NAR be there.
  const topIsBuilt = isBuilt && attr === 'top' && (version !== '2.8' || row.isRefused === true);
  t.equal(hasBuiltLocally(run.stderr, 'top'), topIsBuilt, `${name}: nothing is built needlessly`);
  t.notMatch(run.stderr, /retrying|unable to|mismatch|incomplete|Truncated|corrupt/i, `${name}: no noise`);
  for (const path of attr === 'top' ? ['dep', 'top'] : ['lone']) {
    checkOutput(t, world, client, world.outPaths[path] ?? '', `${name}: ${path}`);
  }
  // In a chain Nix asks twice; the second finds the first's answer, if it comes at once.
  const fills = attr === 'top' ? [1, 2] : [1];
  t.ok(
    fills.some((count) => transfers.total === count * row.asks),
    `${name}: ${transfers.total} requests for the NAR`,
  );
  t.ok(transfers.complete <= 2 * fills.length, `${name}: ${transfers.complete} complete ones`);
  t.ok(transfers.mostOpen <= 1, `${name}: one at a time`);
};

const checkDirect = async (t: Test, world: World, one: Case): Promise<void> => {
  const { row, kind, bad, version } = one;
  const outcome = row.direct?.(version, kind) ?? 'failed';
  const { run } = await buildOnce(t, world, one);
  t.equal(run.code, outcome === 'failed' ? 1 : 0, `direct, ${version}: ${outcome} (${run.stderr})`);
  t.equal(hasBuiltLocally(run.stderr, bad), outcome === 'built', `direct, ${version}: ${outcome}`);
};

// Most of the time clients wait before they ask again.
t.jobs = 8;
const world = await makeWorld(t);
for (const row of ROWS) {
  const kinds = row.kinds ?? ['zstd-many'];
  const cases = kinds.map((kind) => ({ row, kind, attr: 'lone', bad: 'lone' }) as const);
  const chain = { row, kind: kinds[0] ?? 'none', attr: 'top', bad: 'dep' } as const;
  for (const one of [...cases, chain]) {
    t.test(`${row.fault}: ${one.kind} of ${one.bad}`, { buffered: true }, async (t) => {
      const runs = nixVersions.flatMap((version) => [
        checkThrough(t, world, { ...one, version, isDirect: false }),
        checkDirect(t, world, { ...one, version, isDirect: true }),
      ]);
      await Promise.all(runs);
    });
  }
}
