// Metadata: the record while it is fresh, the upstream's word after that, the record again when there is none, and all of it for readers alone.

import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { pause, systemClock } from '../../src/core/clock.ts';
import { type CacheObject, makeObject, type ObjectShape } from '../support/cache-object.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { fastClock } from '../support/fast-clock.ts';
import { content, status, withHeader } from '../support/faults/answer.ts';
import { flip } from '../support/faults/content.ts';
import { narinfoField, narinfoUrl } from '../support/faults/narinfo.ts';
import {
  closeWithoutHead,
  cutAfter,
  headThenSilence,
  holdBefore,
  resetWithoutHead,
  stallAfter,
  stallBefore,
  zeroBytes,
} from '../support/faults/transfer.ts';
import type { Fault } from '../support/faults/when.ts';
import { startHouse, type TestHouse } from '../support/house.ts';
import { get, put } from '../support/http-client.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { makeNar } from '../support/nar.ts';
import { signingKey, storeHash } from '../support/narinfo.ts';
import { nix32 } from '../support/nix32.ts';
import { type ScriptedUpstream, startUpstream, type UpstreamOptions } from '../support/scripted-upstream.ts';
import { inMemory } from '../support/upstream-plan.ts';

const LAB = { name: 'lab', isPublic: true };
const PRIV = { name: 'priv', authorization: 'Bearer pull' };
const pull = { Authorization: 'Bearer pull' };
const HTML = '<!doctype html><title>Log in</title>\n';

const made = new Map<string, Promise<CacheObject>>();
const object = (seed: string, shape: Partial<ObjectShape> = {}): Promise<CacheObject> => {
  const key = JSON.stringify([seed, shape]);
  const one = made.get(key) ?? makeObject({ seed, sizeBytes: 20_000, ...shape });
  made.set(key, one);
  return one;
};

const open = async (t: Test, options: UpstreamOptions): Promise<ScriptedUpstream> => {
  const upstream = await startUpstream(options);
  t.teardown(() => upstream.close());
  return upstream;
};

const pinOf = ({ digest, body }: CacheObject): string =>
  `?nar=${nix32(Buffer.from(digest.sha256, 'hex'))}&as=${body.compression}`;
const pinned = (one: CacheObject): string => one.narinfo.replace(/^(URL: .*)$/m, `$1${pinOf(one)}`);

const count = (upstream: ScriptedUpstream, path: string): number =>
  upstream.requests.filter((request) => request.path === path).length;

/** Lets fake time pass while something waits for it. */
const drive = async <T>(clock: FakeClock, promise: Promise<T>): Promise<T> => {
  let isSettled = false;
  const settled = promise.finally(() => {
    isSettled = true;
  });
  while (!isSettled) {
    await clock.advance(100);
    await pause(systemClock, 1);
  }
  return await settled;
};

refuseLeaks(t);
t.jobs = 4;

t.test('a fresh record is the answer, a stale one is asked for once', async (t) => {
  const upstream = await open(t, { caches: [LAB] });
  const clock = new FakeClock();
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock });
  const one = await object('fresh');
  const { narinfo } = upstream.add(one);
  const askTogether = async (reason: string) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    upstream.script(narinfo, holdBefore(promise));
    const before = count(upstream, narinfo);
    const asks = Promise.all(Array.from({ length: 20 }, () => get(`${house.nix}${narinfo}`)));
    await upstream.until(() => count(upstream, narinfo) > before);
    resolve();
    for (const got of await asks) t.equal(got.body.toString(), pinned(one), reason);
    t.equal(count(upstream, narinfo), before + 1, `${reason}: one request for twenty`);
    upstream.script(narinfo);
  };
  await askTogether('never seen');
  await clock.advance(59_000);
  upstream.script(narinfo, status(500));
  t.equal((await get(`${house.nix}${narinfo}`)).body.toString(), pinned(one));
  t.equal((await get(`${house.nix}${narinfo}`, { method: 'HEAD' })).status, 200);
  t.equal(count(upstream, narinfo), 1, 'younger than records.fresh: nobody is asked');
  await clock.advance(2_000);
  await askTogether('stale');

  upstream.remove(narinfo);
  await clock.advance(61_000);
  t.equal((await get(`${house.nix}${narinfo}`)).status, 404, 'gone from the upstream');
  t.equal((await get(`${house.nix}${narinfo}`)).status, 404, 'and not forgotten to be');
  upstream.add(one);
  t.equal((await get(`${house.nix}${narinfo}`)).status, 200, 'back: a miss is no record');
  await house.close();
});

