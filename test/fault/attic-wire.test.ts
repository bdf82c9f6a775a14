// Every recorded answer of a real Attic, replayed byte for byte behind a house: the proven bytes, or what a client takes for a miss.

import t, { type Test } from 'tap';
import { encodeNix32 } from '../../src/nix/nix32.ts';
import { type Route, replayed, startAtticReplay } from '../support/attic-replay.ts';
import { type AtticWire, atticWireNames, loadAtticWire } from '../support/attic-wire.ts';
import { fastClock } from '../support/fast-clock.ts';
import { startHouse } from '../support/house.ts';
import type { Answer } from '../support/http-answer.ts';
import { get } from '../support/http-client.ts';
import type { RequestOptions } from '../support/http-connection.ts';
import { refuseLeaks } from '../support/leaks.ts';

const HASHES = {
  single: 'v1z7bs0mmfzcnjpsc19z3gdhmdari6nl',
  multi: 'dk33x7gbx0vxhmn8wng0r9rkws1vjj3c',
  'multi-refs': 'mi1rv3g1db3smrkzc2l28zaiiyqcsmhk',
  incomplete: '303jpp0m479fw024b7v079b0sziqf6z2',
};

const pull = { authorization: 'Bearer pull' };

/** What came with which answer of the store's; the URL of the redirect leads to it. */
const storeAnswers: Readonly<Record<string, string>> = {
  'nar-zstd-single-307': 'nar-zstd-single-s3',
  'nar-xz-single-307': 'nar-xz-single-s3',
  'nar-none-single-307': 'nar-none-single-s3',
  'nar-br-single-307': 'nar-br-single-s3',
  'fault-nobucket-single-307': 'fault-nobucket-single-s3',
};

/** The path and the method that a capture answers; both are in its first request line. */
const requestOf = (name: string): { readonly method: string; readonly path: string } => {
  const [method = '', path = ''] = loadAtticWire(name).request[0]?.split(' ') ?? [];
  return { method, path };
};

/** An Attic that gives these captures, and the object store that its redirects lead to. */
const startAttic = async (t: Test, names: readonly string[], { keepAlive }: { readonly keepAlive: boolean }) => {
  const store = await startAtticReplay(t, (_method, path) => {
    const found = Object.entries(storeAnswers).find(
      ([from, to]) => names.includes(from) && requestOf(to).path === path,
    );
    return replayed(found?.[1] ?? 'e404-notfound');
  });
  const byRequest = new Map(names.map((name) => [Object.values(requestOf(name)).join(' '), name]));
  const route: Route = (method, path) => {
    const name = byRequest.get(`${method === 'HEAD' ? 'GET' : method} ${path}`) ?? 'e404-nosuchobject-narinfo';
    // An answer that its connection's end delimits, or that never came, can't be kept alive.
    const isKept =
      keepAlive && loadAtticWire(name).chunkedTerminator !== false && /content-length|chunked/i.test(headOf(name));
    return replayed(name, { leadTo: store.url, keepAlive: isKept });
  };
  const attic = await startAtticReplay(t, route);
  return { attic, store };
};

const headOf = (name: string): string => loadAtticWire(name).head.toString('latin1');

const startBehind = async (t: Test, names: readonly string[], keepAlive = false) => {
  const { attic, store } = await startAttic(t, names, { keepAlive });
  const flags = { 'nix.upstream': attic.url, 'nix.redirectHosts': `127.0.0.1:${store.port}` };
  // Retries of a cut and of a failing upstream wait seconds.
  const house = await startHouse(t, flags, { clock: fastClock(5) });
  return { attic, store, house };
};

/** The narinfo with the URL that a client is given. */
const pinned = ({ body, compression, narHash = '' }: AtticWire): string => {
  const nar = encodeNix32(Buffer.from(narHash.slice('sha256:'.length), 'hex'));
  const as = compression ?? /^Compression: (.*)$/m.exec(body.toString())?.[1];
  return body.toString().replace(/^(URL: .*)$/m, `$1?nar=${nar}&as=${as}`);
};

