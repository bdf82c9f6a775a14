// Our own store as the cache: a NAR is proven to itself, seen by nobody before its narinfo agrees with it, and kept once it was acknowledged.

import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { type CacheObject, makeObject, type ObjectShape } from '../support/cache-object.ts';
import { fastClock } from '../support/fast-clock.ts';
import { startHouse, type TestHouse } from '../support/house.ts';
import { get, put, sendRaw } from '../support/http-client.ts';
import { HttpConnection } from '../support/http-connection.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { digestOf, makeNar } from '../support/nar.ts';
import { hashText, storeHash } from '../support/narinfo.ts';
import { nix32 } from '../support/nix32.ts';
import { seededBytes } from '../support/seeded.ts';

const MIB = 2 ** 20;

const pushed = (shape: ObjectShape): Promise<CacheObject> =>
  makeObject({ sizeBytes: 50_000, kind: 'xz', like: 'nix', ...shape });

const nameOf = (bytes: Buffer, extension = ''): string =>
  `nar/${nix32(Buffer.from(digestOf(bytes).sha256, 'hex'))}.nar${extension}`;

const putNar = async (house: TestHouse, { narPath, body }: CacheObject, cache = '') =>
  (await put(`${house.nix}${cache}/${narPath}`, body.bytes)).status;

const putNarinfo = async (house: TestHouse, { narinfoPath, narinfo }: CacheObject, cache = '') =>
  (await put(`${house.nix}${cache}/${narinfoPath}`, narinfo)).status;

const push = async (house: TestHouse, object: CacheObject, cache = '') => {
  const statuses = [await putNar(house, object, cache), await putNarinfo(house, object, cache)];
  return statuses.every((status) => status === 201);
};

const pinOf = ({ digest, body }: CacheObject): string =>
  `?nar=${nix32(Buffer.from(digest.sha256, 'hex'))}&as=${body.compression}`;

/** Narinfo and NAR, with and without a pin, to GET and HEAD: all there, or nothing of it. */
const checkVisible = async (
  t: Test,
  house: TestHouse,
  object: CacheObject,
  isVisible: boolean,
  reason: string,
  cache = '',
) => {
  const { narPath, narinfoPath, narinfo, body } = object;
  for (const method of ['GET', 'HEAD']) {
    for (const path of [narinfoPath, narPath, `${narPath}${pinOf(object)}`]) {
      const { status } = await get(`${house.nix}${cache}/${path}`, { method });
      t.equal(status, isVisible ? 200 : 404, `${reason}: ${method} ${path}`);
    }
  }
  if (!isVisible) return;
  const info = await get(`${house.nix}${cache}/${narinfoPath}`);
  t.equal(info.body.toString(), narinfo.replace(narPath, narPath + pinOf(object)), `${reason}: its narinfo`);
  t.ok((await get(`${house.nix}${cache}/${narPath}`)).body.equals(body.bytes), `${reason}: its bytes`);
};

refuseLeaks(t);
t.jobs = 4;

