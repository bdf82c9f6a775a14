// Hostile requests get a clear 4xx and reach nobody; hostile upstreams learn no secret and lead to no host that was not named.

import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { nixFront } from '../../src/nix/front.ts';
import { Access } from '../../src/store/access.ts';
import { makeObject } from '../support/cache-object.ts';
import { fastClock } from '../support/fast-clock.ts';
import { forbiddenBehindRedirect, redirect, status } from '../support/faults/answer.ts';
import { flip } from '../support/faults/content.ts';
import { narinfoUrl } from '../support/faults/narinfo.ts';
import { closeWithoutHead, holdBefore, resetWithoutHead } from '../support/faults/transfer.ts';
import type { Fault } from '../support/faults/when.ts';
import { startHouse, type TestHouse } from '../support/house.ts';
import { get, put, sendRaw } from '../support/http-client.ts';
import { HttpConnection } from '../support/http-connection.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { storeHash } from '../support/narinfo.ts';
import { startUpstream } from '../support/scripted-upstream.ts';
import { still, until } from '../support/waiting.ts';

const MIB = 2 ** 20;
const HOST = 'Host: localhost\r\n';
const HASH = storeHash('hardening');

refuseLeaks(t);
t.jobs = 4;

/** Behind it an upstream that would take anything, and in it one NAR of its own. */
const startBoth = async (t: Test) => {
  const upstream = await startUpstream({ acceptsUploads: true });
  t.teardown(() => upstream.close());
  return { upstream, houses: [await startHouse(t, { 'nix.upstream': upstream.origin }), await startHouse(t)] };
};

/** A redirect to the upstream's own store, and from there on. */
const viaItself =
  (url: string): Fault =>
  async (plan, request, origin) =>
    request.target.includes('hop=')
      ? redirect(url)(plan, request, origin)
      : redirect(`${request.path}?hop=1`)(plan, request, origin);

/** A part that this test's requests never come to. */
const nothing = <T extends object>(name: string): T =>
  new Proxy({} as T, {
    get: () => {
      throw new Error(`nobody asks for ${name}`);
    },
  });

/** Each is answered once or more, with nothing but 4xx: a request that was smuggled in would get another. */
const checkRefused = async (
  t: Test,
  house: TestHouse,
  rows: ReadonlyArray<readonly [bytes: string, reason: string]>,
): Promise<void> => {
  await Promise.all(
    rows.map(async ([bytes, reason]) => {
      const { answers } = await sendRaw(house.nix, bytes, {
        quietMs: 100,
        firstMs: 10_000,
        methods: [bytes.split(' ')[0] ?? ''],
      });
      t.ok(answers.length >= 1, `${reason}: is answered`);
      for (const { status } of answers) t.ok(status >= 400 && status < 500, `${reason}: ${status}`);
    }),
  );
};

