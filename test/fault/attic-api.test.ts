// Attic's own API and Nix's PUTs through a house: streamed both ways, word for word, and refused as the gate says before a byte is read.

import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import type { Decision, Gate, Write } from '../../src/gate/gate.ts';
import { answer, replayed, startAtticReplay } from '../support/attic-replay.ts';
import { atticWireNames, loadAtticWire } from '../support/attic-wire.ts';
import { fastClock } from '../support/fast-clock.ts';
import { answersEarly, status, withHeader } from '../support/faults/answer.ts';
import { closeWithoutHead, resetWithoutHead, zeroBytes } from '../support/faults/transfer.ts';
import { startHeldUpload } from '../support/held-upload.ts';
import { startHouse } from '../support/house.ts';
import { get, put, sendRaw } from '../support/http-client.ts';
import type { RequestOptions } from '../support/http-connection.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { startUpstream } from '../support/scripted-upstream.ts';
import { seededBytes } from '../support/seeded.ts';
import { still, until } from '../support/waiting.ts';

const MIB = 2 ** 20;
const UPLOAD = '/_api/v1/upload-path';
const narInfo = (cache = 'lab') => JSON.stringify({ cache, store_path_hash: 'v1z7bs0mmfzcnjpsc19z3gdhmdari6nl' });

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

function* mibs(count: number): Generator<Buffer> {
  const mib = seededBytes('upload', MIB);
  for (let sent = 0; sent < count; sent += 1) yield mib;
}

/** What a capture's client sent, as far as it is on record. */
const requestOf = (name: string) => {
  const { request, requestBody } = loadAtticWire(name);
  const [method = '', path = ''] = request[0]?.split(' ') ?? [];
  const headers: Record<string, string> = {};
  for (const line of request.slice(1)) {
    const [, key = '', value = ''] = /^([^:]+): (.*)$/.exec(line) ?? [];
    if (!/^(host|connection|content-length)$/i.test(key)) headers[key] = value;
  }
  const length = /^Content-Length: (\d+)$/im.exec(request.join('\n'))?.[1];
  const body = Buffer.from(requestBody ?? seededBytes(name, Number(length ?? 60_000)));
  return { method, path, headers, body, isChunked: method === 'PUT' && length === undefined };
};

refuseLeaks(t);
t.jobs = 4;

const calls = atticWireNames().filter((name) => /^(PUT|POST)/.test(requestOf(name).method));
t.equal(calls.length, 21, 'every write on record has a row');

t.test('what Attic answered to a write is what its client gets', async (t) => {
  let name = '';
  const attic = await startAtticReplay(t, () => name);
  const house = await startHouse(t, { 'nix.upstream': attic.url });
  for (name of calls) {
    const { method, path, headers, body, isChunked } = requestOf(name);
    const sent = isChunked ? [body.subarray(0, 7), body.subarray(7)] : body;
    const got = await get(`${house.nix}${path}`, { method, headers, body: sent });
    const capture = loadAtticWire(name);
    t.equal(got.status, capture.status, name);
    t.ok(got.complete && got.body.equals(capture.body), `${name}: its body`);
    const type = /^content-type: (.*)\r$/im.exec(capture.head.toString('latin1'))?.[1];
    t.equal(got.headers['content-type'], type, `${name}: its type`);

    const asked = attic.requests.at(-1);
    t.equal(asked?.method, method, name);
    t.equal(asked?.path, path, name);
    t.ok(asked?.body.equals(body), `${name}: the body as it was sent`);
    for (const [key, value] of Object.entries(headers)) {
      t.equal(asked?.headers[key.toLowerCase()], value, `${name}: ${key}`);
    }
    if (!isChunked) t.equal(asked?.headers['content-length'], String(body.length), `${name}: with its length`);
  }
  t.equal(attic.requests.length, calls.length, 'each is asked once');
  await house.close();
});

