// Admin: what it answers, in which shape, and whom it refuses.

import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { Metrics } from '../../../src/admin/metrics.ts';
import { type AdminParts, adminServer } from '../../../src/admin/server.ts';
import type { Readings } from '../../../src/admin/status.ts';
import { systemClock } from '../../../src/core/clock.ts';

const readings: Readings = {
  store: { bytes: 5, maxBytes: 10, objects: 2 },
  fillsActive: 3,
  spoolBytes: 7,
  suspects: { open: 1, held: 4 },
  breakers: { nix: 'open' },
  redirectsRefused: [{ host: 's3.example:443', count: 2 }],
};

const clock = { ...systemClock, now: () => Date.UTC(2026, 4, 1) };

const open = async (t: Test, over: Partial<AdminParts> = {}) => {
  const metrics = over.metrics ?? new Metrics(['nix']);
  const logged: object[] = [];
  const admin = adminServer({
    clock,
    listen: { host: '127.0.0.1', port: 0 },
    metrics,
    readings: () => readings,
    log: { error: (fields) => void logged.push(fields) },
    ...over,
  });
  t.teardown(() => admin.app.close());
  const address = await admin.app.listen({ host: over.listen?.host ?? '127.0.0.1', port: 0 });
  const ask = async (path: string, headers: Record<string, string> = {}, method = 'GET') => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    request(`${address}${path}`, { headers, method, agent: false }, resolve).on('error', reject).end();
    const response = await promise;
    return { status: response.statusCode, type: response.headers['content-type'], body: await text(response) };
  };
  return { ...admin, address, ask, metrics, logged };
};

t.test('probes', async (t) => {
  const { ask, drain } = await open(t);
  t.match(await ask('/livez'), { status: 200, body: 'live\n' });
  t.match(await ask('/readyz'), { status: 200, body: 'ready\n' });
  t.match(await ask('/livez', {}, 'HEAD'), { status: 200, body: '' });
  drain();
  t.match(await ask('/readyz'), { status: 503, type: /^application\/problem\+json/ });
  t.match(await ask('/livez'), { status: 200 }, 'draining is no reason to be killed');
});

t.test('status', async (t) => {
  const { ask } = await open(t);
  const { status, type, body } = await ask('/v1/status');
  t.equal(status, 200);
  t.match(type, /^application\/json/);
  t.strictSame(JSON.parse(body), {
    health: { state: 'unknown', class: null, since: '2026-05-01T00:00:00.000Z', watched: false },
    gate: { nix: { writes: 'allowed', reason: null }, bazel: { writes: 'allowed', reason: null } },
    quarantine: [],
    incident: null,
    suspects: { open: 1, held: 4 },
    store: { bytes: 5, maxBytes: 10, objects: 2 },
    fills: { active: 3 },
    audit: { head: null },
    upstream: { breaker: 'open' },
    breakers: { nix: 'open' },
    redirectsRefused: [{ host: 's3.example:443', count: 2 }],
  });
});

t.test('metrics', async (t) => {
  const { ask, metrics } = await open(t);
  metrics.request('nix', 'hit');
  const { status, type, body } = await ask('/metrics');
  t.equal(status, 200);
  t.match(type, /^text\/plain; version=0\.0\.4/);
  t.match(body, 'cleanmiss_requests_total{front="nix",result="hit"} 1\n');
  t.match(body, 'cleanmiss_store_bytes 5\n');
});

t.test('errors are problems', async (t) => {
  const { ask, logged } = await open(t, {
    readings: () => {
      throw new Error('hunter2');
    },
  });
  const rows = [
    { reason: 'unknown route', path: '/v2/status', method: 'GET', status: 404 },
    { reason: 'unknown method', path: '/v1/status', method: 'PUT', status: 404 },
    { reason: 'unreadable URL', path: '/%zz', method: 'GET', status: 400 },
    { reason: 'our own fault', path: '/v1/status', method: 'GET', status: 500 },
  ];
  for (const { reason, path, method, status } of rows) {
    const answer = await ask(path, {}, method);
    t.match(answer, { status, type: /^application\/problem\+json/ }, reason);
    t.match(JSON.parse(answer.body), { type: 'about:blank', title: String, status, detail: String }, reason);
    t.notMatch(answer.body, 'hunter2', `${reason}: the cause is for the log`);
  }
  t.match(logged, [{ err: { message: 'hunter2' } }], 'and only ours is worth a line');
  t.equal(logged.length, 1);
});

t.test('what is no HTTP at all', async (t) => {
  const { address } = await open(t);
  const socket = connect(Number(new URL(address).port), '127.0.0.1');
  socket.write('hello\r\n\r\n');
  t.match(await text(socket), /^HTTP\/1\.1 400 Bad Request\r\n.*application\/problem\+json.*"status":400/s);
});

t.test('pages of others', async (t) => {
  const { address, ask } = await open(t);
  const { host, port } = new URL(address);
  const rows: { reason: string; headers: Record<string, string>; status: number }[] = [
    { reason: 'its address', headers: { host }, status: 200 },
    { reason: 'localhost', headers: { host: `localhost:${port}` }, status: 200 },
    { reason: 'letter case', headers: { host: `LocalHost:${port}` }, status: 200 },
    { reason: 'IPv6', headers: { host: `[::1]:${port}` }, status: 200 },
    { reason: "another's address, which no DNS answer can forge", headers: { host: '10.0.0.1' }, status: 200 },
    { reason: 'a rebound name', headers: { host: `evil.example:${port}` }, status: 403 },
    { reason: 'a name that begins well', headers: { host: 'localhost.evil.example' }, status: 403 },
    { reason: 'a name that begins like an address', headers: { host: '127.0.0.1.evil.example' }, status: 403 },
    { reason: 'no host at all', headers: { host: 'a b' }, status: 403 },
    { reason: 'our own page', headers: { host, origin: `http://${host}` }, status: 200 },
    { reason: "another's page", headers: { host, origin: 'http://evil.example' }, status: 403 },
    { reason: 'another port is another origin', headers: { host, origin: 'http://127.0.0.1:1' }, status: 403 },
    { reason: 'a page from nowhere', headers: { host, origin: 'null' }, status: 403 },
  ];
  for (const { reason, headers, status } of rows) {
    t.match(await ask('/v1/status', headers), { status }, reason);
    t.match(await ask('/livez', headers), { status }, `${reason}: probes too`);
  }
});

t.test('where it listens to the network, it cannot know its names', async (t) => {
  const { ask } = await open(t, { listen: { host: '0.0.0.0', port: 0 } });
  t.match(await ask('/livez', { host: 'cleanmiss.nix-cache.svc:9501' }), { status: 200 });
  t.match(await ask('/livez', { host: 'cleanmiss', origin: 'http://evil.example' }), { status: 403 });
});