t.test('paths that climb, or that are none', async (t) => {
  const { upstream, houses } = await startBoth(t);
  const rows: ReadonlyArray<readonly [target: string, reason: string]> = [
    ['/../nix-cache-info', 'climbs'],
    ['/lab/../../etc/passwd', 'climbs in the middle'],
    ['/lab/..', 'climbs at the end'],
    ['/lab/./nix-cache-info', 'a dot'],
    ['/lab/%2e%2e/nix-cache-info', 'climbs, escaped'],
    ['/lab/.%2E/nix-cache-info', 'climbs, half escaped'],
    ['/lab/%252e%252e/nix-cache-info', 'climbs, escaped twice'],
    ['/lab%2f..%2fnix-cache-info', 'escaped slashes'],
    ['/lab/nar%2fx.nar', 'one escaped slash'],
    ['/lab/..%5cnix-cache-info', 'a backslash, escaped'],
    ['/lab/..\\nix-cache-info', 'a backslash'],
    ['/lab/%00/nix-cache-info', 'NUL, escaped'],
    [`/lab/${HASH}.narinfo%00.txt`, 'NUL behind a name'],
    ['/lab/\0/nix-cache-info', 'NUL'],
    ['/lab/%0d%0aX:%20y/nix-cache-info', 'a line end, escaped'],
    ['/lab/%zz', 'an escape that is none'],
    ['/%c0%ae%c0%ae/nix-cache-info', 'overlong UTF-8'],
    ['/\xff\xfe/nix-cache-info', 'bytes beyond ASCII'],
    ['/nix-cache-info#x', 'a fragment'],
    ['http://127.0.0.1:1/nix-cache-info', 'the absolute form'],
    ['http://cache/nix-cache-info', 'the absolute form of our own name'],
    ['//127.0.0.1:1/nix-cache-info', 'two slashes: a host to some'],
    ['///nix-cache-info', 'three'],
    ['/\\127.0.0.1:1/nix-cache-info', 'a slash and a backslash: a host to others'],
    ['*', 'an asterisk'],
    ['nix-cache-info', 'no slash'],
    [`/${'a/'.repeat(30)}nix-cache-info`, 'too deep'],
    [`/${'a'.repeat(5000)}/nix-cache-info`, 'too long'],
    [`/nar/x.nar?nar=${'0'.repeat(52)}&as=../../x`, 'a pin that climbs'],
    [`/${HASH}.narinfo?\0`, 'NUL in the query'],
  ];
  for (const house of houses) {
    const requests = ['GET', 'HEAD', 'DELETE', 'PUT'].flatMap((method) =>
      rows.map(([target, reason]) => {
        const body = method === 'PUT' ? 'Content-Length: 3\r\n\r\nabc' : '\r\n';
        return [`${method} ${target} HTTP/1.1\r\n${HOST}${body}`, `${method}, ${reason}`] as const;
      }),
    );
    await checkRefused(t, house, requests);
    await house.close();
  }
  t.same(upstream.requests, [], 'nothing reaches the upstream');
});

