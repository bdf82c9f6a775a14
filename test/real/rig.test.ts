// Proves the rig: both real Nix clients, a real cache, and the very failures that cleanmiss is there to prevent.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile, watch, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { answer, healthyAttic, type Reply, type Route, startAtticReplay } from '../support/attic-replay.ts';
import { loadAtticWire } from '../support/attic-wire.ts';
import { writeDerivations } from '../support/real/derivations.ts';
import { type FileCache, makeFileCache } from '../support/real/file-cache.ts';
import { startNginx } from '../support/real/nginx.ts';
import { hasBuiltLocally, makeNixStore, type NixStore, type NixVersion, nixVersions } from '../support/real/nix.ts';
import { type Scope, temporaryDirectory } from '../support/real/scope.ts';

/** `top` refers to `dep`; built, signed and written into a cache once. */
const makeCache = async (scope: Scope, compression: 'zstd' | 'xz' | 'none' = 'zstd') => {
  const file = await writeDerivations(await temporaryDirectory(scope, 'expression'), [
    { name: 'dep', sizeBytes: 20_000 },
    { name: 'top', sizeBytes: 300_000, content: 'halves', references: ['dep'] },
  ]);
  const builder = await makeNixStore(scope, '2.8');
  const { outPath, stderr } = await builder.build(file, { attr: 'top' });
  if (!hasBuiltLocally(stderr, 'dep')) throw new Error(stderr);
  const key = await builder.makeKey('rig-1');
  return { file, outPath, builder, key, cache: await makeFileCache(scope, builder, [outPath], { compression, key }) };
};

/** Serves a cache, but for the NAR of one store path. */
const faulty =
  ({ directory }: FileCache, narPath: string, fault: (nar: Buffer) => Reply): Route =>
  async (_method, path) => {
    const file = join(directory, path);
    if (!existsSync(file)) return answer(404);
    const body = await readFile(file);
    return path === `/${narPath}` ? fault(body) : answer(200, body);
  };

const contentsOf = (store: NixStore, outPath: string): Buffer =>
  readFileSync(join(store.hostPath(outPath), 'contents'));

/** Every process that shows the mark in its environment or its command line. */
const processesWith = (mark: string): string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      return ['environ', 'cmdline'].some((file) => readFileSync(`/proc/${pid}/${file}`).includes(mark));
    } catch {
      return false; // No process, or one that has just ended.
    }
  });

/** The kernel ends a killed client's last threads a moment after its output closed. */
const goneFromProcesses = async (mark: string): Promise<void> => {
  while (processesWith(mark).length > 0) await new Promise(setImmediate);
};

/** At once: the clients share nothing, and some faults take each 5 s. */
const withEachVersion = async (check: (version: NixVersion) => Promise<void>): Promise<void> => {
  await Promise.all(nixVersions.map(check));
};

t.test('both versions are what they are called', (t) =>
  withEachVersion(async (version) => {
    const store = await makeNixStore(t, version);
    const { code, stdout, stderr } = await store.run('nix', ['--version']);
    t.equal(code, 0, stderr);
    t.match(stdout, version === '2.8' ? /^nix \(Nix\) 2\.8\./ : /^nix \(Nix\) (2\.(3[4-9]|[4-9]\d)|[3-9])\./);
  }),
);

for (const compression of ['zstd', 'xz', 'none'] as const) {
  t.test(`a cache of ${compression} that nginx serves is substituted`, async (t) => {
    const { file, outPath, builder, key, cache } = await makeCache(t, compression);
    const nginx = await startNginx(t, { serve: { root: cache.directory }, prefix: '/lab/' });
    const proxy = await startNginx(t, { serve: { proxyTo: `http://127.0.0.1:${nginx.port}` } });
    for (const substituter of [nginx.url, `${proxy.url}/lab`]) {
      for (const version of nixVersions) {
        const options = { substituters: [substituter], trustedKeys: [key.publicKey] };
        const client = await makeNixStore(t, version, options);
        const run = await client.build(file, { attr: 'top' });
        t.equal(run.code, 0, run.stderr);
        t.equal(hasBuiltLocally(run.stderr), false, run.stderr);
        t.equal(run.outPath, outPath, 'both versions give a derivation the same path');
        t.ok(contentsOf(client, outPath).equals(contentsOf(builder, outPath)));
      }
    }
    await nginx.stop();
    await t.rejects(fetch(nginx.url), 'stopped');
  });
}

t.test('a client takes only what a trusted key signed', async (t) => {
  const { file, cache, builder } = await makeCache(t);
  const { publicKey } = await builder.makeKey('other-1');
  for (const version of nixVersions) {
    const client = await makeNixStore(t, version, { substituters: [cache.url], trustedKeys: [publicKey] });
    const run = await client.build(file, { attr: 'top' });
    t.equal(run.code, 0);
    t.ok(hasBuiltLocally(run.stderr, 'top'), run.stderr);
  }
});

