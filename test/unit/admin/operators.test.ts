// What operators do over the admin API: quarantines, incidents, the audit log, probes, events.

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import t from 'tap';
import { readEvents } from '../../../src/admin/event-stream.ts';
import { adminRig } from '../../support/admin-rig.ts';

const put = (reason: string, more: object = {}) => ({ method: 'PUT', body: { reason, ...more } });

t.test('a quarantine, from on to off', async (t) => {
  const { ask, guard, clock } = await adminRig(t);
  t.match(await ask('/v1/quarantine/nix'), { status: 404, json: { detail: /no quarantine of nix/ } });
  const set = await ask('/v1/quarantine/nix', put('drill', { ticket: 'T-1', expires: '4h' }));
  t.match(set, {
    status: 201,
    etag: /^"g\d+"$/,
    json: {
      scope: 'nix',
      reason: 'drill',
      ticket: 'T-1',
      by: 'loopback',
      since: '2026-05-01T00:00:00.000Z',
      expires: '2026-05-01T04:00:00.000Z',
    },
  });
  t.match(await guard.gate.decide({ front: 'nix', tenant: 'x', operation: 'PUT' }), { allow: false, reason: 'drill' });
  const seen = await ask('/v1/quarantine/nix');
  t.match(seen, { status: 200, etag: set.etag, json: set.json });
  t.match((await ask('/v1/quarantine')).json, { quarantine: [{ scope: 'nix' }], trouble: null });
  t.match((await ask('/v1/status')).json, {
    gate: { nix: { writes: 'refused', reason: 'drill' }, bazel: { writes: 'allowed', reason: null } },
    quarantine: [{ scope: 'nix', reason: 'drill', by: 'loopback', expires: '2026-05-01T04:00:00.000Z' }],
    audit: { head: /^[0-9a-f]{64}$/ },
  });
  t.match(await ask('/metrics'), { text: 'cleanmiss_quarantines_active 1\n' });

  const lift = (headers = {}) => ask('/v1/quarantine/nix', { method: 'DELETE', headers });
  t.match(await lift(), { status: 428 });
  for (const tag of ['*', '"g1"', `W/${set.etag}`, `${set.etag}, "x"`]) {
    t.match(await lift({ 'if-match': tag }), { status: 412 }, `If-Match: ${tag} lifts nothing`);
  }
  t.match(await lift({ 'if-match': set.etag }), {
    status: 200,
    json: { scope: 'nix', liftedAt: new Date(clock.now()).toISOString() },
  });
  t.match(await lift({ 'if-match': set.etag }), { status: 404 });
  t.strictSame((await ask('/v1/status')).json.quarantine, []);
});

t.test('tightening needs nothing, loosening what was seen', async (t) => {
  const { ask } = await adminRig(t);
  const path = '/v1/quarantine/global';
  const first = await ask(path, put('one', { expires: '2h' }));
  t.match(await ask(path, put('one', { expires: '2h' })), { status: 200, etag: first.etag }, 'the same again');
  t.match(await ask(path, put('two', { expires: '1h' })), { status: 428 });
  t.match(await ask(path, { ...put('two', { expires: '1h' }), headers: { 'if-match': '*' } }), { status: 428 });
  const longer = await ask(path, { ...put('two'), headers: { 'if-match': '*' } });
  t.match(longer, { status: 200, json: { expires: null } });
  t.match(await ask(path, { ...put('three'), headers: { 'if-match': first.etag } }), { status: 412 });
  t.match(await ask(path, { ...put('three'), headers: { 'if-none-match': '*' } }), { status: 412 });
  const shorter = await ask(path, {
    ...put('two', { expires: '2026-05-01T03:00:00+01:00' }),
    headers: { 'if-match': longer.etag },
  });
  t.match(shorter, { status: 200, json: { expires: '2026-05-01T02:00:00.000Z' } });
});

t.test('what is no quarantine', async (t) => {
  const { ask, guard } = await adminRig(t);
  const rows = [
    { reason: 'no such scope', path: '/v1/quarantine/all', send: put('x'), status: 404 },
    { reason: 'no cache', path: '/v1/quarantine/cache:a%2Fb', send: put('x'), status: 404 },
    { reason: 'no reason', path: '/v1/quarantine/nix', send: { method: 'PUT', body: {} }, status: 400 },
    { reason: 'an empty reason', path: '/v1/quarantine/nix', send: put(' '), status: 400 },
    { reason: 'two lines', path: '/v1/quarantine/nix', send: put('a\nb'), status: 400 },
    { reason: 'a long reason', path: '/v1/quarantine/nix', send: put('x'.repeat(501)), status: 400 },
    { reason: 'a misspelled field', path: '/v1/quarantine/nix', send: put('x', { expire: '1h' }), status: 400 },
    {
      reason: 'the past',
      path: '/v1/quarantine/nix',
      send: put('x', { expires: '2026-04-30T00:00:00Z' }),
      status: 400,
    },
    { reason: 'no zone', path: '/v1/quarantine/nix', send: put('x', { expires: '2026-05-02T00:00:00' }), status: 400 },
    { reason: 'no duration', path: '/v1/quarantine/nix', send: put('x', { expires: 'soon' }), status: 400 },
    { reason: 'a number', path: '/v1/quarantine/nix', send: put('x', { expires: 5 }), status: 400 },
    { reason: 'for good, nearly', path: '/v1/quarantine/nix', send: put('x', { expires: '999d' }), status: 400 },
    { reason: 'no JSON', path: '/v1/quarantine/nix', send: { method: 'PUT', body: 'hello' }, status: 400 },
    { reason: 'a list', path: '/v1/quarantine/nix', send: { method: 'PUT', body: '[]' }, status: 400 },
    {
      reason: 'another type',
      path: '/v1/quarantine/nix',
      send: { ...put('x'), headers: { 'content-type': 'text/plain' } },
      status: 415,
    },
    { reason: 'the list itself', path: '/v1/quarantine', send: put('x'), status: 404 },
  ];
  for (const { reason, path, send, status } of rows) {
    t.match(await ask(path, send), { status, headers: { 'content-type': /problem\+json/ } }, reason);
  }
  t.strictSame(guard.quarantine.orders, []);
});