t.test('heads and bodies that two servers would read differently', async (t) => {
  const { upstream, houses } = await startBoth(t);
  const smuggled = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;
  const post = (head: string, body: string) => `PUT /nar/x.nar HTTP/1.1\r\n${HOST}${head}\r\n${body}`;
  const read = (head: string) => `GET /nix-cache-info HTTP/1.1\r\n${head}\r\n`;
  const rows: ReadonlyArray<readonly [bytes: string, reason: string]> = [
    [post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${smuggled}`), 'a length and chunks'],
    [post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', `0\r\n\r\n${smuggled}`), 'chunks and a length'],
    [post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello!'), 'two lengths'],
    [post('Content-Length: 5, 5\r\n', 'hello'), 'a list of lengths'],
    [post('Content-Length: +5\r\n', 'hello'), 'a signed length'],
    [post('Content-Length: 0x5\r\n', 'hello'), 'a length in base 16'],
    [post('Content-Length: 99999999999999999999\r\n', 'hello'), 'a length beyond 64 bits'],
    [post('Transfer-Encoding: gzip\r\n', smuggled), 'a coding without chunks'],
    [post('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${smuggled}`), 'chunks that are not the last coding'],
    [post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${smuggled}`), 'a coding of nobody'],
    [post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${smuggled}`), 'a blank before the colon'],
    [post('Transfer-Encoding: chunked\r\n', `zz\r\nhello\r\n0\r\n\r\n${smuggled}`), 'a chunk size that is none'],
    [
      post('Transfer-Encoding: chunked\r\n', `ffffffffffffffffff\r\nhello\r\n0\r\n\r\n${smuggled}`),
      'a chunk size beyond 64 bits',
    ],
    [post('Transfer-Encoding: chunked\r\n', `-1\r\nhello\r\n0\r\n\r\n${smuggled}`), 'a chunk size below zero'],
    [post('Transfer-Encoding: chunked\r\n', `5\nhello\n0\n\n${smuggled}`), 'chunks with lone line feeds'],
    [
      post('Transfer-Encoding: chunked\r\n', `5;${'x'.repeat(20_000)}\r\nhello\r\n0\r\n\r\n`),
      'an extension without end',
    ],
    ['GET /nix-cache-info HTTP/1.1\nHost: localhost\n\n', 'lone line feeds'],
    [read(`${HOST}X: y\nZ: z\r\n`), 'one lone line feed'],
    [read(`${HOST}X: a\r\n b\r\n`), 'a folded header'],
    [read('Host : cache\r\n'), 'a blank behind Host'],
    [read(`${HOST}Host: other\r\n`), 'two Hosts'],
    [read(`${HOST}${HOST}`), 'the same Host twice'],
    [read(''), 'no Host'],
    [read('Host: a b\r\n'), 'a Host with a blank'],
    [read('Host: cache/../x\r\n'), 'a Host with a path'],
    [read('Host: x@cache\r\n'), 'a Host with a name in it'],
    [read('Host: cache:99999999\r\n'), 'a Host with an absurd port'],
    [read(`${HOST}X: a\0b\r\n`), 'NUL in a header'],
    [read(`${HOST}X y: z\r\n`), 'a blank in a name'],
    [read(`${HOST}X: ${'a'.repeat(20_000)}\r\n`), 'a huge header'],
    [read(`${HOST}${'a:\r\n'.repeat(2_500)}`), 'more headers than Node counts'],
    [read(`${HOST}${'a:\r\n'.repeat(200)}`), 'more headers than any client sends'],
    ['GET /nix-cache-info\r\n\r\n', 'HTTP/0.9'],
    ['GET /nix-cache-info HTTP/2.0\r\n\r\n', 'a version that we do not speak so'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'the HTTP/2 preface'],
    [`STEAL /nix-cache-info HTTP/1.1\r\n${HOST}\r\n`, 'a method of nobody'],
    [`TRACE /nix-cache-info HTTP/1.1\r\n${HOST}\r\n`, 'TRACE'],
    [`PUT /nar/x.nar HTTP/1.1\r\n${HOST}Expect: more\r\nContent-Length: 3\r\n\r\nabc`, 'another expectation'],
    [Buffer.from([0x16, 3, 1, 0, 0xa5, 1, 0, 0, 0xa1, 3, 3]).toString('latin1'), 'TLS'],
  ];
  for (const house of houses) {
    await checkRefused(t, house, rows);
    const { answers } = await sendRaw(house.nix, `CONNECT 127.0.0.1:1 HTTP/1.1\r\n${HOST}\r\n`, { firstMs: 10_000 });
    t.notOk(
      answers.some(({ status }) => status < 400),
      'CONNECT',
    );
    await house.close();
  }
  t.same(upstream.requests, [], 'nothing reaches the upstream');
});

t.test('the body of a GET is no request, and what follows it is one', async (t) => {
  const { houses } = await startBoth(t);
  for (const house of houses) {
    const body = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;
    const head = `GET /nix-cache-info HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n`;
    const { answers } = await sendRaw(house.nix, `${head}${body}HEAD /nix-cache-info HTTP/1.1\r\n${HOST}\r\n`, {
      firstMs: 10_000,
      quietMs: 500,
      methods: ['GET', 'HEAD'],
    });
    t.same(
      answers.map(({ status }) => status),
      [200, 200],
    );
    await house.close();
  }
});