t.test('a NAR that is not what its name says is refused, and nothing of it is kept', async (t) => {
  const house = await startHouse(t, { 'store.maxBytes': '32MiB' });
  const { body: xz } = await pushed({ seed: 'refused' });
  const nar = makeNar({ seed: 'refused', sizeBytes: 50_000 });
  const other = nameOf(seededBytes('other', 10));
  const bz2 = Buffer.concat([Buffer.from('BZh91AY&SY'), seededBytes('bz2', 1000)]);
  const cut = xz.bytes.subarray(0, -20);
  const zeros = zstdCompressSync(Buffer.alloc(200 * MIB));
  const rows: ReadonlyArray<{
    readonly reason: string;
    readonly path: string;
    readonly body: Buffer;
    readonly status?: number;
    readonly says: RegExp;
  }> = [
    { reason: 'another file hash', path: `${other}.xz`, body: xz.bytes, says: /file hash/ },
    { reason: 'zstd by its name, xz by its bytes', path: nameOf(xz.bytes, '.zst'), body: xz.bytes, says: /zstd/ },
    { reason: 'xz by its name, a plain NAR by its bytes', path: nameOf(nar, '.xz'), body: nar, says: /xz/ },
    { reason: 'xz that ends early, under its own hash', path: nameOf(cut, '.xz'), body: cut, says: /xz/ },
    {
      reason: 'trailing bytes',
      path: nameOf(Buffer.concat([xz.bytes, nar]), '.xz'),
      body: Buffer.concat([xz.bytes, nar]),
      says: /xz/,
    },
    {
      reason: 'nothing that we can decode',
      path: nameOf(seededBytes('junk', 5000)),
      body: seededBytes('junk', 5000),
      says: /encoding/,
    },
    { reason: 'bzip2 by name', path: nameOf(bz2, '.bz2'), body: bz2, says: /bz2.*none, zstd, xz/ },
    { reason: 'bzip2 by its bytes', path: nameOf(bz2), body: bz2, says: /encoding/ },
    { reason: 'an extension of nobody', path: nameOf(nar, '.exe'), body: nar, says: /exe/ },
    { reason: 'two extensions', path: nameOf(xz.bytes, '.xz.xz'), body: xz.bytes, says: /nar\/</ },
    { reason: 'a name that is no hash', path: 'nar/hello.nar.xz', body: xz.bytes, says: /SHA-256/ },
    { reason: 'a name that is a store hash', path: `nar/${storeHash('x')}.nar.xz`, body: xz.bytes, says: /SHA-256/ },
    { reason: 'nothing', path: nameOf(Buffer.alloc(0)), body: Buffer.alloc(0), says: /ended/ },
    { reason: 'more than the store when decoded', path: nameOf(zeros, '.zst'), body: zeros, says: /zstd/ },
    { reason: 'more than the store as it is', path: other, body: Buffer.alloc(33 * MIB), status: 413, says: /larger/ },
  ];
  for (const { reason, path, body, status = 400, says } of rows) {
    const got = await put(`${house.nix}/${path}`, body, { sendsAllFirst: true });
    t.equal(got.status, status, reason);
    t.ok(got.complete, `${reason}: a whole answer`);
    t.match(got.body.toString(), says, reason);
    t.equal(got.headers['content-type'], 'text/plain', reason);
    t.equal((await get(`${house.nix}/${path}`)).status, 404, reason);
  }
  await house.close();
  t.same(await house.spooled(), []);
  t.same(await readdir(join(house.dir, 'cleanmiss-data/store/forms')), [], 'no form is kept');
});

t.test('a NAR whose length is not known or not kept is refused', async (t) => {
  const house = await startHouse(t);
  const { narPath, body } = await pushed({ seed: 'length' });
  const { bytes } = body;
  const chunked = await put(`${house.nix}/${narPath}`, [bytes], {});
  t.equal(chunked.status, 411, 'chunked: a retried PUT of Nix before 2.33 announces all and sends nothing');
  t.match(chunked.body.toString(), /Content-Length/);
  const gone = new AbortController();
  const half = (async function* () {
    yield bytes.subarray(0, bytes.length / 2);
    gone.abort();
  })();
  const cut = await put(`${house.nix}/${narPath}`, half, {
    headers: { 'Content-Length': String(bytes.length) },
    signal: gone.signal,
  });
  t.equal(cut.ended, 'aborted', 'cut');
  const head = `PUT /${narPath} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${bytes.length - 10}\r\n\r\n`;
  const { answers } = await sendRaw(house.nix, Buffer.concat([Buffer.from(head), bytes]), { firstMs: 10_000 });
  t.equal(answers[0]?.status, 400, 'longer than announced');
  t.notOk(
    answers.slice(1).some(({ status }) => status < 400),
    'the rest of it is no request',
  );
  t.equal(
    (await put(`${house.nix}/${storeHash('length')}.narinfo`, (await pushed({ seed: 'length' })).narinfo)).status,
    400,
    'nothing waits for a narinfo',
  );
  await house.close();
  t.same(await house.spooled(), []);
});