t.test('a narinfo that was written through us is asked for again', async (t) => {
  const upstream = await open(t, { acceptsUploads: true });
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const before = await object('written');
  const after = await object('written', { nar: makeNar({ seed: 'written again', sizeBytes: 30_000 }) });
  const { narinfo } = upstream.add(before);
  t.equal((await get(`${house.nix}${narinfo}`)).body.toString(), pinned(before));
  t.equal((await put(`${house.nix}${narinfo}`, after.narinfo)).status, 201);
  t.equal((await get(`${house.nix}${narinfo}`)).body.toString(), pinned(after));
  await house.close();
});

const FAILURES: ReadonlyArray<readonly [reason: string, fault: Fault]> = [
  ['500', status(500)],
  ['503', status(503)],
  ['502 with a page', status(502, HTML)],
  ['429', status(429)],
  ['closed without a head', closeWithoutHead()],
  ['reset without a head', resetWithoutHead()],
  ['a head without a body', zeroBytes()],
  ['cut', cutAfter(10)],
  ['silence', stallBefore()],
  ['a head, then silence', headThenSilence()],
  ['half a body, then silence', stallAfter(10)],
  ['a coding of nobody', withHeader('Content-Encoding', 'x-rot13')],
  ['longer than any narinfo', content(inMemory(Buffer.alloc(3 * 2 ** 20, 'a')))],
  ['no UTF-8', content(inMemory(Buffer.alloc(100, 0xff)))],
];

t.test('a failing upstream: the record', async (t) => {
  await Promise.all(
    FAILURES.map(async ([reason, fault]) => {
      const upstream = await open(t, { caches: [LAB] });
      const flags = { 'nix.upstream': upstream.origin, 'records.fresh': '0s', 'auth.ttl': '0s' };
      const clock = new FakeClock();
      const house = await startHouse(t, flags, { clock });
      const one = await object('failing');
      const { narinfo } = upstream.add(one);
      const info = '/lab/nix-cache-info';
      for (const path of [narinfo, info]) t.equal((await get(`${house.nix}${path}`)).status, 200);
      upstream.script(/./, fault);
      const [known, unknown, cacheInfo] = await drive(
        clock,
        Promise.all([
          get(`${house.nix}${narinfo}`),
          get(`${house.nix}/lab/${storeHash('never seen')}.narinfo`),
          get(`${house.nix}${info}`),
        ]),
      );
      t.equal(known.body.toString(), pinned(one), `${reason}: the record`);
      t.equal(unknown.status, 404, `${reason}: never seen`);
      t.match(cacheInfo.body.toString(), /^Priority: 41$/m, `${reason}: nix-cache-info`);
      const before = count(upstream, narinfo);
      t.equal((await drive(clock, get(`${house.nix}${narinfo}`))).status, 200);
      t.ok(count(upstream, narinfo) < before + 4, `${reason}: in a long outage nobody asks for so long again`);
      await house.close();
    }),
  );
});

t.test('a hung upstream: the record after eight seconds, and one for the last check', async (t) => {
  const upstream = await open(t, { caches: [LAB] });
  const clock = new FakeClock();
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock });
  const one = await object('hung');
  const { narinfo } = upstream.add(one);
  t.equal((await get(`${house.nix}${narinfo}`)).status, 200);
  await clock.advance(61_000);
  upstream.script(/./, stallBefore());
  const known = get(`${house.nix}${narinfo}`);
  await upstream.asked(narinfo, 2);
  await clock.advance(8_000);
  await upstream.asked('/lab/nix-cache-info');
  await clock.advance(1_000);
  t.equal((await known).body.toString(), pinned(one));
  await house.close();
});