const checkMiss = (t: Test, answer: Answer, status: number, name: string): void => {
  t.equal(answer.status, status, `${name}: status`);
  t.ok(answer.complete, `${name}: a whole answer`);
  t.notOk('content-encoding' in answer.headers || 'set-cookie' in answer.headers, `${name}: headers`);
};

refuseLeaks(t);
t.jobs = 4;

const goodNars = atticWireNames().filter((name) => /^nar-/.test(name) && !/^nar-br-multi|-s3$/.test(name));
t.equal(goodNars.length, 10, 'every good NAR on record has a row');

for (const name of goodNars) {
  t.test(`${name} gives its bytes`, { buffered: true }, async (t) => {
    const [, compression = '', shape = ''] = /^nar-(\w+?)-(single|multi-refs|multi)/.exec(name) ?? [];
    const narinfo = `narinfo-${compression === 'local' ? 'zstd' : compression}-${shape}`;
    const expected = loadAtticWire(storeAnswers[name] ?? name).body;
    for (const keepAlive of [false, true]) {
      const { attic, store, house } = await startBehind(t, [name, narinfo], keepAlive);
      const url = `${house.nix}${requestOf(name).path}`;
      const head = await get(url, { method: 'HEAD' });
      t.equal(head.status, 200, 'HEAD of a cold NAR proves it');
      t.equal(head.headers['content-length'], String(expected.length));
      const answer = await get(url);
      t.equal(answer.status, 200);
      t.ok(answer.complete && answer.body.equals(expected), 'the bytes');
      t.equal(answer.framing, 'length', 'with their length');
      t.match(answer.headers['etag'], /^"[0-9a-f]{64}"$/);
      t.equal(answer.headers['accept-ranges'], 'bytes');
      t.notOk('x-amz-request-id' in answer.headers, "no header of the store's");
      const part = await get(url, { headers: { range: 'bytes=1000-1999' } });
      t.equal(part.status, 206);
      t.ok(part.body.equals(expected.subarray(1000, 2000)), 'a range of it');

      t.equal(attic.requests.filter(({ path }) => path.endsWith('.nar')).length, 1, 'one request for all three');
      for (const { method, headers } of store.requests) {
        t.equal(method, 'GET', 'the URL is signed for GET alone');
        t.equal(headers['host'], `127.0.0.1:${store.port}`, 'and for its own Host');
        t.notOk('authorization' in headers, 'the store gets no credentials of ours');
      }
      await house.close();
    }
  });
}

/** Of the bad bodies those that say something of the content; the others are too short, which is of the moment. */
const REFUTED = new Set([
  'nar-br-multi',
  'nar-br-multi-refs',
  'fault-chunk2-flipped-clean',
  'fault-chunk2-truncated-clean',
  'fault-chunk5-flipped-full-length-no-terminator',
]);

const brokenNars = atticWireNames().filter(
  (name) => /^nar-br-multi/.test(name) || (/^fault-/.test(name) && /\.nar$/.test(requestOf(name).path)),
);
t.equal(brokenNars.length, 18, 'every bad NAR on record has a row');

for (const name of brokenNars) {
  t.test(`${name} is a clean miss`, { buffered: true }, async (t) => {
    const hash = requestOf(name).path.slice(-'.nar'.length - 32, -'.nar'.length);
    const shape = Object.entries(HASHES).find(([, one]) => one === hash)?.[0];
    const compression = name.startsWith('nar-br') ? 'br' : 'zstd';
    const narinfo = shape === 'incomplete' ? 'fault-incompletenar-narinfo-200' : `narinfo-${compression}-${shape}`;
    const { house } = await startBehind(t, [name, narinfo]);
    const url = `${house.nix}${requestOf(name).path}`;
    const answers = await Promise.all([get(url), get(url, { method: 'HEAD' }), get(url, { version: '1.0' })]);
    for (const answer of answers) checkMiss(t, answer, 404, name);
    // What a narinfo promises stays promised while the body is merely away: a client remembers its miss for an hour.
    const info = await get(`${house.nix}/lab/${hash}.narinfo`);
    t.equal(info.status, REFUTED.has(name) ? 404 : 200, `narinfo of ${name}`);
    await house.close();
    t.same(await house.spooled(), [], 'nothing is left in the spool');
  });
}

