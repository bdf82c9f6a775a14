// Real Bazels build through cleanmiss as through no cache at all, and then hit everything: with and without an upstream,
// in either encoding, with and without the bytes; after restarts and kills, and with a store that is much too small.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { type Bazel, type BazelVersion, bazelVersions, makeBazel } from '../support/bazel.ts';
import { startBazelRemote } from '../support/bazel-remote.ts';
import { makeWorkspace } from '../support/bazel-workspace.ts';
import { startCleanmiss } from '../support/real/cleanmiss.ts';
import { type GrpcRelay, startGrpcRelay } from '../support/real/grpc-relay.ts';
import { temporaryDirectory } from '../support/real/scope.ts';
import { ReapiClient } from '../support/reapi-client.ts';

interface World {
  readonly version: BazelVersion;
  readonly bazel: Bazel;
  /** What every build must end with: as built without any cache. */
  readonly outputs: ReadonlyMap<string, string>;
}

const makeWorld = async (t: Test, version: BazelVersion): Promise<World> => {
  const workspace = await makeWorkspace(t);
  const bazel = await makeBazel(t, version, workspace);
  const { exit, stderr } = await bazel.build({ remoteCache: null });
  if (exit !== 0) throw new Error(stderr);
  return { version, bazel, outputs: await workspace.outputs() };
};

const EMPTY = createHash('sha256').digest('hex');
/** A build reads these whatever it leaves behind: what one action printed, to either side, and four trees. */
const READ_ALWAYS = 6;

/** One build from nothing but what the cache has; and nothing of it is asked for twice. */
const build = async (
  t: Test,
  { bazel, outputs }: World,
  relay: GrpcRelay,
  { name, hits, ...options }: { name: string; hits: number; flags?: readonly string[]; targets?: readonly string[] },
): Promise<ReadonlyMap<string, string>> => {
  const { actions } = bazel.workspace;
  await bazel.clean();
  relay.forget();
  const built = await bazel.build({ remoteCache: `grpc://${relay.address}`, ...options });
  t.match(
    built,
    { exit: 0, warnings: [], actions, remoteHits: hits, localActions: actions - hits },
    `${name}: ${built.stderr}`,
  );
  const seen = await bazel.workspace.outputs();
  for (const [output, hash] of seen) if (outputs.get(output) !== hash) t.fail(`${name}: wrong bytes in ${output}`);
  const asked = relay.counts('GetActionResult');
  t.equal(asked.size, actions, `${name}: every action is asked for`);
  t.ok(
    [...asked.values()].every((count) => count === 1),
    `${name}: once`,
  );
  if (hits === actions) {
    const files = [...seen.values()].filter((hash) => hash !== EMPTY).length;
    const reads = relay.calls.filter(({ method, code }) => method === 'Read' && code === status.OK);
    t.equal(reads.length, files + READ_ALWAYS, `${name}: one Read a file`);
  }
  return seen;
};

interface Mode {
  readonly flags: readonly string[];
  readonly targets?: readonly string[];
  /** How many of the outputs are there in the end. */
  readonly files: 'all' | number;
}

const TOP = ['//:top'];

const modes: Readonly<Record<BazelVersion, readonly Mode[]>> = {
  '4.2': [
    { flags: [], files: 'all' },
    { flags: ['--remote_download_toplevel'], targets: TOP, files: 1 },
    { flags: ['--remote_download_minimal'], files: 0 },
  ],
  '7.7': [
    { flags: [], targets: TOP, files: 1 },
    { flags: ['--remote_download_outputs=all'], targets: TOP, files: 'all' },
    { flags: ['--remote_download_outputs=minimal'], files: 0 },
  ],
};

/** Of any version that speaks it. */
const encodings: Readonly<Record<BazelVersion, Readonly<Record<string, readonly string[]>>>> = {
  '4.2': { identity: [] },
  '7.7': { identity: [], zstd: ['--remote_cache_compression'] },
};

/** Of every size and kind. */
const SAMPLES = ['big.bin', 'link_05.txt', 'leaf_00.txt', 'empty.txt', 'script.sh', 'folder_2/part_1/deep/file_4'];

const inPieces = (bytes: Buffer): Buffer[] =>
  Array.from({ length: Math.max(1, Math.ceil(bytes.length / 1e6)) }, (_, n) => bytes.subarray(n * 1e6, (n + 1) * 1e6));

/** The other encoding than that in which they came, and both for what came by hand. */
const checkClient = async (t: Test, { bazel, outputs }: World, address: string, isAlone: boolean): Promise<void> => {
  const client = new ReapiClient(address);
  try {
    for (const output of SAMPLES) {
      const hash = outputs.get(output) ?? '';
      const bytes = await readFile(join(bazel.workspace.dir, 'bazel-bin', output));
      const digest = { hash, sizeBytes: bytes.length };
      const reads = async (instance: string) => {
        const encoded = await client.read(digest, { encoding: 'zstd', instance });
        const plain = await client.read(digest, { instance });
        const decoded = encoded.code === status.OK ? zstdDecompressSync(encoded.bytes) : encoded.details;
        t.same(digestOf(decoded), hash, `${output}: zstd${instance && ` in ${instance}`}`);
        t.same(digestOf(plain.bytes), hash, `${output}: identity${instance && ` in ${instance}`}`);
      };
      await reads('');
      // bazel-remote knows no instances: it has there what it has anywhere, in other bytes than we have made of ours.
      if (!isAlone) await reads('elsewhere');
      const instance = 'by-hand';
      const written = await client.write(digest, inPieces(zstdCompressSync(bytes)), { encoding: 'zstd', instance });
      t.equal(written.code, status.OK, written.details);
      await reads(instance);
    }
  } finally {
    client.close();
  }
};