t.test('a restart of the upstream leaves no miss', async (t) => {
  const upstream = await open(t, { caches: [LAB] });
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const restart = async (round: string, asks: () => Promise<Awaited<ReturnType<typeof get>>[]>) => {
    await upstream.refuse();
    const answers = asks();
    await pause(systemClock, 2_000);
    await upstream.comeBack();
    for (const { status: code } of await answers) t.equal(code, 200, round);
  };
  const fresh = async (prefix: string, howMany: number) => {
    const objects = await Promise.all(Array.from({ length: howMany }, (_, index) => object(`${prefix}-${index}`)));
    return objects.map((one) => upstream.add(one).narinfo);
  };
  const [first = '', ...paths] = await fresh('restart', 12);
  t.equal((await get(`${house.nix}${first}`)).status, 200);
  await restart('twelve paths, eleven never seen', () =>
    Promise.all([first, ...paths, '/lab/nix-cache-info'].map((path) => get(`${house.nix}${path}`))),
  );
  const more = await fresh('among-absent', 6);
  const absent = Array.from({ length: 40 }, (_, index) => `/lab/${storeHash(`absent ${index}`)}.narinfo`);
  await restart('among many that are absent', async () => {
    const [, found] = await Promise.all([
      Promise.all(absent.map((path) => get(`${house.nix}${path}`))),
      Promise.all(more.map((path) => get(`${house.nix}${path}`))),
    ]);
    return found;
  });
  await house.close();
});

t.test('an outage of which nobody saw the end takes no patience from the next restart', async (t) => {
  const upstream = await open(t, { caches: [LAB] });
  const clock = new FakeClock();
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock });
  const { narinfo } = upstream.add(await object('late'));
  await upstream.refuse();
  t.equal(
    (await drive(clock, get(`${house.nix}${narinfo}`))).status,
    403,
    'a cache never seen, and an upstream that is down',
  );
  await upstream.comeBack();
  await clock.advance(3_600_000);
  await upstream.refuse();
  const asked = get(`${house.nix}${narinfo}`);
  await drive(clock, pause(clock, 2_000));
  await upstream.comeBack();
  t.equal((await drive(clock, asked)).status, 200);
  await house.close();
});

t.test('a narinfo that is not right is a miss, and so is its NAR', async (t) => {
  const upstream = await open(t, { caches: [LAB] });
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const edited =
    (edit: (text: string) => string): Fault =>
    async (plan) => {
      const [bytes = Buffer.alloc(0)] = await Array.fromAsync(plan.content.read(0));
      return { ...plan, content: inMemory(edit(bytes.toString())) };
    };
  const rows: ReadonlyArray<readonly [reason: string, fault: Fault]> = [
    ['a page with 200', status(200, HTML)],
    ['nothing', content(inMemory(''))],
    ['no NarHash', narinfoField('NarHash', null)],
    ['a NarHash that is none', narinfoField('NarHash', 'sha256:xyz')],
    ['another hash', narinfoField('NarHash', `sha1:${'0'.repeat(40)}`)],
    ['no NarSize', narinfoField('NarSize', null)],
    ['a NarSize of nothing', narinfoField('NarSize', '0')],
    ['a NarSize beyond all', narinfoField('NarSize', '99999999999999999999')],
    ['a NarSize below zero', narinfoField('NarSize', '-1')],
    ['no URL', narinfoField('URL', null)],
    ['an absolute URL', narinfoUrl('absolute')],
    ['a climbing URL', narinfoUrl('climbing')],
    ['a URL that climbs, escaped', narinfoUrl('nar/%2e%2e/%2e%2e/other/x.nar')],
    ['a URL to its own cache', narinfoUrl('/lab/')],
    ['a URL of another scheme', narinfoUrl('file:///etc/passwd')],
    ['a URL of any scheme', narinfoUrl('//127.0.0.1:1/x.nar')],
    ['a URL with a backslash', narinfoUrl('nar\\..\\..\\x.nar')],
    ['no Compression, which is bzip2', narinfoField('Compression', null)],
    ['bzip2', narinfoField('Compression', 'bzip2')],
    ['lz4', narinfoField('Compression', 'lz4')],
    ['a compression named like a property', narinfoField('Compression', 'constructor')],
    ['another path', narinfoField('StorePath', `/nix/store/${storeHash('another')}-hello`)],
    ['a path that climbs', narinfoField('StorePath', '/nix/store/../hello')],
    ['references that are none', narinfoField('References', 'hello')],
    ['a signature that is none', edited((text) => `${text}Sig: none\n`)],
    ['a field twice', edited((text) => `${text}NarSize: 1\n`)],
    ['no blank behind a colon', edited((text) => text.replace('References: ', 'References:'))],
    ['carriage returns', edited((text) => text.replaceAll('\n', '\r\n'))],
    ['no last line end', edited((text) => text.slice(0, -1))],
    ['NUL', edited((text) => text.replace('hello', 'hel\0lo'))],
  ];
  for (const [index, [reason, fault]] of rows.entries()) {
    const { narinfo, nar } = upstream.add(await object(`wrong-${index}`));
    upstream.script(narinfo, fault);
    const got = await get(`${house.nix}${narinfo}`);
    t.equal(got.status, 404, reason);
    t.notMatch(got.body.toString(), /html/, reason);
    t.equal((await get(`${house.nix}${nar}`)).status, 404, `its NAR: ${reason}`);
    t.equal(count(upstream, nar), 0, `${reason}: nobody asks for bytes that were promised so`);
  }
  await house.close();
});