t.test('narinfos come byte for byte, but for the URL', async (t) => {
  for (const compression of ['zstd', 'xz', 'none', 'br']) {
    const names = ['single', 'multi', 'multi-refs'].map((shape) => `narinfo-${compression}-${shape}`);
    const { house } = await startBehind(t, names);
    const plain = await startBehind(t, names).then(async ({ attic, house }) => {
      await house.close();
      return startHouse(t, { 'nix.upstream': attic.url, 'nix.pinUrls': 'false' });
    });
    for (const name of names) {
      const capture = loadAtticWire(name);
      const { path } = requestOf(name);
      const answer = await get(`${house.nix}${path}`);
      t.equal(answer.status, 200, name);
      t.equal(answer.body.toString(), pinned(capture), name);
      t.equal(answer.headers['content-type'], 'text/x-nix-narinfo', name);
      const head = await get(`${house.nix}${path}`, { method: 'HEAD' });
      t.equal(head.headers['content-length'], String(answer.bodyBytes), `HEAD of ${name}`);
      t.ok((await get(`${plain.nix}${path}`)).body.equals(capture.body), `${name} with pinUrls = false`);
    }
    await Promise.all([house.close(), plain.close()]);
  }
});

t.test("a narinfo's key is zstd's own, and its signature counts", async (t) => {
  const { attic, house } = await startBehind(t, ['narinfo-zstd-multi']);
  await house.close();
  const key: unknown = JSON.parse(loadAtticWire('attic-cache-info').body.toString()).public_key;
  for (const [trusted, status] of [
    [String(key), 200],
    [`lab:${Buffer.alloc(32, 7).toString('base64')}`, 404],
  ] as const) {
    const strict = await startHouse(t, { 'nix.upstream': attic.url, 'nix.trustedKeys': trusted });
    t.equal((await get(`${strict.nix}/lab/${HASHES.multi}.narinfo`)).status, status);
    await strict.close();
  }
});

t.test('a private cache is for those whom Attic lets in', async (t) => {
  const path = `/priv/${HASHES.single}.narinfo`;
  const attic = await startAtticReplay(t, (_method, asked, { authorization }) => {
    if (authorization === 'Bearer push') return 'e403-push-only-token-reads';
    if (authorization !== pull.authorization)
      return asked === path ? 'e401-anonymous-private-narinfo' : 'e401-anonymous-private';
    return asked === path
      ? 'narinfo-zstd-private'
      : asked === '/priv/nix-cache-info'
        ? 'nix-cache-info-private'
        : 'nar-local-single';
  });
  const house = await startHouse(t, { 'nix.upstream': attic.url });
  const nar = `/priv/nar/${HASHES.single}.nar`;
  const rows: ReadonlyArray<{
    readonly reason: string;
    readonly headers: RequestOptions['headers'] & {};
    readonly status: number;
  }> = [
    { reason: 'anonymous, before anything is here', headers: {}, status: 403 },
    { reason: 'a token that may pull', headers: pull, status: 200 },
    { reason: 'anonymous, with all of it in our store', headers: {}, status: 403 },
    { reason: 'a bad token', headers: { authorization: 'Bearer bad' }, status: 403 },
    { reason: 'a token that may push alone', headers: { authorization: 'Bearer push' }, status: 403 },
  ];
  for (const { reason, headers, status } of rows) {
    for (const asked of [path, nar, '/priv/nix-cache-info']) {
      const answer = await get(`${house.nix}${asked}`, { headers });
      t.equal(answer.status, status, `${reason}: ${asked}`);
      t.notOk('www-authenticate' in answer.headers, reason);
    }
  }
  t.equal(attic.requests.filter(({ path }) => path === nar).length, 1, 'its NAR was fetched once');
  await house.close();
});