t.test('a client that stops sending is dropped after a minute', async (t) => {
  const house = await startHouse(t, {}, { clock: fastClock(60) });
  const { narPath, body, narinfoPath, narinfo } = await pushed({ seed: 'slow' });
  for (const [path, sizeBytes] of [
    [narPath, body.bytes.length],
    [narinfoPath, narinfo.length],
    [`${storeHash('slow')}.ls`, 1000],
  ] as const) {
    const head = `PUT /${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${sizeBytes}\r\n\r\n`;
    const { answers, ended } = await sendRaw(
      house.nix,
      Buffer.concat([Buffer.from(head), body.bytes.subarray(0, 100)]),
      { firstMs: 15_000 },
    );
    t.not(ended, 'open', path);
    t.notOk(
      answers.some(({ status }) => status < 400),
      path,
    );
    t.equal((await get(`${house.nix}/${path}`)).status, 404, path);
  }
  await house.close();
  t.same(await house.spooled(), []);
});

t.test('a narinfo must be right by itself, and agree with its NAR', async (t) => {
  const house = await startHouse(t);
  const object = await pushed({ seed: 'agree' });
  const other = await pushed({ seed: 'other' });
  t.equal(await putNarinfo(house, object), 400, 'before its NAR');
  t.equal(await putNar(house, object), 201);
  t.equal(await putNar(house, other), 201);
  const field = (name: string, value: string) =>
    object.narinfo.replace(new RegExp(`^${name}: .*$`, 'm'), `${name}: ${value}`);
  const rows: ReadonlyArray<{ readonly reason: string; readonly text: string; readonly says: RegExp }> = [
    { reason: 'another NarHash', text: field('NarHash', hashText(other.digest.sha256, 'nix32')), says: /NarHash/ },
    { reason: 'another NarSize', text: field('NarSize', String(object.nar.length + 8)), says: /NarSize/ },
    { reason: 'another Compression', text: field('Compression', 'zstd'), says: /Compression/ },
    { reason: 'another FileHash', text: field('FileHash', hashText(other.digest.sha256, 'nix32')), says: /FileHash/ },
    { reason: 'another FileSize', text: field('FileSize', '12'), says: /FileSize/ },
    { reason: "another NAR's URL", text: field('URL', other.narPath), says: /is not that of its NAR/ },
    {
      reason: 'a URL that is not here',
      text: field('URL', nameOf(seededBytes('nowhere', 10), '.xz')),
      says: /not here/,
    },
    { reason: 'a URL elsewhere', text: field('URL', `http://127.0.0.1:1/${object.narPath}`), says: /not here/ },
    { reason: 'a URL that climbs', text: field('URL', `../x/${object.narPath}`), says: /not here/ },
    { reason: 'another path', text: field('StorePath', other.storePath), says: /other-path/ },
    { reason: 'no NarHash', text: object.narinfo.replace(/^NarHash.*\n/m, ''), says: /NarHash/ },
    { reason: 'no final line end', text: object.narinfo.slice(0, -1), says: /line end/ },
    { reason: 'nothing', text: '', says: /malformed/ },
    { reason: 'oversize', text: `${object.narinfo}Sig: a:${'A'.repeat(2 * MIB)}\n`, says: /longer/ },
  ];
  for (const { reason, text, says } of rows) {
    const got = await put(`${house.nix}/${object.narinfoPath}`, text, { sendsAllFirst: true });
    t.ok(got.status >= 400 && got.status < 500, `${reason}: ${got.status}`);
    t.match(got.body.toString(), says, reason);
  }
  await checkVisible(t, house, object, false, 'after all that');
  t.equal(await putNarinfo(house, object), 201, 'the right one');
  await checkVisible(t, house, object, true, 'the right one');
  for (const { reason, text } of rows) {
    const got = await put(`${house.nix}/${object.narinfoPath}`, text, { sendsAllFirst: true });
    t.ok(got.status >= 400 && got.status < 500, `once it is visible, ${reason}: ${got.status}`);
  }
  await checkVisible(t, house, object, true, 'still');
  await house.close();
});