t.test('200 MB go up without a copy that waits in memory', async (t) => {
  const { promise: mayRead, resolve: read } = Promise.withResolvers<void>();
  const upload = await startHeldUpload(t, mayRead, '{"kind":"Uploaded"}');
  const house = await startHouse(t, { 'nix.upstream': upload.url });
  let pulled = 0;
  function* counted() {
    for (const mib of mibs(200)) {
      pulled += mib.length;
      yield mib;
    }
  }
  const answered = put(`${house.nix}${UPLOAD}`, counted(), { headers: { 'X-Attic-Nar-Info': narInfo() } });
  await upload.headCame;
  // What the kernel buffers on two connections, and one piece here and there.
  await still(() => pulled);
  t.ok(pulled < 40 * MIB, `${pulled / MIB} MiB left the client while Attic reads nothing`);
  read();
  const { status, body } = await answered;
  t.equal(status, 200);
  t.equal(body.toString(), '{"kind":"Uploaded"}');
  const received = await upload.received;
  t.equal(received.bytes, 200 * MIB);
  t.equal(received.sha256, sha256(Buffer.concat([...mibs(200)])));
  t.equal(received.headers['transfer-encoding'], 'chunked');
  t.notOk('content-length' in received.headers);
  await house.close();
});

t.test('an early refusal of Attic reaches its client, whenever that reads', async (t) => {
  const upstream = await startUpstream({ caches: [{ name: 'lab' }] });
  t.teardown(() => upstream.close());
  const json = '{"code":401,"error":"Unauthorized","message":"Unauthorized."}';
  upstream.answer(UPLOAD, { content: json, method: 'PUT', status: 401 });
  upstream.script(UPLOAD, answersEarly());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const { promise: more, resolve: goOn } = Promise.withResolvers<void>();
  const body = (async function* () {
    yield Buffer.alloc(1000);
    await more;
  })();
  const early = await put(`${house.nix}${UPLOAD}`, body, { onHead: () => goOn() });
  t.equal(early.body.toString(), json, 'while the upload goes on');
  const late = await put(`${house.nix}${UPLOAD}`, mibs(32), { sendsAllFirst: true });
  // Attic's own word may be lost between it and us, as it is without us: it resets the connection under an upload.
  t.match(late.status, /^(401|502)$/, 'after all of it was sent');
  t.equal(JSON.parse(late.body.toString()).code, late.status);
  t.equal(late.sentBytes, 32 * MIB);
  await house.close();
});

t.test('a client that leaves in the middle takes its upload with it', async (t) => {
  const upstream = await startUpstream({ caches: [{ name: 'lab' }] });
  t.teardown(() => upstream.close());
  upstream.answer(UPLOAD, { content: '{}', method: 'PUT' });
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const leave = new AbortController();
  const left = new Promise((resolve) => leave.signal.addEventListener('abort', resolve));
  const body = (async function* () {
    yield seededBytes('left', 100_000);
    await left;
  })();
  const answered = put(`${house.nix}${UPLOAD}`, body, { signal: leave.signal });
  await until(() => upstream.requests[0]?.uploadedBytes === 100_000);
  leave.abort();
  t.equal((await answered).ended, 'aborted');
  await upstream.idle();
  t.equal(upstream.requests[0]?.ended, 'gone');
  await house.close();
});

t.test("Attic's endpoints become ours", async (t) => {
  const rows: ReadonlyArray<{
    readonly reason: string;
    readonly capture: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly api: string;
    readonly substituter: string;
  }> = [
    {
      reason: 'synthesised from the Host that Attic saw',
      capture: 'cache-config-synthesised',
      headers: { Host: 'cache.example.org:8501' },
      api: 'http://cache.example.org:8501/',
      substituter: 'http://cache.example.org:8501/lab',
    },
    {
      reason: 'the same for a client behind TLS',
      capture: 'cache-config-https',
      headers: { Host: 'cache.example.org', 'X-Forwarded-Proto': 'https' },
      api: 'https://cache.example.org/',
      substituter: 'https://cache.example.org/lab',
    },
    {
      reason: 'configured: else all pushes would go round the gate',
      capture: 'cache-config-configured',
      headers: { Host: 'Here.Example:1' },
      api: 'http://Here.Example:1/',
      substituter: 'http://Here.Example:1/lab',
    },
    {
      reason: "the alias below the cache's own path",
      capture: 'attic-cache-info',
      headers: { Host: 'here' },
      api: 'http://here/',
      substituter: 'http://here/lab',
    },
  ];
  for (const { reason, capture, headers, api, substituter } of rows) {
    const attic = await startAtticReplay(t, () => replayed(capture));
    const house = await startHouse(t, { 'nix.upstream': attic.url });
    const { body } = loadAtticWire(capture);
    for (const method of ['GET', 'HEAD']) {
      const got = await get(`${house.nix}${requestOf(capture).path}`, {
        method,
        headers: { ...headers, Authorization: 'bearer x' },
      });
      t.equal(got.status, 200, reason);
      t.equal(got.headers['content-type'], 'application/json', reason);
      if (method === 'HEAD') continue;
      const was = JSON.parse(body.toString());
      t.same(JSON.parse(got.body.toString()), { ...was, api_endpoint: api, substituter_endpoint: substituter }, reason);
    }
    t.equal(attic.requests[0]?.headers['authorization'], 'bearer x', 'the token goes through');
    await house.close();
    await attic.close();
  }
});