t.test('what a trusted key signed passes, and what needs none', async (t) => {
  const dir = t.testdir();
  const [ours, theirs] = [signingKey('ours'), signingKey('theirs')];
  const upstream = await open(t, { caches: [LAB] });
  const rows: ReadonlyArray<{ readonly reason: string; readonly one: CacheObject; readonly status: number }> = [
    { reason: 'signed by a trusted key', one: await object('ours', { key: ours }), status: 200 },
    {
      reason: 'signed, with references',
      one: await object('refs', { key: ours, references: [`${storeHash('b')}-b`, `${storeHash('a')}-a`] }),
      status: 200,
    },
    { reason: 'signed by another', one: await object('theirs', { key: theirs }), status: 404 },
    {
      reason: 'signed by another of that name',
      one: await object('liar', { key: signingKey('ours', 'liar') }),
      status: 404,
    },
    { reason: 'not signed', one: await object('nobody'), status: 404 },
    { reason: 'content-addressed', one: await object('ca', { ca: `fixed:r:sha256:${'0'.repeat(52)}` }), status: 200 },
  ];
  const before = await startHouse(t, { 'nix.upstream': upstream.origin }, { dir });
  for (const { reason, one } of rows) {
    const { narinfo } = upstream.add(one);
    t.equal((await get(`${before.nix}${narinfo}`)).status, 200, `${reason}: before keys are asked for`);
  }
  await before.close();
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, 'nix.trustedKeys': ours.publicKey }, { dir });
  for (const { reason, one, status: code } of rows) {
    t.equal((await get(`${house.nix}/lab/${one.narinfoPath}`)).status, code, `${reason}: from its record`);
    t.equal((await get(`${house.nix}/lab/${one.narPath}`)).status, code, `${reason}: its NAR`);
  }
  const twice = await object('twice', { key: theirs });
  const narinfo = `${twice.narinfo}${(await object('twice', { key: ours })).narinfo.match(/^Sig: .*\n/m)?.[0]}`;
  upstream.answer(`/lab/${twice.narinfoPath}`, { content: narinfo });
  t.equal((await get(`${house.nix}/lab/${twice.narinfoPath}`)).status, 200, 'by another, and by a trusted one');
  const forged = (await object('forged', { key: ours })).narinfo.replace(/^NarSize: .*$/m, 'NarSize: 20008');
  upstream.answer(`/lab/${storeHash('forged')}.narinfo`, { content: forged });
  t.equal((await get(`${house.nix}/lab/${storeHash('forged')}.narinfo`)).status, 404, 'changed after it was signed');
  await house.close();
});

t.test('a pinned URL keeps an old promise, a plain one breaks none', async (t) => {
  const upstream = await open(t, {});
  const shape = { like: 'nix', kind: 'zstd-one' } as const;
  const old = await object('promise', shape);
  const now = await object('promise', { ...shape, nar: makeNar({ seed: 'promised anew', sizeBytes: 30_000 }) });
  const unseen = await object('promise', { ...shape, nar: makeNar({ seed: 'never asked', sizeBytes: 30_000 }) });
  const ask = async (house: TestHouse, url: string) => {
    const { status: code, body } = await get(`${house.nix}/${url}`);
    return code === 200 ? body : code;
  };
  for (const pinUrls of ['true', 'false']) {
    const flags = { 'nix.upstream': upstream.origin, 'nix.pinUrls': pinUrls, 'records.fresh': '0s' };
    const house = await startHouse(t, flags);
    upstream.add(unseen);
    const infoOf = async () => (await get(`${house.nix}/${old.narinfoPath}`)).body.toString();
    t.equal(await infoOf(), pinUrls === 'true' ? pinned(unseen) : unseen.narinfo, `pinUrls = ${pinUrls}`);
    upstream.add(old);
    t.equal(await infoOf(), pinUrls === 'true' ? pinned(old) : old.narinfo);
    t.same(await ask(house, old.narPath), old.body.bytes);
    upstream.add(now);
    t.same(await ask(house, `${old.narPath}${pinOf(old)}`), old.body.bytes, 'the old promise, from the store');
    t.same(await ask(house, `${unseen.narPath}${pinOf(unseen)}`), 404, 'an old promise that is not held');
    t.same(await ask(house, `${now.narPath}${pinOf(now)}`), now.body.bytes, 'the new one');
    t.same(await ask(house, `${now.narPath}${pinOf(old)}`), old.body.bytes, 'the pin is what counts');
    t.same(await ask(house, now.narPath), now.body.bytes, 'the new one, plain');
    t.same(await ask(house, old.narPath), 404, 'a plain URL that no narinfo names any more never brings other bytes');
    t.notOk(
      upstream.requests.some(({ target }) => /[?&](nar|as)=/.test(target)),
      'a pin is ours, and never sent on',
    );
    await house.close();
  }
});