t.test('what waits for its narinfo is seen by nobody, and outlives a restart', async (t) => {
  const dir = t.testdir();
  const object = await pushed({ seed: 'pending' });
  const first = await startHouse(t, {}, { dir });
  t.equal(await putNar(first, object), 201);
  await checkVisible(t, first, object, false, 'pending');
  await first.close();
  const second = await startHouse(t, {}, { dir });
  await checkVisible(t, second, object, false, 'pending after a restart');
  t.equal(await putNarinfo(second, object), 201);
  await checkVisible(t, second, object, true, 'both at once');
  await second.close();
  const third = await startHouse(t, {}, { dir });
  await checkVisible(t, third, object, true, 'after another restart');
  await third.close();
});

t.test('what waits longer than a day, or takes more than a tenth of the store, is given up', async (t) => {
  const house = await startHouse(t, { 'store.maxBytes': '10MiB' });
  const objects = await Promise.all([1, 2, 3].map((seed) => pushed({ seed, kind: 'none', sizeBytes: 600_000 })));
  for (const object of objects) t.equal(await putNar(house, object), 201);
  const statuses: number[] = [];
  for (const object of objects) statuses.push(await putNarinfo(house, object));
  t.same(statuses, [400, 400, 201], 'the oldest went');
  await house.close();
});

t.test('the ledger lies in the state directory, and rows from where they lay before are found', async (t) => {
  const dir = t.testdir();
  const object = await pushed({ seed: 'ledger' });
  const first = await startHouse(t, {}, { dir });
  t.ok(await push(first, object));
  await first.close();
  const ledger = join(dir, 'cleanmiss-data/state/ledger');
  const records = join(dir, 'cleanmiss-data/store/records');
  const rowsIn = async (place: string) =>
    (await readdir(place, { recursive: true })).filter((name) => /json$/.test(name));
  const rows = await rowsIn(ledger);
  t.equal(rows.length, 1);
  // As the layout before had it.
  for (const row of rows) {
    await mkdir(dirname(join(records, row)), { recursive: true });
    await rename(join(ledger, row), join(records, row));
  }
  const second = await startHouse(t, {}, { dir });
  await checkVisible(t, second, object, true, 'from its old place');
  await second.close();
  t.same(await rowsIn(ledger), rows, 'and moved');
});

t.test(
  'web pages of others, under a name of theirs that leads here, are refused, reads and writes alike',
  async (t) => {
    const house = await startHouse(t);
    const { host, port } = new URL(house.nix);
    const rows: ReadonlyArray<readonly [reason: string, headers: Record<string, string>, status: number]> = [
      ['its address', { host }, 200],
      ['localhost', { host: `localhost:${port}` }, 200],
      ['a rebound name', { host: `evil.example:${port}` }, 403],
      ["another's page", { host, origin: 'http://evil.example' }, 403],
      ['a page from nowhere', { host, origin: 'null' }, 403],
    ];
    for (const [reason, headers, status] of rows) {
      const path = `${house.nix}/nix-cache-info`;
      t.equal((await get(path, { headers })).status, status, `${reason}: a read`);
      const written = await put(path, 'StoreDir: /evil\nPriority: 1\n', {
        headers: { ...headers, 'content-type': 'text/plain' },
      });
      t.equal(written.status, status === 200 ? 201 : status, `${reason}: a write`);
      if (status === 200) continue;
      t.match(written.body.toString(), /Host|origins/, reason);
    }
    await house.close();
  },
);