t.test("a failing Attic's status and JSON reach its client", async (t) => {
  const rows: ReadonlyArray<{ readonly code: number; readonly reason: string }> = [
    { code: 503, reason: 'the proxy library would ask eleven times' },
    { code: 500, reason: 'the store behind it is ill' },
    { code: 429, reason: 'a limit between' },
  ];
  for (const { code, reason } of rows) {
    const json = JSON.stringify({ code, error: 'Scripted', message: reason });
    const upstream = await startUpstream({ caches: [{ name: 'lab' }] });
    t.teardown(() => upstream.close());
    const house = await startHouse(t, { 'nix.upstream': upstream.origin });
    for (const [method, path] of [
      ['PUT', UPLOAD],
      ['POST', '/_api/v1/get-missing-paths'],
      ['POST', '/_api/v1/cache-config/lab'],
      ['PATCH', '/_api/v1/cache-config/lab'],
      ['DELETE', '/_api/v1/cache-config/lab'],
      ['GET', '/_api/v1/cache-config/lab'],
    ] as const) {
      upstream.answer(path, { content: '', method });
      upstream.script(path, status(code, json));
      const before = upstream.requests.length;
      const got = await get(`${house.nix}${path}`, { method, ...(method === 'GET' ? {} : { body: '{}' }) });
      t.equal(got.status, code, `${method} ${code}`);
      t.equal(got.body.toString(), json, `${method} ${code}: ${reason}`);
      t.equal(upstream.requests.length - before, 1, `${method} ${code} is asked once`);
    }
    await house.close();
  }
});

t.test('an Attic that gives no answer is a 502 in the shape that its client prints', async (t) => {
  const upstream = await startUpstream({ caches: [{ name: 'lab' }] });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const check = async (reason: string) => {
    for (const [method, path] of [
      ['PUT', UPLOAD],
      ['POST', '/_api/v1/get-missing-paths'],
      ['GET', '/_api/v1/cache-config/lab'],
    ] as const) {
      const got = await get(`${house.nix}${path}`, { method, ...(method === 'GET' ? {} : { body: '{}' }) });
      t.equal(got.status, 502, `${method}, ${reason}`);
      t.equal(got.headers['content-type'], 'application/json', reason);
      const { code, error, message } = JSON.parse(got.body.toString());
      t.same([code, error, typeof message], [502, 'UpstreamUnavailable', 'string'], reason);
    }
  };
  upstream.script(/./, closeWithoutHead());
  await check('closed without a head');
  upstream.script(/./, resetWithoutHead());
  await check('reset without a head');
  upstream.answer(UPLOAD, { content: '{}', method: 'PUT' });
  upstream.answer('/_api/v1/get-missing-paths', { content: '{}', method: 'POST' });
  upstream.answer('/_api/v1/cache-config/lab', { content: '{}' });
  upstream.script(/./, zeroBytes());
  await check('a head without its body');
  await upstream.refuse();
  await check('refused');
  await house.close();
});