t.test("an upstream's own query stays its own", async (t) => {
  const upstream = await open(t, { caches: [LAB] });
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const one = await object('query');
  const { narinfo, nar } = upstream.add(one);
  upstream.script(narinfo, narinfoUrl(`${one.narPath}?hash=abc`));
  const url = /^URL: (.*)$/m.exec((await get(`${house.nix}${narinfo}`)).body.toString())?.[1];
  t.equal(url, `${one.narPath}?hash=abc&${pinOf(one).slice(1)}`);
  t.ok((await get(`${house.nix}/lab/${url}`)).body.equals(one.body.bytes));
  t.equal(upstream.requests.find(({ path }) => path === nar)?.target, `${nar}?hash=abc`);
  await house.close();
});

t.test('nix-cache-info is such as no Nix ends over', async (t) => {
  const rows: ReadonlyArray<{ readonly reason: string; readonly text: string; readonly expected: string | number }> = [
    {
      reason: 'as it is',
      text: 'StoreDir: /nix/store\nPriority: 7\n',
      expected: 'StoreDir: /nix/store\nPriority: 7\n',
    },
    {
      reason: 'a Priority with a fraction',
      text: 'StoreDir: /nix/store\nPriority: 41.5\n',
      expected: 'StoreDir: /nix/store\n',
    },
    {
      reason: 'a Priority in words',
      text: 'Priority: high\nStoreDir: /nix/store\n',
      expected: 'StoreDir: /nix/store\n',
    },
    {
      reason: 'a Priority beyond an int',
      text: 'StoreDir: /nix/store\nPriority: 99999999999\n',
      expected: 'StoreDir: /nix/store\n',
    },
    { reason: 'a page with 200', text: HTML, expected: 403 },
    { reason: 'nothing', text: '', expected: 403 },
  ];
  await Promise.all(
    rows.map(async ({ reason, text, expected }) => {
      const upstream = await open(t, { caches: [LAB] });
      const clock = new FakeClock();
      const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock });
      upstream.answer('/lab/nix-cache-info', { content: text });
      const asked = get(`${house.nix}/lab/nix-cache-info`);
      const got = await (expected === 403 ? drive(clock, asked) : asked);
      t.same(got.status === 200 ? got.body.toString() : got.status, expected, reason);
      await house.close();
    }),
  );
  const upstream = await open(t, { caches: [LAB] });
  const clock = new FakeClock();
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, 'records.fresh': '0s' }, { clock });
  const infoOf = async (cache = 'lab') => {
    const { status: code, body } = await drive(clock, get(`${house.nix}/${cache}/nix-cache-info`));
    return code === 200 ? body.toString() : code;
  };
  t.equal((await get(`${house.nix}/lab/nix-cache-info`)).status, 200);
  upstream.answer('/lab/nix-cache-info', { content: HTML });
  t.match(await infoOf(), /StoreDir/, 'a page in its place: the record');
  upstream.remove('/lab/nix-cache-info');
  t.match(await infoOf(), /StoreDir/, 'gone: the record');
  await upstream.refuse();
  t.match(await infoOf(), /StoreDir/, 'refused: the record');
  t.equal(await infoOf('other'), 403, 'refused, and never seen');
  await house.close();
});