t.test('a disk that takes nothing', async (t) => {
  const { ask, disk } = await adminRig(t);
  const { etag } = await ask('/v1/quarantine/nix', put('drill'));
  disk.isBroken = true;
  const lift = () => ask('/v1/quarantine/nix', { method: 'DELETE', headers: { 'if-match': etag } });
  t.match(await lift(), { status: 503, json: { detail: /all is as before/ } });
  t.match(await ask('/v1/quarantine/bazel', put('now')), { status: 202 });
  t.match((await ask('/v1/quarantine')).json, {
    quarantine: [{ scope: 'nix' }, { scope: 'bazel' }],
    trouble: 'state-unwritable',
  });
});

t.test('a corrupt file', async (t) => {
  const dir = t.testdir({ 'quarantine.json': '{"version":1' });
  const { ask, guard } = await adminRig(t, { dir });
  t.match((await ask('/v1/status')).json, { gate: { nix: { writes: 'refused', reason: 'state-corrupt' } } });
  t.match(await ask('/v1/quarantine/nix?assumeClear=true', { method: 'DELETE' }), { status: 400 });
  t.match(await ask('/v1/quarantine/global?assumeClear=true', { method: 'DELETE', body: { reason: 'I looked' } }), {
    status: 200,
  });
  t.match((await ask('/v1/status')).json, { gate: { nix: { writes: 'allowed', reason: null } } });
  t.match(await guard.audit.rows(0, 9), [{ action: 'quarantine.assume-clear', text: 'I looked' }]);
});

t.test('an incident, from red to ack', async (t) => {
  const { ask, rounds, guard } = await adminRig(t, { isWatched: true });
  t.match((await ask('/v1/status')).json, {
    health: { state: 'unknown', class: null, watched: true },
    gate: { nix: { writes: 'refused', reason: 'UNKNOWN' } },
    incident: null,
  });
  t.match(await ask('/storez'), { status: 503, json: { detail: 'not known to be well' } });
  await rounds('OK', 1);
  t.match(await ask('/storez'), { status: 200, text: 'well\n' });
  await rounds('INDEX_LOST', 2);
  const { json: status } = await ask('/v1/status');
  const id = status.incident?.id;
  t.match(status, {
    health: { state: 'red', class: 'INDEX_LOST' },
    gate: { nix: { writes: 'refused', reason: 'INDEX_LOST' }, bazel: { writes: 'refused', reason: 'INDEX_LOST' } },
    incident: { id: String, class: 'INDEX_LOST', openedAt: String, recoveredAt: null, ackedAt: null },
  });
  t.match(await ask('/storez'), { status: 503 });
  t.match(await ask('/readyz'), { status: 200 }, 'reads go on');
  t.match(await ask('/metrics'), { text: /cleanmiss_health_state\{state="red"\} 1\n/ });
  t.match(await ask('/metrics'), { text: /cleanmiss_health_state\{state="green"\} 0\n/ });

  await guard.gate.decide({ front: 'nix', tenant: 'main', operation: 'PUT narinfo', subject: 'abc.narinfo' });
  const ack = (id: string, body: object = { note: 'relinked' }) =>
    ask(`/v1/incidents/${id}/ack`, { method: 'POST', body });
  t.match(await ack(id), { status: 409, json: { detail: /has not recovered/ } });
  await rounds('OK', 8);
  t.match((await ask('/v1/status')).json, { health: { state: 'latched' }, incident: { recoveredAt: String } });
  t.match(await ack('1-other'), { status: 409, json: { detail: id } });
  t.match(await ack(id, {}), { status: 400 });
  t.match((await ask('/v1/status')).json, { health: { state: 'latched' } });
  t.match(await ack(id), { status: 200, json: { id, acked: true, inForce: true } });
  t.match((await ask('/v1/status')).json, {
    health: { state: 'green' },
    incident: null,
    gate: { nix: { writes: 'allowed' } },
  });
  t.match(await ack(id), { status: 409 });

  t.match((await ask('/v1/incidents')).json, { incidents: [{ id, ackedBy: 'loopback', ackNote: 'relinked' }] });
  t.match((await ask(`/v1/incidents/${id}`)).json, {
    id,
    class: 'INDEX_LOST',
    evidence: [{ operation: 'ListBuckets', class: 'OK', at: String }, { class: 'INDEX_LOST' }],
    refused: [{ front: 'nix', subject: 'abc.narinfo' }],
    refusedTotal: 1,
  });
  t.match(await ask('/v1/incidents/none'), { status: 404 });
  t.match(
    (await ask('/v1/audit')).json.rows.map(({ action, by }: { action: string; by: string }) => `${action} ${by}`),
    [
      'incident.opened cleanmiss',
      'incident.recovered cleanmiss',
      'incident.acked loopback',
      'incident.closed cleanmiss',
    ],
  );
});