t.test('Attic is asked as it wants to be', async (t) => {
  const attic = await startAtticReplay(t, () => answer(200, '{}'));
  const authority = `LOCALHOST:${attic.port}`;
  const house = await startHouse(t, { 'nix.upstream': `http://${authority}`, 'nix.prefix': '/Attic' });
  const asks: ReadonlyArray<readonly [method: string, path: string, options?: RequestOptions]> = [
    ['PUT', UPLOAD, { body: [Buffer.alloc(10)] }],
    ['POST', '/_api/v1/get-missing-paths?x=1', { body: '{}', headers: { 'Content-Type': 'application/json' } }],
    ['DELETE', '/_api/v1/cache-config/lab'],
    ['GET', '/_api/v1/cache-config/lab?y=2'],
    ['GET', `/lab/${'0'.repeat(32)}.narinfo`],
    ['PUT', '/lab/nar/x.nar', { body: 'nar' }],
  ];
  for (const [method, path, options] of asks) {
    const hop = {
      Connection: 'keep-alive, X-Hop',
      'Keep-Alive': 'timeout=5',
      'X-Hop': 'mine',
      TE: 'trailers',
      'Proxy-Authorization': 'Basic eDp5',
    };
    await get(`${house.nix}${path}`, { method, ...options, headers: { ...options?.headers, ...hop } });
    const asked = attic.requests.at(-1);
    t.equal(asked?.path, `/Attic${path}`, 'below the prefix, query and all');
    t.equal(
      asked?.headers['host'],
      authority,
      `${method} ${path}: Host in the letters and with the port that were configured`,
    );
    for (const name of ['x-hop', 'keep-alive', 'te', 'proxy-authorization', 'upgrade']) {
      t.notOk(name in (asked?.headers ?? {}), `${method} ${path}: ${name} is of this hop alone`);
    }
    if (path.startsWith('/_api/'))
      t.equal(asked?.headers['x-forwarded-proto'], 'http', `${method} ${path}: X-Forwarded-Proto`);
  }
  await get(`${house.nix}${UPLOAD}`, { method: 'PUT', body: 'x', headers: { 'X-Forwarded-Proto': 'https' } });
  t.equal(attic.requests.at(-1)?.headers['x-forwarded-proto'], 'https', 'what a proxy before us says stays said');
  await house.close();
});

t.test('what an answer must not carry stays here', async (t) => {
  const upstream = await startUpstream({ caches: [{ name: 'lab' }] });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const json = '{"missing_paths":[]}';
  const paths = [
    ['POST', '/_api/v1/get-missing-paths'],
    ['PUT', '/lab/nar/x.nar'],
    ['GET', '/_api/v1/other'],
    ['GET', `/lab/${'0'.repeat(32)}.ls`],
    ['GET', '/lab/log/abc.drv'],
  ] as const;
  for (const [method, path] of paths) {
    upstream.answer(path, { content: json, method });
    upstream.script(
      path,
      withHeader('Set-Cookie', 'session=secret'),
      withHeader('ETag', ''),
      withHeader('Connection', 'X-Hop'),
      withHeader('X-Hop', 'theirs'),
      withHeader('Keep-Alive', 'timeout=1'),
      withHeader('Proxy-Authenticate', 'Basic'),
      withHeader('Trailer', 'X-Sum'),
      withHeader('Upgrade', 'h2c'),
    );
    const got = await get(`${house.nix}${path}`, { method, ...(method === 'GET' ? {} : { body: '{}' }) });
    t.equal(got.body.toString(), json, `${method} ${path}`);
    for (const name of ['set-cookie', 'etag', 'x-hop', 'proxy-authenticate', 'trailer', 'upgrade']) {
      t.notOk(name in got.headers, `${method} ${path}: ${name}`);
    }
    t.notMatch(got.headers['connection'] ?? '', /hop/i, path);
    t.not(got.headers['keep-alive'], 'timeout=1', path);
  }
  await house.close();
});

t.test('a Content-Encoding is undone on every way', async (t) => {
  const upstream = await startUpstream({ caches: [{ name: 'lab' }] });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const json = JSON.stringify({ missing_paths: ['v1z7bs0mmfzcnjpsc19z3gdhmdari6nl'] });
  for (const [method, path] of [
    ['POST', '/_api/v1/get-missing-paths'],
    ['PUT', UPLOAD],
    ['PUT', '/lab/nar/x.nar'],
    ['GET', '/_api/v1/cache-config/lab'],
    ['GET', '/lab/log/abc.drv'],
  ] as const) {
    upstream.answer(path, { content: json, method });
    const gzipped = gzipSync(json);
    upstream.script(path, withHeader('Content-Encoding', 'gzip'), (plan) => ({
      ...plan,
      content: {
        ...plan.content,
        sizeBytes: gzipped.length,
        read: async function* () {
          yield gzipped;
        },
      },
    }));
    const headers = { 'Accept-Encoding': 'gzip, br' };
    const got = await get(`${house.nix}${path}`, { method, headers, ...(method === 'GET' ? {} : { body: '{}' }) });
    t.equal(got.status, 200, `${method} ${path}`);
    t.ok(got.complete, `${method} ${path}: complete`);
    t.notOk('content-encoding' in got.headers, `${method} ${path}`);
    t.equal(got.body.toString(), json, `${method} ${path}: in plain`);
  }
  await house.close();
});