t.test('metadata in a Content-Encoding comes without it', async (t) => {
  const upstream = await open(t, { caches: [LAB] });
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const one = await object('gzipped');
  const { narinfo } = upstream.add(one);
  const gzipped = (text: string) => content(inMemory(gzipSync(text)));
  upstream.script(narinfo, gzipped(one.narinfo), withHeader('Content-Encoding', 'gzip'), withHeader('ETag', ''));
  const got = await get(`${house.nix}${narinfo}`);
  t.equal(got.body.toString(), pinned(one));
  t.notOk('content-encoding' in got.headers || 'etag' in got.headers);
  upstream.script('/lab/nix-cache-info', gzipped('Priority: 5\n'), withHeader('Content-Encoding', 'gzip'));
  t.equal((await get(`${house.nix}/lab/nix-cache-info`)).body.toString(), 'Priority: 5\n');
  await house.close();
});

t.test('a NAR that is asked for first brings its narinfo, with the same credentials', async (t) => {
  const upstream = await open(t, { caches: [LAB, PRIV] });
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const one = await object('first');
  const { narinfo, nar } = upstream.add(one, { cache: 'priv' });
  t.equal((await get(`${house.nix}${nar}`)).status, 403);
  t.equal(count(upstream, nar), 0, 'a NAR that nobody may read is not fetched');
  t.ok((await get(`${house.nix}${nar}`, { headers: pull })).body.equals(one.body.bytes));
  t.same(
    upstream.requests.map(({ path, headers }) => [path, headers['authorization']]),
    [
      [narinfo, undefined],
      [narinfo, pull.Authorization],
      [nar, pull.Authorization],
    ],
  );
  await house.close();
});

// Who may read.

const startPrivate = async (t: Test, flags: Readonly<Record<string, string>> = {}) => {
  const upstream = await open(t, { caches: [PRIV, { name: 'other', authorization: 'Bearer other' }] });
  const clock = new FakeClock();
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, 'records.fresh': '24h', ...flags }, { clock });
  const one = await object('private');
  const { narinfo, nar } = upstream.add(one, { cache: 'priv' });
  const paths = [narinfo, nar, `${nar}${pinOf(one)}`, '/priv/nix-cache-info'];
  /** What each of them is, to GET and HEAD, for one client; fake time passes meanwhile only if it has to. */
  const ask = async (headers: Readonly<Record<string, string>> = {}) => {
    const statuses = new Set<number>();
    for (const path of paths) {
      for (const method of ['GET', 'HEAD'])
        statuses.add((await get(`${house.nix}${path}`, { method, headers })).status);
    }
    return [...statuses];
  };
  return { upstream, clock, house, one, ask };
};

t.test('a hit in our store is for readers alone', async (t) => {
  const { upstream, house, ask } = await startPrivate(t);
  t.same(await ask(), [403], 'anonymous, before anything is here');
  t.same(await ask(pull), [200], 'a reader');
  const requests = upstream.requests.length;
  t.same(await ask(pull), [200]);
  t.equal(upstream.requests.length, requests, 'accepted lately: nobody is asked');
  t.same(await ask(), [403], 'anonymous');
  t.same(await ask({ Authorization: 'Bearer other' }), [403], "a reader of another cache's");
  t.same(await ask({ Authorization: 'bearer pull' }), [403], 'almost the same token');
  await house.close();
});

t.test('many askers with one token are one check', async (t) => {
  const { upstream, clock, house, one, ask } = await startPrivate(t);
  t.same(await ask(pull), [200]);
  await clock.advance(61_000);
  const { promise, resolve } = Promise.withResolvers<void>();
  upstream.script('/priv/nix-cache-info', holdBefore(promise));
  const before = upstream.requests.length;
  const asks = Promise.all(
    Array.from({ length: 20 }, () => get(`${house.nix}/priv/${one.narinfoPath}`, { headers: pull })),
  );
  await upstream.until(() => upstream.requests.length > before);
  resolve();
  for (const { status: code } of await asks) t.equal(code, 200);
  t.equal(upstream.requests.length, before + 1);
  await house.close();
});

t.test('a token that was revoked ends within auth.ttl', async (t) => {
  const { upstream, clock, house, ask } = await startPrivate(t);
  t.same(await ask(pull), [200]);
  upstream.script(/./, status(401));
  await clock.advance(59_000);
  t.same(await ask(pull), [200], 'accepted less than auth.ttl ago');
  await clock.advance(2_000);
  t.same(await ask(pull), [403], 'after auth.ttl');
  upstream.script(/./);
  t.same(await ask(pull), [200], 'and is good again when the upstream says so');
  await house.close();
});