t.test('every encoding that Nix pushes and we prove', async (t) => {
  const house = await startHouse(t);
  for (const kind of ['none', 'zstd-one', 'zstd-many', 'xz', 'xz-many', 'br', 'gzip'] as const) {
    const object = await pushed({ seed: kind, kind });
    t.ok(await push(house, object), kind);
    await checkVisible(t, house, object, true, kind);
  }
  // Nix puts gzip under a plain `.nar`.
  const plain = await pushed({ seed: 'plain', kind: 'gzip' });
  const object = {
    ...plain,
    narPath: plain.narPath.replace('.gz', ''),
    narinfo: plain.narinfo.replace('.nar.gz', '.nar'),
  };
  t.ok(await push(house, object), 'gzip without an extension');
  await checkVisible(t, house, object, true, 'gzip without an extension');
  await house.close();
});

t.test('the same again is fine, and other content is not', async (t) => {
  const dir = t.testdir();
  const house = await startHouse(t, {}, { dir });
  const object = await pushed({ seed: 'again' });
  t.ok(await push(house, object));
  t.ok(await push(house, object), 'again');
  t.equal(await putNarinfo(house, object), 201, 'its narinfo alone, again');
  const packed = await pushed({ seed: 'again', kind: 'zstd-one' });
  t.ok(await push(house, packed), 'the same NAR in another compression');
  await checkVisible(t, house, packed, true, 'the newer one');
  const shared = await pushed({ seed: 'shares', nar: object.nar });
  t.equal(await putNarinfo(house, shared), 201, 'another path with the same NAR, which Nix does not send again');
  await checkVisible(t, house, shared, true, 'that one');

  const changed = await pushed({ seed: 'again', nar: makeNar({ seed: 'changed', sizeBytes: 60_000 }) });
  t.equal(await putNar(house, changed), 201);
  const refused = await put(`${house.nix}/${changed.narinfoPath}`, changed.narinfo);
  t.equal(refused.status, 409, 'other content');
  t.match(refused.body.toString(), /stored here with other content/);
  await checkVisible(t, house, packed, true, 'and what was stored stays');
  await house.close();

  await rm(join(dir, 'cleanmiss-data/store/forms', object.digest.sha256.slice(0, 2)), { recursive: true });
  const later = await startHouse(t, { 'nix.pinUrls': 'false' }, { dir });
  await checkVisible(t, later, object, false, 'a form that is gone takes its narinfo along');
  t.equal(await putNarinfo(later, changed), 201, 'other content, once what was stored is gone');
  t.ok((await get(`${later.nix}/${changed.narPath}`)).body.equals(changed.body.bytes));
  t.equal((await get(`${later.nix}/${packed.narPath}`)).status, 404, 'an old URL never brings the new bytes');
  t.equal((await get(`${later.nix}/${packed.narPath}${pinOf(packed)}`)).status, 404, 'nor an old pin');
  await later.close();
});

t.test('of two contents that are pushed at once under one path, one wins', async (t) => {
  const house = await startHouse(t);
  const objects = await Promise.all(
    [1, 2, 3, 4].map((seed) => pushed({ seed: 'race', nar: makeNar({ seed, sizeBytes: 20_000 }) })),
  );
  for (const object of objects) t.equal(await putNar(house, object), 201);
  const statuses = await Promise.all(objects.map((object) => putNarinfo(house, object)));
  t.same(statuses.toSorted(), [201, 409, 409, 409]);
  const winner = objects[statuses.indexOf(201)];
  if (winner) await checkVisible(t, house, winner, true, 'the one that was told so');
  await house.close();
});