t.test('absurd ranges', async (t) => {
  const house = await startHouse(t);
  const object = await makeObject({ seed: 'range', like: 'nix', kind: 'none', sizeBytes: 20_000 });
  t.equal((await put(`${house.nix}/${object.narPath}`, object.body.bytes)).status, 201);
  t.equal((await put(`${house.nix}/${object.narinfoPath}`, object.narinfo)).status, 201);
  const url = `${house.nix}/${object.narPath}`;
  const { bytes } = object.body;
  const whole = `bytes 0-${bytes.length - 1}/${bytes.length}`;
  const rows: ReadonlyArray<{
    readonly range: string | readonly string[];
    readonly status: number;
    readonly contentRange?: string;
    readonly reason: string;
  }> = [
    { range: 'bytes=', status: 400, reason: 'nothing' },
    { range: 'bytes=-', status: 400, reason: 'neither end' },
    { range: 'bytes=a-b', status: 400, reason: 'letters' },
    { range: 'bytes=-1-2', status: 400, reason: 'three' },
    { range: 'bytes=9-1', status: 400, reason: 'backwards' },
    { range: 'bytes=0x0-0x9', status: 400, reason: 'base 16' },
    { range: 'bytes = 0-1', status: 400, reason: 'blanks' },
    { range: 'items=0-1', status: 400, reason: 'another unit' },
    { range: 'bytes=0-1,5-6', status: 400, reason: 'two ranges' },
    { range: `bytes=${'0-,'.repeat(3000)}0-`, status: 400, reason: 'three thousand ranges' },
    { range: ['bytes=0-1', 'bytes=2-3'], status: 400, reason: 'two headers' },
    { range: `bytes=${'9'.repeat(400)}-`, status: 400, reason: 'a number beyond all' },
    { range: `bytes=${bytes.length}-`, status: 404, reason: 'at the end: never 416, which no Nix takes for a miss' },
    { range: 'bytes=9999999999999999-', status: 404, reason: 'far past the end' },
    { range: 'bytes=-0', status: 404, reason: 'no bytes' },
    { range: 'bytes=0-9999999999999999', status: 206, contentRange: whole, reason: 'up to far past the end' },
    { range: 'bytes=-9999999999999999', status: 206, contentRange: whole, reason: 'more of a tail than there is' },
    {
      range: `bytes=${bytes.length - 1}-`,
      status: 206,
      contentRange: `bytes ${bytes.length - 1}-${bytes.length - 1}/${bytes.length}`,
      reason: 'the last byte',
    },
  ];
  for (const { range, status, contentRange, reason } of rows) {
    for (const method of ['GET', 'HEAD']) {
      const got = await get(url, { method, headers: { Range: range } });
      t.equal(got.status, status, `${method}, ${reason}`);
      t.equal(got.headers['content-range'], contentRange, reason);
      if (status !== 206 || method === 'HEAD') continue;
      const start = Number(/\d+/.exec(contentRange ?? '')?.[0]);
      t.ok(got.body.equals(bytes.subarray(start)), `${reason}: its bytes`);
    }
  }
  const etag = (await get(url)).headers['etag'] ?? '';
  for (const [validator, expected] of [
    [etag, 206],
    ['"other"', 200],
    [`W/${etag}`, 200],
    ['Tue, 24 Nov 2026 00:00:00 GMT', 200],
  ] as const) {
    const got = await get(url, { headers: { Range: 'bytes=5-', 'If-Range': validator } });
    t.equal(got.status, expected, `If-Range: ${validator}`);
    t.ok(got.body.equals(expected === 206 ? bytes.subarray(5) : bytes));
  }
  await house.close();
});

t.test('no request goes to a host that was not named, and the operator sees which', async (t) => {
  const other = await startUpstream();
  t.teardown(() => other.close());
  const port = new URL(other.origin).port;
  const hosts = [
    `127.0.0.1:${port}`,
    `localhost:${port}`,
    `user:secret@127.0.0.1:${port}`,
    `[::1]:${port}`,
    '169.254.169.254',
  ];
  await Promise.all(hosts.map((host) => checkRedirects(t, host)));
  t.equal(other.connections, 0);
});