t.test('while the upstream is down, who was accepted stays, and nobody else', async (t) => {
  const { upstream, clock, house, ask } = await startPrivate(t);
  t.same(await ask(pull), [200]);
  await upstream.refuse();
  await clock.advance(61_000);
  t.same(await drive(clock, ask(pull)), [200], 'within auth.grace');
  t.same(await drive(clock, ask()), [403], 'anonymous');
  t.same(await drive(clock, ask({ Authorization: 'Bearer x' })), [403], 'a token never seen');
  await clock.advance(600_000);
  t.same(await drive(clock, ask(pull)), [403], 'after auth.grace');
  await house.close();
});

t.test('a refusal ends the grace', async (t) => {
  const { upstream, clock, house, ask } = await startPrivate(t);
  t.same(await ask(pull), [200]);
  upstream.script(/./, status(403));
  await clock.advance(61_000);
  t.same(await ask(pull), [403]);
  await upstream.refuse();
  t.same(await drive(clock, ask(pull)), [403], 'refused a moment ago, and well within auth.grace');
  await house.close();
});

t.test('nobody learns from us what a private cache holds', async (t) => {
  const { upstream, clock, house, one, ask } = await startPrivate(t);
  t.same(await ask(pull), [200]);
  const unknown = await object('unknown');
  const pairs: ReadonlyArray<readonly [held: string, absent: string]> = [
    [one.narinfoPath, unknown.narinfoPath],
    [one.narPath, unknown.narPath],
    [`${one.narPath}${pinOf(one)}`, `${unknown.narPath}${pinOf(unknown)}`],
  ];
  const check = async (reason: string) => {
    for (const headers of [{}, { Authorization: 'Bearer x' }]) {
      for (const pair of pairs) {
        const [held, absent] = await drive(
          clock,
          Promise.all(pair.map((path) => get(`${house.nix}/priv/${path}`, { headers }))),
        );
        t.same(
          [held?.status, held?.body.toString()],
          [absent?.status, absent?.body.toString()],
          `${reason}: ${pair[0]}`,
        );
        t.equal(held?.status, 403, reason);
      }
    }
  };
  await check('the upstream says 401 to everything');
  await upstream.refuse();
  await check('the upstream is down');
  await clock.advance(600_000);
  await check('long after');
  await house.close();
});

t.test('that a cache is public outlives a restart of ours, and ends with it', async (t) => {
  const dir = t.testdir();
  const one = await object('public');
  const caches = [{ name: 'lab', isPublic: true, authorization: 'Bearer pull' }];
  const flags = (upstream: ScriptedUpstream) => ({ 'nix.upstream': upstream.origin, 'records.fresh': '0s' });
  const asked = (house: TestHouse, clock: FakeClock, headers = {}) =>
    drive(clock, get(`${house.nix}/lab/${one.narinfoPath}`, { headers })).then(({ status: code }) => code);

  const upstream = await open(t, { caches });
  upstream.add(one);
  const clock = new FakeClock();
  const first = await startHouse(t, flags(upstream), { dir, clock });
  t.equal(await asked(first, clock), 200);
  await first.close();
  await upstream.refuse();
  const second = await startHouse(t, flags(upstream), { dir, clock });
  t.equal(await asked(second, clock), 200, 'after a restart in an outage');
  await second.close();

  // It is private from now on: Attic says so by not saying that it is public.
  await upstream.comeBack();
  upstream.script(/./, (plan, { headers }) =>
    headers['authorization'] === pull.Authorization
      ? { ...plan, headers: plan.headers.filter(([name]) => name !== 'x-attic-cache-visibility') }
      : status(401)(plan, {} as never, ''),
  );
  const third = await startHouse(t, flags(upstream), { dir, clock });
  t.equal(await asked(third, clock, pull), 200, 'a reader, after it became private');
  await upstream.refuse();
  t.equal(await asked(third, clock), 403, 'anonymous, in an outage after that');
  await third.close();
  const fourth = await startHouse(t, flags(upstream), { dir, clock });
  t.equal(await asked(fourth, clock), 403, 'and after one more restart');
  await fourth.close();
});