t.test('an error of Attic is a miss, and its JSON stays inside', async (t) => {
  const rows: ReadonlyArray<{ readonly name: string; readonly status: number; readonly reason: string }> = [
    { name: 'e401-anonymous-private', status: 403, reason: '401 is no miss for Nix from 2.35 on' },
    { name: 'e401-anonymous-private-narinfo', status: 403, reason: 'the same of a narinfo' },
    { name: 'e401-bad-token', status: 403, reason: 'a token that is none' },
    { name: 'e401-expired-token', status: 403, reason: 'a token that was one' },
    { name: 'e401-no-such-cache-anonymous', status: 403, reason: 'Attic hides which caches there are' },
    { name: 'e403-push-only-token-reads', status: 403, reason: 'no right to read' },
    { name: 'e404-nosuchcache', status: 404, reason: 'no such cache' },
    { name: 'e404-nosuchobject-narinfo', status: 404, reason: 'no such path' },
    { name: 'e404-nosuchobject-nar', status: 404, reason: 'no narinfo, hence no NAR' },
    { name: 'e404-notfound', status: 404, reason: 'Attic keeps no listings' },
    { name: 'e500-malformed-hash', status: 404, reason: "a client's mistake that Attic answers with 500" },
    { name: 'e400-bad-host', status: 403, reason: 'never seen, and an upstream that answers nobody' },
    { name: 'e400-bad-cache-name', status: 403, reason: 'a cache that cannot be' },
  ];
  await Promise.all(
    rows.map(async ({ name, status, reason }) => {
      const attic = await startAtticReplay(t, () => name);
      const house = await startHouse(t, { 'nix.upstream': attic.url }, { clock: fastClock(5) });
      const { path } = requestOf(name);
      for (const method of ['GET', 'HEAD']) {
        const answer = await get(`${house.nix}${path}`, { method });
        checkMiss(t, answer, status, `${reason} (${name} ${method})`);
        t.notMatch(answer.body.toString(), /"code"|"error"/, `${name}: no JSON for Nix`);
      }
      await house.close();
    }),
  );
});

t.test('nix-cache-info comes as it is', async (t) => {
  const { house } = await startBehind(t, ['nix-cache-info-public']);
  const answer = await get(`${house.nix}/lab/nix-cache-info`);
  t.equal(answer.status, 200);
  t.ok(answer.body.equals(loadAtticWire('nix-cache-info-public').body));
  t.equal(answer.headers['content-type'], 'text/x-nix-cache-info');
  await house.close();
});

t.test("an answer to HEAD on record is what ours is made of, but for the NAR's", async (t) => {
  const attic = await startAtticReplay(t, (method, path) => {
    if (path === '/lab/nix-cache-info') return 'nix-cache-info-public';
    if (path.includes('/nar/')) return method === 'HEAD' ? 'head-nar-multi' : 'fault-nobucket-multi-200-zero-bytes';
    return method === 'HEAD'
      ? 'head-narinfo'
      : path.includes(HASHES.multi)
        ? 'narinfo-zstd-multi'
        : 'narinfo-zstd-single';
  });
  const house = await startHouse(t, { 'nix.upstream': attic.url }, { clock: fastClock(5) });
  const narinfo = await get(`${house.nix}/lab/${HASHES.multi}.narinfo`, { method: 'HEAD' });
  t.equal(narinfo.status, 200);
  const nar = await get(`${house.nix}/lab/nar/${HASHES.multi}.nar`, { method: 'HEAD' });
  t.equal(nar.status, 404, "Attic's 200 to a HEAD says nothing of its store");
  t.notOk(
    attic.requests.some(({ method }) => method === 'HEAD'),
    'no HEAD goes out',
  );
  await house.close();
});