async function checkRedirects(t: Test, host: string): Promise<void> {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  const add = async (seed: string) => upstream.add(await makeObject({ seed, sizeBytes: 20_000 }), { cache: 'lab' });
  const { nar, narinfo } = await add('redirected');
  const { nar: second } = await add('redirected-twice');
  const signed = 'X-Amz-Signature=secret';
  const ways: ReadonlyArray<{
    readonly reason: string;
    readonly path: string;
    readonly fault: Fault;
    readonly on?: string;
  }> = [
    { reason: 'nix-cache-info', path: '/lab/nix-cache-info', fault: redirect(`http://${host}/info`) },
    { reason: 'a narinfo', path: narinfo, fault: redirect(`http://${host}/narinfo`) },
    { reason: "a narinfo's URL", path: narinfo, fault: narinfoUrl(`http://${host}/x.nar?${signed}`) },
    {
      reason: "a narinfo's URL, asked for its NAR",
      path: nar,
      on: narinfo,
      fault: narinfoUrl(`http://${host}/x.nar?${signed}`),
    },
    { reason: 'a log', path: '/lab/log/x.drv', fault: redirect(`http://${host}/log?${signed}`) },
    { reason: "Attic's own API", path: '/_api/v1/cache-config/lab', fault: redirect(`http://${host}/config`) },
    { reason: 'a NAR', path: nar, fault: redirect(`http://${host}/nar?${signed}`) },
    {
      reason: 'a NAR, by way of the upstream itself',
      path: second,
      fault: viaItself(`http://${host}/nar?${signed}`),
    },
  ];
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock: fastClock(10) });
  let before = 0;
  for (const { reason, path, on = path, fault } of ways) {
    upstream.script(on, fault);
    const got = await get(`${house.nix}${path}`, { headers: { Authorization: 'Bearer secret' } });
    t.ok(got.status >= 400, `${reason} to ${host}: ${got.status}`);
    t.notOk('location' in got.headers, `${reason}: the client is not sent there either`);
    const status = (await get(`${house.admin}/v1/status`)).body.toString();
    const { redirectsRefused } = JSON.parse(status);
    t.equal(redirectsRefused.length, 1, `${reason}: one host`);
    const [{ host: shown, count }] = redirectsRefused;
    t.equal(shown, host.replace('user:secret@', '').replace(/^169.*/, '$&:80'), reason);
    t.ok(count > before, `${reason} is counted`);
    before = count;
    t.notMatch(status, /secret/, reason);
    upstream.script(on);
  }
  t.notMatch(JSON.stringify(house.log), /secret|Signature/, `${host}: the log`);
  await house.close();
}

t.test('no log line, metric or status shows a credential', async (t) => {
  const upstream = await startUpstream({ caches: [{ name: 'priv', authorization: 'Bearer secret-token' }] });
  t.teardown(() => upstream.close());
  const headers = {
    Authorization: 'Bearer secret-token',
    Cookie: 'secret-cookie',
    'X-Amz-Security-Token': 'secret-sts',
  };
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { clock: fastClock(10) });
  const faults: ReadonlyArray<readonly [reason: string, fault: Fault]> = [
    ['a store that refuses', forbiddenBehindRedirect()],
    ['a store that is gone', redirect('http://127.0.0.1:1/x?X-Amz-Signature=secret-presigned')],
    ['a Location that is none', redirect('http://[secret-location')],
    ['500', status(500, 'secret-body')],
    ['a wrong body', flip('middle')],
    ['no head', resetWithoutHead()],
  ];
  for (const [index, [reason, fault]] of faults.entries()) {
    const { nar } = upstream.add(await makeObject({ seed: `secrets-${index}`, sizeBytes: 20_000 }), { cache: 'priv' });
    upstream.script(nar, fault);
    t.equal((await get(`${house.nix}${nar}`, { headers })).status, 404, reason);
    t.ok(upstream.transfers(nar).total >= 1, `${reason}: was met`);
    t.equal((await get(`${house.nix}${nar}`)).status, 403, `${reason}: anonymous`);
  }
  const asks: ReadonlyArray<readonly [method: string, path: string]> = [
    ['GET', `/priv/nar/${HASH}.nar?X-Amz-Signature=secret-query`],
    ['GET', `/priv/../x?X-Amz-Signature=secret-query`],
    ['GET', `/priv/log/x?sig=secret-query`],
    ['PUT', `/priv/nar/x?X-Amz-Signature=secret-query`],
    ['PUT', `/_api/v1/upload-path?X-Amz-Signature=secret-query`],
  ];
  upstream.script(/log|upload-path|nar.x/, closeWithoutHead());
  for (const [method, path] of asks)
    await get(`${house.nix}${path}`, { method, headers, ...(method === 'PUT' && { body: 'x' }) });
  t.ok(house.log.length >= faults.length, 'there are lines to look at');
  // What `main.ts` puts between pino and the world takes out more; these are the bare lines.
  for (const line of house.log) t.notMatch(JSON.stringify(line), /secret/);
  for (const path of ['/metrics', '/v1/status'])
    t.notMatch((await get(`${house.admin}${path}`)).body.toString(), /secret/, path);
  await house.close();
});

