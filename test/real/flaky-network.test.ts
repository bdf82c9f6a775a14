// A network that cuts connections, before cleanmiss or behind it, costs a real build time and nothing else.

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startHouse } from '../support/house.ts';
import { metric } from '../support/real/admin.ts';
import { writeDerivations } from '../support/real/derivations.ts';
import { makeFileCache } from '../support/real/file-cache.ts';
import { startNginx } from '../support/real/nginx.ts';
import { hasBuiltLocally, makeNixStore, type NixStore, type NixVersion, nixVersions } from '../support/real/nix.ts';
import { startRelay } from '../support/real/relay.ts';
import { temporaryDirectory } from '../support/real/scope.ts';
import { servedPaths } from '../support/real/served-cache.ts';
import { startUpstream } from '../support/scripted-upstream.ts';

/** Each connection dies when it has brought so much. */
const CUT_BYTES = 30_000;

const NAMES = ['one', 'two', 'three'];

/** Three NARs of 75 kB that do not compress: three connections each, or four, for the first may have brought something before. */
const makeWorld = async (t: Test) => {
  const shapes = NAMES.map((name) => ({ name, sizeBytes: 75_000 }));
  const file = await writeDerivations(await temporaryDirectory(t, 'expression'), shapes);
  const builder = await makeNixStore(t, '2.34');
  const { outPaths } = await builder.build(file, { attr: NAMES });
  return { file, builder, outPaths };
};

const world = await makeWorld(t);

const checkBuild = async (t: Test, client: NixStore): Promise<void> => {
  const { file, builder, outPaths } = world;
  const run = await client.build(file, { attr: NAMES });
  t.equal(run.code, 0, `${client.version}: exit 0 (${run.stderr})`);
  t.equal(hasBuiltLocally(run.stderr), false, `${client.version}: all is substituted`);
  const contents = (store: NixStore, path: string) => readFileSync(join(store.hostPath(path), 'contents'));
  for (const path of outPaths)
    t.ok(contents(client, path).equals(contents(builder, path)), `${client.version}: ${path}`);
};

/** nginx in front of what `nix copy` wrote; it offers ranges. The log has a line for each request. */
const startCache = async (t: Test) => {
  const { directory } = await makeFileCache(t, world.builder, world.outPaths, { compression: 'xz' });
  const log = join(await temporaryDirectory(t, 'nginx-log'), 'access.log');
  const nginx = await startNginx(t, { serve: { root: directory }, directives: `access_log ${log};` });
  const narStatuses = async (): Promise<string[]> => {
    const lines = (await readFile(log, 'utf8')).split('\n').filter((line) => line.includes('GET /nar/'));
    return lines.map((line) => /" (\d{3}) /.exec(line)?.[1] ?? line);
  };
  return { url: nginx.url, narStatuses };
};

const forEachVersion = (check: (version: NixVersion) => Promise<void>) => Promise.all(nixVersions.map(check));

t.test('between client and cleanmiss: the client goes on by ranges', (t) =>
  forEachVersion(async (version) => {
    const cache = await startCache(t);
    const house = await startHouse(t, { 'nix.upstream': cache.url });
    const relay = await startRelay(t, { to: house.nix, cutAfter: () => CUT_BYTES });
    await checkBuild(t, await makeNixStore(t, version, { substituters: [relay.url] }));
    t.ok(relay.cuts >= 6, `${version}: ${relay.cuts} connections were cut`);
    t.equal(await metric(house.admin, 'cleanmiss_upstream_transfers_total'), 3, `${version}: once from the upstream`);
    t.equal(await metric(house.admin, 'cleanmiss_requests_total', { result: 'miss' }), 0, `${version}: no miss`);
  }),
);

t.test('between cleanmiss and an upstream that offers ranges: the client notices nothing', (t) =>
  forEachVersion(async (version) => {
    const cache = await startCache(t);
    const relay = await startRelay(t, { to: cache.url, cutAfter: () => CUT_BYTES });
    const house = await startHouse(t, { 'nix.upstream': relay.url });
    const client = await makeNixStore(t, version, { substituters: [house.nix], settings: { 'download-attempts': 1 } });
    await checkBuild(t, client);
    t.ok(relay.cuts >= 6, `${version}: ${relay.cuts} connections were cut`);
    t.ok((await cache.narStatuses()).includes('206'), `${version}: went on where it broke off`);
    t.equal(await metric(house.admin, 'cleanmiss_requests_total', { result: 'miss' }), 0, `${version}: no miss`);
  }),
);

t.test('between cleanmiss and Attic, which offers none: the same', (t) =>
  forEachVersion(async (version) => {
    const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
    t.teardown(() => upstream.close());
    const cache = await makeFileCache(t, world.builder, world.outPaths, { compression: 'none' });
    for (const path of await servedPaths(cache, { kind: 'zstd-many' })) path.putOn(upstream, '/lab');
    // Three that live among those that die: a body that always breaks at one byte can't be had without ranges.
    const relay = await startRelay(t, {
      to: upstream.origin,
      cutAfter: (index) => (index % 2 === 0 ? CUT_BYTES : null),
    });
    const house = await startHouse(t, { 'nix.upstream': relay.url });
    const settings = { 'download-attempts': 1 };
    await checkBuild(t, await makeNixStore(t, version, { substituters: [`${house.nix}/lab`], settings }));
    t.ok(relay.cuts >= 1, `${version}: ${relay.cuts} connections were cut`);
    t.equal(await metric(house.admin, 'cleanmiss_requests_total', { result: 'miss' }), 0, `${version}: no miss`);
  }),
);