const digestOf = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

const buildsEverything = async (t: Test, world: World, encoding: string, isAlone: boolean): Promise<void> => {
  const { bazel, outputs, version } = world;
  const { actions } = bazel.workspace;
  const encoded = encodings[version][encoding] ?? [];
  const upstream = isAlone ? null : await startBazelRemote(t);
  const flags = upstream ? { 'bazel.upstream': `grpc://127.0.0.1:${upstream.grpcPort}` } : {};
  const dir = await temporaryDirectory(t, 'data');
  const through = async (home?: string) => {
    const cleanmiss = await startCleanmiss(t, flags, home);
    return { cleanmiss, relay: await startGrpcRelay(t, { to: cleanmiss.bazel }) };
  };
  const first = await through(dir);
  const cold = await build(t, world, first.relay, { name: 'cold', hits: 0, flags: encoded });
  t.same(cold, outputs);
  if (encoding === 'identity') await checkClient(t, world, first.cleanmiss.bazel, isAlone);
  for (const { files, ...mode } of modes[version]) {
    const name = [...mode.flags, ...(mode.targets ?? [])].join(' ') || 'default';
    const seen = await build(t, world, first.relay, {
      ...mode,
      name,
      hits: actions,
      flags: [...mode.flags, ...encoded],
    });
    t.equal(seen.size, files === 'all' ? outputs.size : files, `${name}: the files that were asked for`);
    if (encoding !== 'identity') break;
  }

  const all = { hits: actions, flags: ['--remote_download_outputs=all', ...encoded] };
  const ways = isAlone ? (['killed', 'stopped'] as const) : (['with an empty store'] as const);
  let { cleanmiss } = first;
  for (const way of ways) {
    if (way === 'killed') await cleanmiss.kill();
    if (way === 'stopped') t.equal(await cleanmiss.stop(), 0);
    const next = await through(way === 'with an empty store' ? undefined : dir);
    cleanmiss = next.cleanmiss;
    t.same(await build(t, world, next.relay, { ...all, name: way }), outputs, `${way}: the same bytes`);
  }
};

const outlivesKill = async (t: Test, world: World): Promise<void> => {
  const { bazel, outputs } = world;
  const dir = await temporaryDirectory(t, 'data');
  const cleanmiss = await startCleanmiss(t, {}, dir);
  let stored = 0;
  let killed: Promise<void> | null = null;
  const relay = await startGrpcRelay(t, {
    to: cleanmiss.bazel,
    onAnswer({ method }) {
      if (method === 'UpdateActionResult' && ++stored === 15) killed = cleanmiss.kill();
    },
  });
  await bazel.clean();
  // Each try of Bazel's would take it seconds, and find nobody.
  const left = await bazel.build({ remoteCache: `grpc://${relay.address}`, flags: ['--remote_retries=0'] });
  await killed;
  t.equal(left.exit, 0, left.stderr);
  t.same(await bazel.workspace.outputs(), outputs);
  const isAcknowledged = ({ method, code }: (typeof relay.calls)[number]) =>
    method === 'UpdateActionResult' && code === status.OK;
  const acknowledged = relay.calls.filter(isAcknowledged).length;
  // Of the last, at least one's answer may have been on its way.
  t.ok(acknowledged >= 10, `${acknowledged} results were acknowledged`);

  const next = await startCleanmiss(t, {}, dir);
  await bazel.clean();
  const again = await bazel.build({ remoteCache: `grpc://${next.bazel}` });
  t.match(again, { exit: 0, warnings: [] }, again.stderr);
  t.ok(again.remoteHits >= acknowledged, `${again.remoteHits} hits of ${acknowledged}`);
  t.same(await bazel.workspace.outputs(), outputs);
};

/** A fifteenth of the outputs. The largest has no place in it at all, and is a miss. */
const staysSmall = async (t: Test, { bazel, outputs }: World): Promise<void> => {
  const { actions, outputs: seen } = bazel.workspace;
  const { grpcPort } = await startBazelRemote(t);
  const flags = { 'bazel.upstream': `grpc://127.0.0.1:${grpcPort}`, 'store.maxBytes': '1MiB' };
  const cleanmiss = await startCleanmiss(t, flags);
  const remoteCache = `grpc://${cleanmiss.bazel}`;
  await bazel.clean();
  t.match(await bazel.build({ remoteCache }), { exit: 0, warnings: [], remoteHits: 0 });
  await bazel.clean();
  const second = await bazel.build({ remoteCache });
  t.match(second, { exit: 0, warnings: [] }, second.stderr);
  t.ok(second.remoteHits > 0.95 * actions, `${second.remoteHits} hits of ${actions}`);
  t.same(await seen(), outputs);
};

t.setTimeout(900_000);
// Each version has a workspace of its own; one works while the other waits.
t.jobs = 2;
for (const version of bazelVersions) {
  t.test(`Bazel ${version}`, { buffered: true }, async (t) => {
    const world = await makeWorld(t, version);
    for (const encoding of Object.keys(encodings[version])) {
      for (const isAlone of [true, false]) {
        const name = `${encoding}, ${isAlone ? 'our store is the cache' : 'in front of bazel-remote'}`;
        await t.test(name, (t) => buildsEverything(t, world, encoding, isAlone));
      }
    }
    await t.test('killed in the midst of a build, it has all that it acknowledged', (t) => outlivesKill(t, world));
    await t.test('a store of one MiB in front of bazel-remote', (t) => staysSmall(t, world));
  });
}