t.test('a body that waits for 100 Continue is invited once', async (t) => {
  const attic = await startAtticReplay(t, () => answer(200, '{}'));
  const house = await startHouse(t, { 'nix.upstream': attic.url });
  for (const [method, path] of [
    ['PUT', UPLOAD],
    ['POST', '/_api/v1/get-missing-paths'],
    ['PUT', '/lab/log/x.drv'],
  ] as const) {
    const headers = { 'Content-Type': path.includes('log') ? 'text/plain; charset=utf-8' : 'application/json' };
    const got = await get(`${house.nix}${path}`, {
      method,
      headers,
      body: 'the body',
      expectContinue: true,
      timeoutMs: 3000,
    });
    t.equal(got.status, 200, path);
    t.same(got.interim, [100], path);
    t.equal(attic.requests.at(-1)?.body.toString(), 'the body', path);
    t.notOk('expect' in (attic.requests.at(-1)?.headers ?? {}), 'and the upstream is not asked to invite again');
  }
  await house.close();
});

t.test("Nix's PUTs reach an upstream that takes them", async (t) => {
  const upstream = await startUpstream({ acceptsUploads: true });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const rows: ReadonlyArray<{ readonly path: string; readonly type: string; readonly body: Buffer }> = [
    { path: '/nar/0a.nar.xz', type: 'application/x-nix-nar', body: seededBytes('nar', 3 * MIB) },
    { path: `/${'0'.repeat(32)}.narinfo`, type: 'text/x-nix-narinfo', body: Buffer.from('StorePath: x\n') },
    { path: `/${'0'.repeat(32)}.ls`, type: 'application/json', body: Buffer.from('{ "version": 1 }') },
    { path: '/log/abc.drv', type: 'text/plain; charset=utf-8', body: seededBytes('log', 2 * MIB) },
    { path: '/nix-cache-info', type: 'text/x-nix-cache-info', body: Buffer.from('StoreDir: /nix/store\n') },
    { path: '/empty.ls', type: 'text/plain', body: Buffer.alloc(0) },
    { path: '/untyped', type: '', body: seededBytes('untyped', 1000) },
  ];
  for (const { path, type, body } of rows) {
    const { status: code } = await put(`${house.nix}${path}`, body, {
      headers: type === '' ? {} : { 'Content-Type': type },
    });
    t.equal(code, 201, path);
    const asked = upstream.requests.at(-1);
    t.ok(asked?.uploaded.equals(body), `${path}: byte for byte`);
    t.equal(asked?.headers['content-type'] ?? '', type, path);
    t.equal(asked?.headers['content-length'], String(body.length), path);
    t.equal(asked?.version, '1.1', `${path}: in the one version of HTTP that Attic speaks well`);
  }
  await house.close();
});

t.test('a PUT that the upstream fails is a 403 with a text: a 5xx makes Nix send it five times', async (t) => {
  const upstream = await startUpstream({ acceptsUploads: true });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  const check = async (reason: string) => {
    const got = await put(`${house.nix}/nar/0a.nar.xz`, seededBytes('nar', 100_000));
    t.equal(got.status, 403, reason);
    t.ok(got.complete, reason);
    t.match(got.headers['content-type'], /^text\/plain/, reason);
    t.match(got.body.toString(), /\w.*\.\n$/, `${reason}: ${got.body}`);
    t.notOk('retry-after' in got.headers, reason);
  };
  for (const code of [408, 429, 500, 502, 503, 504]) {
    upstream.script(/./, status(code, 'do not print this'), withHeader('Retry-After', '5'));
    const before = upstream.requests.length;
    await check(String(code));
    t.equal(upstream.requests.length - before, 1, `${code}: asked once`);
  }
  upstream.script(/./, closeWithoutHead());
  await check('closed without a head');
  await upstream.refuse();
  await check('refused');
  await house.close();
});

// The gate.

const refusals: ReadonlyArray<{ readonly decision: Decision & { readonly allow: false }; readonly apiStatus: number }> =
  [
    {
      decision: {
        allow: false,
        by: 'health',
        reason: 'INDEX_LOST',
        sentence: 'Uploads are paused: the bucket index is ill.',
        retryAfterSeconds: 45,
      },
      apiStatus: 503,
    },
    {
      decision: {
        allow: false,
        by: 'quarantine',
        reason: 'maintenance',
        sentence: 'Uploads are paused by the operator: maintenance.',
      },
      apiStatus: 403,
    },
  ];