t.test('where nobody watches, there is nothing to ack or to probe', async (t) => {
  const { ask } = await adminRig(t);
  t.match(await ask('/v1/incidents/x/ack', { method: 'POST', body: { note: 'x' } }), { status: 409 });
  t.match(await ask('/v1/probe', { method: 'POST' }), { status: 409 });
  t.match(await ask('/storez'), { status: 200 });
  t.strictSame((await ask('/v1/incidents')).json, { incidents: [] });
  t.strictSame((await ask('/v1/suspects')).json, { suspects: [] });
});

t.test('a probe now', async (t) => {
  const { ask } = await adminRig(t, { isWatched: true });
  t.match(await ask('/v1/probe', { method: 'POST' }), { status: 200, json: { health: { state: 'green' } } });
});

t.test('suspects', async (t) => {
  const suspect = {
    id: 's',
    tenant: 'main',
    path: 'nar/x',
    sha256: 'ab',
    sizeBytes: 1,
    encoding: 'zstd',
    reason: 'hash',
    since: 'now',
  };
  const { ask } = await adminRig(t, { suspects: (limit) => Array.from({ length: limit }, () => suspect) });
  const { json } = await ask('/v1/suspects');
  t.equal(json.suspects.length, 1_000);
  t.strictSame(json.suspects[0], suspect);
});

t.test('the audit log, page by page', async (t) => {
  const { ask, guard } = await adminRig(t);
  for (const scope of ['nix', 'bazel', 'global']) await ask(`/v1/quarantine/${scope}`, put('drill'));
  const seqs = async (query: string) =>
    (await ask(`/v1/audit${query}`)).json.rows.map(({ seq }: { seq: number }) => seq);
  t.strictSame(await seqs(''), [1, 2, 3]);
  t.strictSame(await seqs('?after=1&limit=1'), [2]);
  t.equal((await ask('/v1/audit')).json.head, guard.audit.head);
  for (const query of ['?limit=0', '?after=-1', '?limit=x'])
    t.match(await ask(`/v1/audit${query}`), { status: 400 }, query);
});

t.test('events', async (t) => {
  const { url, guard, clock, admin } = await adminRig(t);
  const sent = request(`${url}/v1/events`, { agent: false }).end();
  const [response] = await once(sent, 'response');
  t.match(response.headers, { 'content-type': /^text\/event-stream/, 'cache-control': 'no-store' });
  const events = readEvents(response);
  t.match((await events.next()).value, { quarantine: [] });
  await guard.quarantine.on('nix', { reason: 'drill', ticket: null, expires: null }, { by: 'me', seen: null });
  await clock.advance(100);
  t.match((await events.next()).value, { quarantine: [{ scope: 'nix' }] }, 'a change is told');
  await clock.advance(10_000);
  t.match((await events.next()).value, { quarantine: [{ scope: 'nix' }] }, 'and now and then without one');
  const ended = events.next().catch(() => ({ done: true }));
  await admin.app.close();
  t.match(await ended, { done: true }, 'a stop ends them');
  t.equal(clock.armed, 0);
});

t.test('no more than 32 watch', async (t) => {
  const { url, ask, clock } = await adminRig(t);
  const watchers = await Promise.all(
    Array.from({ length: 32 }, async () => {
      const sent = request(`${url}/v1/events`, { agent: false }).end();
      await once(sent, 'response');
      return sent;
    }),
  );
  t.match(await ask('/v1/events'), { status: 503 });
  for (const watcher of watchers) watcher.destroy();
  while (clock.armed > 0) await new Promise((resolve) => setImmediate(resolve));
  const sent = request(`${url}/v1/events`, { agent: false }).end();
  t.match(await once(sent, 'response'), [{ statusCode: 200 }]);
  sent.destroy();
});

t.test('a log that was changed under a running house', async (t) => {
  const { ask, dir } = await adminRig(t);
  await ask('/v1/quarantine/nix', put('drill'));
  writeFileSync(join(dir, 'audit.ndjson'), '');
  t.match((await ask('/v1/audit')).json, { head: String, rows: [] }, 'its head still tells');
});