t.test('a head that does not come is waited for no longer than a minute', async (t) => {
  const access = new Access({
    clock: systemClock,
    isPublic: true,
    ttlMs: 0,
    graceMs: 0,
    check: () => Promise.resolve('accepted'),
    records: nothing('records'),
  });
  const app = nixFront({
    clock: systemClock,
    access,
    release: { budgetMs: 1000, follow: 'never' },
    reads: nothing('reads'),
    writes: () => {},
  });
  t.teardown(() => app.close());
  t.equal(app.server.headersTimeout, 60_000);
  // Node looks every five seconds, whatever the limit is.
  app.server.headersTimeout = 200;
  await app.listen({ host: '127.0.0.1', port: 0 });
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  const rows: ReadonlyArray<readonly [reason: string, drip: string]> = [
    ['nothing', ''],
    ['half a line', 'GET /nix-cache-info HT'],
    ['all but the end', `GET /nix-cache-info HTTP/1.1\r\n${HOST}X: `],
  ];
  await Promise.all(
    rows.map(async ([reason, drip]) => {
      const connection = new HttpConnection(url);
      const closed = new Promise((resolve) => connection.socket.once('close', resolve));
      await connection.opened();
      await connection.write(drip);
      // A byte now and then keeps nothing alive.
      const timer = setInterval(() => void connection.write(drip === '' ? '' : 'a'), 100);
      await closed;
      clearInterval(timer);
      t.pass(reason);
    }),
  );
});

t.test('readers that stop reading cost little, and nothing once they are gone', async (t) => {
  const house = await startHouse(t, { 'store.memoryBytes': '0' });
  const object = await makeObject({ seed: 'stalled', like: 'nix', kind: 'none', sizeBytes: 8 * MIB });
  t.equal((await put(`${house.nix}/${object.narPath}`, object.body.bytes)).status, 201);
  t.equal((await put(`${house.nix}/${object.narinfoPath}`, object.narinfo)).status, 201);
  const held = () => process.memoryUsage().arrayBuffers / MIB;
  const { promise: goOn, resolve: release } = Promise.withResolvers<void>();
  const before = held();
  let stalled = 0;
  const readers = Array.from({ length: 32 }, () =>
    get(`${house.nix}/${object.narPath}`, {
      stall: { afterBytes: 1, until: goOn },
      onHead: () => (stalled += 1),
      keepBody: false,
      abortAfterBytes: MIB / 2,
    }),
  );
  await until(() => stalled === 32);
  await still(held);
  t.ok(held() - before < 100, `${Math.round(held() - before)} MiB for 32 readers`);
  release();
  for (const { ended } of await Promise.all(readers)) t.equal(ended, 'aborted');
  t.ok((await get(`${house.nix}/${object.narPath}`)).body.equals(object.body.bytes), 'the next one is served');
  await house.close();
});

t.test('a stop waits for answers under way, and not for connections that are kept alive', async (t) => {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  const { nar } = upstream.add(await makeObject({ seed: 'stop', sizeBytes: 20_000 }), { cache: 'lab' });
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  upstream.script(nar, holdBefore(held));
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, 'server.drain': '1h' });
  const [idle, busy] = [new HttpConnection(house.nix), new HttpConnection(house.nix)];
  t.teardown(() => {
    for (const connection of [idle, busy]) connection.close();
  });
  t.equal((await idle.request({}, '/lab/nix-cache-info')).status, 200);
  const answer = busy.request({}, nar);
  await upstream.asked(nar);
  const closed = house.close();
  release();
  t.equal((await answer).status, 200, 'the answer under way');
  await closed;
  t.ok(true, 'and then it is closed, though its client keeps the connection');
});