const closedGate = (decision: Decision): { readonly gate: Gate; readonly writes: Write[] } => {
  const writes: Write[] = [];
  const gate: Gate = {
    decide: (write) => {
      writes.push(write);
      return Promise.resolve(decision);
    },
  };
  return { gate, writes };
};

/** `tenant` is what a quarantine's scope `cache:<name>` names. */
const writes: ReadonlyArray<{
  readonly method: string;
  readonly path: string;
  readonly tenant: string | null;
  readonly isApi: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}> = [
  { method: 'PUT', path: UPLOAD, tenant: 'lab', isApi: true, headers: { 'X-Attic-Nar-Info': narInfo() } },
  // Its body says whose it is: a preamble, where the header is left out. So does one that came twice.
  { method: 'PUT', path: UPLOAD, tenant: null, isApi: true, headers: { 'X-Attic-Nar-Info-Preamble-Size': '100' } },
  {
    method: 'PUT',
    path: UPLOAD,
    tenant: null,
    isApi: true,
    headers: { 'X-Attic-Nar-Info': `${narInfo()}, ${narInfo()}` },
  },
  { method: 'POST', path: '/_api/v1/cache-config/lab', tenant: 'lab', isApi: true },
  { method: 'PATCH', path: '/_api/v1/cache-config/lab', tenant: 'lab', isApi: true },
  { method: 'DELETE', path: '/_api/v1/cache-config/lab', tenant: 'lab', isApi: true },
  { method: 'PUT', path: '/lab/nar/x.nar.xz', tenant: 'lab', isApi: false },
  { method: 'PUT', path: `/lab/${'0'.repeat(32)}.narinfo`, tenant: 'lab', isApi: false },
  {
    method: 'PUT',
    path: '/lab/log/abc.drv',
    tenant: 'lab',
    isApi: false,
    headers: { 'Content-Type': 'text/plain; charset=utf-8' },
  },
  { method: 'PUT', path: '/lab/nix-cache-info', tenant: 'lab', isApi: false },
  { method: 'POST', path: '/lab/any/thing', tenant: 'lab', isApi: false },
  { method: 'DELETE', path: '/lab/nar/x.nar.xz', tenant: 'lab', isApi: false },
];

for (const { decision, apiStatus } of refusals) {
  t.test(`a write that the gate refuses by ${decision.by} goes nowhere`, { buffered: true }, async (t) => {
    const upstream = await startUpstream({ acceptsUploads: true });
    t.teardown(() => upstream.close());
    for (const flags of [{ 'nix.upstream': upstream.origin }, {}]) {
      const { gate, writes: asked } = closedGate(decision);
      const house = await startHouse(t, flags, { gate });
      for (const { method, path, tenant, isApi, headers = {} } of writes) {
        for (const expectContinue of [false, true]) {
          const reason = `${method} ${path}${expectContinue ? ' with Expect' : ''}`;
          const got = await get(`${house.nix}${path}`, {
            method,
            headers,
            body: seededBytes('refused', 200_000),
            expectContinue,
            sendsAllFirst: !expectContinue,
          });
          t.equal(got.status, isApi ? apiStatus : 403, reason);
          t.ok(got.complete, reason);
          if (isApi) {
            t.equal(got.headers['content-type'], 'application/json', reason);
            const json = { code: apiStatus, error: 'CacheReadOnly', message: decision.sentence };
            t.equal(got.body.toString(), JSON.stringify(json), reason);
            t.equal(got.headers['retry-after'], decision.by === 'health' ? '45' : undefined, reason);
          } else {
            t.equal(got.headers['content-type'], 'text/plain', reason);
            t.equal(got.body.toString(), `${decision.sentence}\n`, reason);
            t.notOk('retry-after' in got.headers, reason);
          }
          if (expectContinue) {
            t.same(got.interim, [], `${reason}: nobody is invited`);
            t.equal(got.sentBytes, 0, reason);
          } else {
            t.equal(got.sentBytes, 200_000, `${reason}: drained`);
          }
          const write = asked.at(-1);
          t.equal(write?.tenant, tenant, reason);
          t.equal(write?.front, 'nix', reason);
        }
      }
      t.equal(asked.length, 2 * writes.length, 'the gate is asked once a write');
      const metrics = (await get(`${house.admin}/metrics`)).body.toString();
      t.match(
        metrics,
        new RegExp(`cleanmiss_writes_refused_total\\{front="nix",reason="${decision.by}"\\} ${asked.length}`),
      );
      await house.close();
    }
    t.equal(upstream.requests.length, 0, 'the upstream sees nothing of it');
    t.equal(upstream.connections, 0, 'not even a connection');
  });
}

