// Eight real clients that want one large NAR at once cost the upstream one transfer, and none of them suffers for another.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import t, { type Test } from 'tap';
import { metric, statusOf, untilTrue } from '../support/real/admin.ts';
import { startCleanmiss } from '../support/real/cleanmiss.ts';
import { writeDerivations } from '../support/real/derivations.ts';
import { makeFileCache } from '../support/real/file-cache.ts';
import { startNginx } from '../support/real/nginx.ts';
import { hasBuiltLocally, makeNixStore, type NixStore } from '../support/real/nix.ts';
import { temporaryDirectory } from '../support/real/scope.ts';

const MB = 1e6;
const NAR_BYTES = 200 * MB;
/** Node alone takes 80 MB; a 200 MB NAR must not add what it weighs, whoever reads it and however slowly. */
const MAX_MEMORY = 300 * MB;

const sha256Of = async (file: string): Promise<string> => {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
};

interface World {
  readonly file: string;
  readonly outPath: string;
  readonly contentHash: string;
  readonly narPath: string;
  readonly directory: string;
}

const makeWorld = async (t: Test): Promise<World> => {
  const file = await writeDerivations(await temporaryDirectory(t, 'expression'), [
    { name: 'large', sizeBytes: NAR_BYTES, content: 'halves' },
  ]);
  const builder = await makeNixStore(t, '2.34');
  const { outPath } = await builder.build(file, { attr: 'large' });
  const cache = await makeFileCache(t, builder, [outPath], { compression: 'zstd' });
  const contentHash = await sha256Of(join(builder.hostPath(outPath), 'contents'));
  return { file, outPath, contentHash, narPath: await cache.narPath(outPath), directory: cache.directory };
};

/** A house in front of nginx, and eight clients, half of them old. */
const gather = async (t: Test, { directory, narPath }: World, directives = '') => {
  const log = join(await temporaryDirectory(t, 'nginx-log'), 'access.log');
  const nginx = await startNginx(t, {
    serve: { root: directory },
    prefix: '/lab/',
    directives: `access_log ${log}; ${directives}`,
  });
  const cleanmiss = await startCleanmiss(t, { 'nix.upstream': `http://127.0.0.1:${nginx.port}` });
  const substituters = [`${cleanmiss.nix}/lab`];
  const clients = await Promise.all(
    Array.from({ length: 8 }, (_, index) => makeNixStore(t, index % 2 === 0 ? '2.8' : '2.34', { substituters })),
  );
  return {
    cleanmiss,
    clients,
    /** Lines that nginx wrote of the NAR: one for each transfer that has ended. */
    async transfers() {
      const lines = (await readFile(log, 'utf8')).split('\n');
      return lines.filter((line) => line.includes(`GET /lab/${narPath} `));
    },
  };
};

type Gathered = Awaited<ReturnType<typeof gather>>;

const checkClient = async (t: Test, { file, contentHash, outPath }: World, client: NixStore): Promise<void> => {
  const run = await client.build(file, { attr: 'large' });
  t.equal(run.code, 0, run.stderr);
  t.equal(hasBuiltLocally(run.stderr), false, 'substituted');
  t.equal(await sha256Of(join(client.hostPath(outPath), 'contents')), contentHash, 'the bytes');
};

const checkHouse = async (t: Test, { cleanmiss, transfers }: Gathered): Promise<void> => {
  const lines = await transfers();
  t.equal(lines.length, 1, `one transfer: ${lines.join('\n')}`);
  t.match(lines[0], /" 200 \d+ "/, 'a whole one');
  t.equal(await metric(cleanmiss.admin, 'cleanmiss_upstream_transfers_total'), 1);
  const peak = await cleanmiss.peakMemory();
  t.ok(peak < MAX_MEMORY, `${Math.round(peak / MB)} MB of memory at most`);
  t.equal(await cleanmiss.stop(), 0, 'drained');
};

/** How much of the path a client has unpacked. */
const unpackedBytes = async (client: NixStore, outPath: string): Promise<number> => {
  const file = await stat(join(client.hostPath(outPath), 'contents')).catch(() => null);
  return file?.size ?? 0;
};

const world = await makeWorld(t);

t.test('eight at once: one transfer', async (t) => {
  const gathered = await gather(t, world);
  await Promise.all(gathered.clients.map((client) => checkClient(t, world, client)));
  await checkHouse(t, gathered);
});

t.test('one is killed in the middle of the transfer that it began, one in the middle of its own', async (t) => {
  // 104 MB at 50 MB/s: two seconds in which the first can die.
  const gathered = await gather(t, world, 'limit_rate 50m;');
  const { cleanmiss, clients } = gathered;
  const [first, second, ...others] = clients;
  if (first === undefined || second === undefined) throw new Error('there are eight');
  const leaving = new AbortController();
  const firstRun = first.build(world.file, { attr: 'large', signal: leaving.signal });
  await untilTrue(async () => (await metric(cleanmiss.admin, 'cleanmiss_spool_bytes')) > 10 * MB);
  const alsoLeaving = new AbortController();
  const secondRun = second.build(world.file, { attr: 'large', signal: alsoLeaving.signal });
  const checks = others.map((client) => checkClient(t, world, client));
  leaving.abort();
  t.equal((await firstRun).signal, 'SIGKILL', 'before a byte was its own');
  t.equal((await statusOf(cleanmiss.admin)).fills.active, 1, 'the transfer goes on');
  await untilTrue(async () => (await unpackedBytes(second, world.outPath)) > 20 * MB);
  alsoLeaving.abort();
  t.equal((await secondRun).signal, 'SIGKILL');
  t.ok((await unpackedBytes(second, world.outPath)) < NAR_BYTES, 'with some bytes, and not all');
  await Promise.all(checks);
  await checkHouse(t, gathered);
});