t.test('listings, logs and the rest are kept as they were put', async (t) => {
  const dir = t.testdir();
  const first = await startHouse(t, {}, { dir });
  const text = '{"version":1,"root":{"type":"regular"}}';
  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  const rows: ReadonlyArray<{
    readonly reason: string;
    readonly path: string;
    readonly body: Buffer;
    readonly coding?: string;
    readonly expected?: Buffer;
  }> = [
    { reason: 'a listing', path: `${storeHash('a')}.ls`, body: Buffer.from(text) },
    { reason: 'a log in whatever encoding', path: 'log/abc.drv', body: everyByte },
    { reason: 'a large log that is all escapes', path: 'log/large.drv', body: Buffer.alloc(2.9 * MIB, 0x1b) },
    { reason: 'a realisation', path: 'realisations/sha256:abc!out.doi', body: Buffer.from('{}') },
    { reason: 'debuginfo', path: 'debuginfo/0123abcd', body: Buffer.from('{"archive":"../nar/x","member":"y"}') },
    {
      reason: 'compressed, as Nix 2.32 can',
      path: `${storeHash('b')}.ls`,
      body: brotliCompressSync(text),
      coding: 'br',
      expected: Buffer.from(text),
    },
    {
      reason: 'the same with gzip',
      path: 'log/zipped.drv',
      body: gzipSync(everyByte),
      coding: 'gzip',
      expected: everyByte,
    },
  ];
  for (const { reason, path, body, coding } of rows) {
    const headers = coding === undefined ? {} : { 'Content-Encoding': coding };
    t.equal((await put(`${first.nix}/${path}`, body, { headers })).status, 201, reason);
  }
  await first.close();
  const second = await startHouse(t, {}, { dir });
  for (const { reason, path, body, expected = body } of rows) {
    const got = await get(`${second.nix}/${path}`);
    t.equal(got.status, 200, reason);
    t.ok(got.body.equals(expected), `${reason}: its bytes`);
    t.notOk('content-encoding' in got.headers, reason);
    t.equal(
      (await get(`${second.nix}/${path}`, { method: 'HEAD' })).headers['content-length'],
      String(expected.length),
      reason,
    );
  }
  const refused: ReadonlyArray<{ readonly reason: string; readonly body: Buffer; readonly coding?: string }> = [
    { reason: 'too large', body: Buffer.alloc(4 * MIB, 0x1b) },
    { reason: 'too large once decoded', body: gzipSync(Buffer.alloc(40 * MIB)), coding: 'gzip' },
    { reason: 'damaged', body: Buffer.from('no gzip'), coding: 'gzip' },
    { reason: 'in a coding of nobody', body: Buffer.from(text), coding: 'lzma' },
  ];
  for (const { reason, body, coding } of refused) {
    const headers = coding === undefined ? {} : { 'Content-Encoding': coding };
    const got = await put(`${second.nix}/log/refused.drv`, body, { headers, sendsAllFirst: true });
    t.ok(got.status >= 400 && got.status < 500, `${reason}: ${got.status}`);
    t.equal((await get(`${second.nix}/log/refused.drv`)).status, 404, reason);
  }
  await second.close();
});

t.test('two caches behind one address know nothing of each other', async (t) => {
  const house = await startHouse(t);
  const object = await pushed({ seed: 'mine' });
  t.ok(await push(house, object, '/a'));
  t.equal((await put(`${house.nix}/a/${object.hash}.ls`, '{}')).status, 201);
  await checkVisible(t, house, object, true, 'where it was pushed', '/a');
  for (const cache of ['/b', '', '/a/b']) {
    await checkVisible(t, house, object, false, `in ${cache || 'the root'}`, cache);
    t.equal((await get(`${house.nix}${cache}/${object.hash}.ls`)).status, 404);
    t.equal(await putNarinfo(house, object, cache), 400, 'a narinfo there wants its NAR there');
  }
  t.match(
    (await get(`${house.nix}/a/nix-cache-info`)).body.toString(),
    /^StoreDir: \/nix\/store$/m,
    'learnt from the push',
  );
  t.notMatch((await get(`${house.nix}/b/nix-cache-info`)).body.toString(), /StoreDir/);
  await house.close();
});