t.test('a write is not led round the gate by a redirect', async (t) => {
  const upstream = await startUpstream({ acceptsUploads: true });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin });
  for (const code of [301, 302, 303, 307, 308]) {
    upstream.script(/./, status(code), withHeader('Location', `${upstream.origin}/elsewhere`));
    for (const [path, expected] of [
      ['/nar/0a.nar.xz', 403],
      [UPLOAD, 502],
    ] as const) {
      const got = await put(`${house.nix}${path}`, seededBytes('nar', 100_000));
      t.equal(got.status, expected, `${code} ${path}`);
      t.notOk('location' in got.headers, `${code} ${path}`);
    }
  }
  await house.close();
});

t.test('reads and questions pass a closed gate', async (t) => {
  const attic = await startAtticReplay(t, (method) =>
    method === 'POST' ? 'get-missing-paths' : 'cache-config-synthesised',
  );
  const { gate, writes: asked } = closedGate({ allow: false, by: 'quarantine', reason: 'x', sentence: 'x' });
  const house = await startHouse(t, { 'nix.upstream': attic.url }, { gate });
  const missing = await get(`${house.nix}/_api/v1/get-missing-paths`, { method: 'POST', body: '{}' });
  t.equal(missing.status, 200, 'attic watch-store dies when this is refused');
  t.ok(missing.body.equals(loadAtticWire('get-missing-paths').body));
  t.equal((await get(`${house.nix}/_api/v1/cache-config/lab`)).status, 200);
  t.equal(asked.length, 0);
  await house.close();
});

t.test('a client that sends everything first reads the refusal, up to 64 MiB', async (t) => {
  const { gate } = closedGate({ allow: false, by: 'health', reason: 'x', sentence: 'No.' });
  const house = await startHouse(t, {}, { gate });
  const whole = await put(`${house.nix}${UPLOAD}`, mibs(63), { sendsAllFirst: true });
  t.equal(whole.status, 503);
  t.ok(whole.complete);
  t.equal(whole.sentBytes, 63 * MIB);
  const endless = await put(`${house.nix}${UPLOAD}`, mibs(1000), { sendsAllFirst: true });
  t.ok(endless.sentBytes < 200 * MIB, `no more than that is read, and ${endless.sentBytes / MIB} MiB were sent`);
  await house.close();
});

t.test('a refused client that stops in the middle is dropped after ten seconds', async (t) => {
  const { gate } = closedGate({ allow: false, by: 'health', reason: 'x', sentence: 'No.' });
  const house = await startHouse(t, {}, { gate, clock: fastClock(20) });
  const head = `PUT ${UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n`;
  const { answers, ended } = await sendRaw(house.nix, `${head}and no more`, { firstMs: 10_000, quietMs: 10_000 });
  t.same(
    answers.map(({ status }) => status),
    [503],
  );
  t.not(ended, 'open');
  await house.close();
});

t.test('a write is held while the gate makes up its mind, and let go when its client leaves', async (t) => {
  const upstream = await startUpstream({ acceptsUploads: true });
  t.teardown(() => upstream.close());
  const { promise: decided, resolve: decide } = Promise.withResolvers<Decision>();
  const signals: AbortSignal[] = [];
  const gate: Gate = {
    decide: (_write, signal) => {
      if (signal) signals.push(signal);
      return Promise.race([
        decided,
        new Promise<Decision>((resolve) => signal?.addEventListener('abort', () => resolve({ allow: true }))),
      ]);
    },
  };
  const house = await startHouse(t, { 'nix.upstream': upstream.origin }, { gate });
  const leave = new AbortController();
  const left = put(`${house.nix}/nar/a.nar`, 'left', { signal: leave.signal });
  const kept = put(`${house.nix}/nar/b.nar`, 'kept');
  await until(() => signals.length === 2);
  leave.abort();
  t.equal((await left).ended, 'aborted');
  await until(() => signals.some(({ aborted }) => aborted));
  decide({ allow: true });
  t.equal((await kept).status, 201);
  t.same(
    upstream.requests.map(({ path }) => path),
    ['/nar/b.nar'],
    'what nobody waits for is not sent on',
  );
  await house.close();
});