t.test('a page with 200 makes nobody a reader', async (t) => {
  const { upstream, house, clock, ask } = await startPrivate(t, { 'records.fresh': '0s' });
  t.same(await ask(pull), [200]);
  upstream.script(/./, (plan, request, origin) =>
    request.headers['authorization'] === pull.Authorization ? plan : status(200, HTML)(plan, request, origin),
  );
  await drive(clock, get(`${house.nix}/priv/${storeHash('x')}.narinfo`));
  await drive(clock, get(`${house.nix}/priv/nix-cache-info`));
  await upstream.refuse();
  t.notOk((await drive(clock, ask())).includes(200), 'anonymous, who was shown a log-in page');
  await house.close();
});

t.test("one cache's bytes never answer for another's", async (t) => {
  const upstream = await open(t, { caches: [LAB, { name: 'twin', isPublic: true }] });
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock: fastClock(5) });
  const one = await object('twin');
  const lab = upstream.add(one, { cache: 'lab' });
  const twin = upstream.add(one, { cache: 'twin' });
  t.equal((await get(`${house.nix}${lab.nar}`)).status, 200);
  const rows: ReadonlyArray<readonly [reason: string, fault: Fault, expected: number]> = [
    ['its upstream does not have it', status(404), 404],
    ['its upstream fails', status(500), 404],
    ['its upstream refuses', status(403), 403],
    ['its upstream has other bytes', flip('middle'), 404],
  ];
  for (const [reason, fault, expected] of rows) {
    upstream.script(twin.nar, fault);
    for (const path of [twin.nar, `${twin.nar}${pinOf(one)}`]) {
      t.equal((await get(`${house.nix}${path}`)).status, expected, reason);
      await pause(systemClock, 80);
    }
    t.equal((await get(`${house.nix}${lab.nar}`)).status, 200, `${reason}: the first is as it was`);
  }
  await house.close();
  const later = await startHouse(t, { 'nix.upstream': upstream.origin });
  upstream.script(twin.nar);
  t.equal((await get(`${later.nix}${twin.nar}`)).status, 200, 'once it delivered them');
  await later.close();
});

t.test('what carries no digest passes, bounded, and fails as a miss', async (t) => {
  const path = `/lab/${storeHash('extra')}.ls`;
  const rows: ReadonlyArray<readonly [reason: string, fault: Fault, expected: number]> = [
    ['as it is', (plan) => plan, 200],
    ['404', status(404), 404],
    ['500', status(500, HTML), 404],
    ['401', status(401), 403],
    ['403', status(403), 403],
    ['204', status(204, ''), 404],
    ['closed without a head', closeWithoutHead(), 404],
    ['a head without a body', zeroBytes(), 404],
    ['silence', stallBefore(), 404],
    ['a head, then silence', headThenSilence(), 404],
  ];
  const upstream = await open(t, { caches: [LAB] });
  const flags = { 'nix.upstream': upstream.origin, 'upstream.firstByte': '400ms', 'upstream.idle': '400ms' };
  const house = await startHouse(t, flags);
  upstream.answer(path, { content: '{"version":1}', contentType: 'application/json' });
  for (const [reason, fault, expected] of rows) {
    upstream.script(path, fault);
    for (const method of ['GET', 'HEAD']) {
      const got = await get(`${house.nix}${path}`, { method });
      // To a HEAD there is no body that could fail.
      const isHeadAlone = method === 'HEAD' && /^a head/.test(reason);
      t.equal(got.status, isHeadAlone ? 200 : expected, `${reason}: ${method}`);
      t.ok(got.complete, `${reason}: a whole answer`);
      if (expected === 200) t.equal(got.headers['content-type'], 'application/json');
    }
  }
  upstream.script(path, cutAfter(5));
  t.notOk((await get(`${house.nix}${path}`)).looksComplete, 'what is cut does not look whole');
  upstream.script(path, stallAfter(5));
  t.notOk((await get(`${house.nix}${path}`)).looksComplete, 'nor what stalls');
  upstream.script(path, content(inMemory(Buffer.alloc(65 * 2 ** 20))));
  const long = await get(`${house.nix}${path}`, { keepBody: false });
  t.notOk(long.looksComplete, 'nor what is longer than may pass');
  t.ok(long.bodyBytes <= 64 * 2 ** 20);
  await upstream.refuse();
  t.equal((await get(`${house.nix}${path}`)).status, 404, 'refused');
  await house.close();
});