// Without cleanmiss: facts of 2026 that its tests turn around.
const faults: { reason: string; fault: (nar: Buffer) => Reply; flags?: string[]; code: number; built: boolean }[] = [
  { reason: 'absent', fault: () => answer(404), code: 0, built: true },
  {
    reason: 'cut',
    fault: (nar) => answer(200, nar.subarray(0, 9000), { lengthBytes: nar.length }),
    code: 1,
    built: false,
  },
  { reason: 'empty', fault: () => answer(200), code: 1, built: false },
  { reason: 'status 503', fault: () => answer(503), code: 1, built: false },
  { reason: 'empty, with --fallback', fault: () => answer(200), flags: ['--fallback'], code: 0, built: true },
];
for (const { reason, fault, flags = [], code, built } of faults) {
  t.test(`a NAR that is ${reason} ${built ? 'is built' : 'fails the build'}`, async (t) => {
    const { file, outPath, key, cache } = await makeCache(t);
    const upstream = await startAtticReplay(t, faulty(cache, await cache.narPath(outPath), fault));
    await withEachVersion(async (version) => {
      const options = { substituters: [upstream.url], trustedKeys: [key.publicKey] };
      const client = await makeNixStore(t, version, options);
      const run = await client.build(file, { attr: 'top', flags });
      t.equal(run.code, code, run.stderr);
      t.equal(hasBuiltLocally(run.stderr, 'top'), built, run.stderr);
      t.equal(hasBuiltLocally(run.stderr, 'dep'), false, 'the other path is sound');
    });
  });
}

t.test('a client remembers narinfos, in a new store too, until its memory is cleared', (t) =>
  withEachVersion(async (version) => {
    const { file, outPath, key, cache } = await makeCache(t);
    const upstream = await startAtticReplay(
      t,
      faulty(cache, await cache.narPath(outPath), () => answer(404)),
    );
    const options = { substituters: [upstream.url], trustedKeys: [key.publicKey] };
    const first = await makeNixStore(t, version, options);
    const askedAnew = async (store: NixStore): Promise<boolean> => {
      const before = upstream.requests.length;
      t.equal((await store.build(file, { attr: 'top' })).code, 0);
      return upstream.requests.slice(before).some(({ path }) => path === `/${cache.narinfoPath(outPath)}`);
    };
    const another = () => makeNixStore(t, version, { ...options, cacheHome: first.cacheHome });
    t.equal(await askedAnew(first), true);
    t.equal(await askedAnew(await another()), false);
    await first.clearCacheCache();
    t.equal(await askedAnew(await another()), true);
  }),
);

t.test('an upload is refused in words', (t) =>
  withEachVersion(async (version) => {
    const { file } = await makeCache(t);
    const upstream = await startAtticReplay(t, (method, path) => {
      if (path === '/nix-cache-info') return answer(200, 'StoreDir: /nix/store\n');
      return method === 'PUT' ? answer(403, 'cache is read-only: a test') : answer(404);
    });
    const client = await makeNixStore(t, version);
    const { outPath } = await client.build(file, { attr: 'dep' });
    const run = await client.copyTo(upstream.url, [outPath], { compression: 'zstd' });
    t.equal(run.code, 1);
    t.match(run.stderr, 'cache is read-only: a test');
    t.equal(upstream.requests.filter(({ method }) => method === 'PUT').length, 1);
  }),
);

t.test('what Attic really sent is substituted by its signature', async (t) => {
  const key: unknown = JSON.parse(loadAtticWire('attic-cache-info').body.toString()).public_key;
  const narinfos = ['narinfo-zstd-single', 'narinfo-zstd-multi'].map((name) => loadAtticWire(name).body.toString());
  const paths = narinfos.map((text) => /^StorePath: (.+)$/m.exec(text)?.[1] ?? '');
  const upstream = await startAtticReplay(t, healthyAttic('zstd'));
  await withEachVersion(async (version) => {
    const options = { substituters: [`${upstream.url}/lab`], trustedKeys: [String(key)] };
    const client = await makeNixStore(t, version, options);
    for (const storePath of paths) {
      const run = await client.realise(storePath);
      t.equal(run.code, 0, run.stderr);
      t.equal(run.outPath, storePath);
    }
  });
});

t.test('a killed client is gone with its builder, and a scope with its directories', (t) =>
  withEachVersion(async (version) => {
    const mark = `1000.${process.pid}${version.replace('.', '')}`;
    const file = join(await temporaryDirectory(t, 'expression'), 'slow.nix');
    await writeFile(
      file,
      `derivation { name = "slow"; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
         args = [ "-c" "echo >$out; sleep ${mark}; true" ]; }`,
    );
    const teardowns: (() => unknown)[] = [];
    const store = await makeNixStore({ teardown: (action) => teardowns.unshift(action) }, version);
    const world = join(store.cacheHome, '..');
    const hasStarted = async () => {
      // The builder's sign. A watch tells only of later ones, but the build is started later.
      for await (const { filename } of watch(store.hostPath('/nix/store'))) if (filename?.endsWith('-slow')) return;
    };
    const started = hasStarted();
    const leaving = new AbortController();
    const running = store.build(file, { signal: leaving.signal });
    await Promise.race([started, running]);
    t.not(processesWith(world).length, 0);
    leaving.abort();
    t.equal((await running).signal, 'SIGKILL');
    await goneFromProcesses(mark);
    const left = store.build(file);
    for (const action of teardowns) await action();
    t.equal((await left).signal, 'SIGKILL', 'what ran on when the scope ended');
    await goneFromProcesses(world);
    t.notOk(existsSync(world));
    t.notMatch(readFileSync('/proc/self/mountinfo', 'utf8'), ' /nix ', 'no mount is left');
  }),
);