t.test('what is no PUT is not served, and what is no cache is not kept', async (t) => {
  const house = await startHouse(t);
  const object = await pushed({ seed: 'methods' });
  t.ok(await push(house, object));
  const rows: ReadonlyArray<readonly [method: string, path: string, status: number]> = [
    ['DELETE', `/${object.narPath}`, 405],
    ['DELETE', `/${object.narinfoPath}`, 405],
    ['POST', `/${object.narPath}`, 405],
    ['PATCH', `/${object.narinfoPath}`, 405],
    ['OPTIONS', '/', 405],
    ['PUT', '/_api/v1/upload-path', 404],
    ['POST', '/_api/v1/get-missing-paths', 405],
    ['PUT', '/favicon.ico', 404],
    ['PUT', '/', 404],
  ];
  for (const [method, path, status] of rows) {
    const got = await get(`${house.nix}${path}`, { method, body: seededBytes('x', 300_000), sendsAllFirst: true });
    t.equal(got.status, status, `${method} ${path}`);
    if (status === 405) t.equal(got.headers['allow'], 'GET, HEAD, PUT');
  }
  await checkVisible(t, house, object, true, 'untouched');
  await house.close();
});

t.test('a body that waits to be invited is refused by its head where that says enough', async (t) => {
  const house = await startHouse(t, { 'store.maxBytes': '1MiB' });
  const { narPath, body } = await pushed({ seed: 'invited' });
  const rows: ReadonlyArray<readonly [path: string, bytes: Buffer, status: number]> = [
    [nameOf(body.bytes, '.bz2'), body.bytes, 400],
    [narPath, Buffer.alloc(2 * MIB), 413],
    ['favicon.ico', body.bytes, 404],
  ];
  for (const [path, bytes, status] of rows) {
    const got = await put(`${house.nix}/${path}`, bytes, { expectContinue: true });
    t.equal(got.status, status, path);
    t.same([got.interim, got.sentBytes], [[], 0], `${path}: nothing is sent`);
  }
  const taken = await put(`${house.nix}/${narPath}`, body.bytes, { expectContinue: true });
  t.same([taken.status, taken.interim], [201, [100]]);
  await house.close();
});

t.test('a client that was invited, and sends all before it reads, reads why it was refused', async (t) => {
  const house = await startHouse(t);
  const bytes = seededBytes('junk', 8 * MIB);
  const connection = new HttpConnection(house.nix);
  t.teardown(() => connection.close());
  await connection.write(
    `PUT /${nameOf(bytes)} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: ${bytes.length}\r\n\r\n`,
  );
  t.match(await connection.reader.until('\r\n\r\n'), /^HTTP\/1.1 100 /);
  connection.reader.hold(true);
  await connection.write(bytes);
  connection.reader.hold(false);
  t.match(await connection.reader.until('\r\n\r\n'), /^HTTP\/1.1 400 /);
  await house.close();
});

t.test('a NAR that was lost while it waited must be put again', async (t) => {
  const dir = t.testdir();
  const object = await pushed({ seed: 'lost' });
  const first = await startHouse(t, {}, { dir });
  t.equal(await putNar(first, object), 201);
  await first.close();
  await rm(join(dir, 'cleanmiss-data/store/forms'), { recursive: true });
  const second = await startHouse(t, {}, { dir });
  t.equal(await putNarinfo(second, object), 400);
  t.ok(await push(second, object));
  await checkVisible(t, second, object, true, 'put again');
  await second.close();
});

t.test('nix-cache-info is ours, until a client says otherwise', async (t) => {
  const house = await startHouse(t);
  const at = `${house.nix}/nix-cache-info`;
  t.match((await get(at)).body.toString(), /^Priority: \d+$/m);
  t.equal((await put(at, 'StoreDir: /gnu/store\nWantMassQuery: 1\nPriority: 1.5\n')).status, 201);
  t.equal(
    (await get(at)).body.toString(),
    'StoreDir: /gnu/store\nWantMassQuery: 1\n',
    'Nix ends over a Priority that is no whole number',
  );
  await house.close();
});
