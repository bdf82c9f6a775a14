// Admin keeps out whoever has no business there, and gives away nothing that it was told in confidence.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openLog } from '../../src/main.ts';
import { type AskOptions, adminRig } from '../support/admin-rig.ts';

const TOKENS = `
# who may what
read            viewer  tok-read-hunter2
quarantine      oncall  tok-quarantine-hunter2
ack             lead    tok-ack-hunter2
write           pusher  tok-write-hunter2
read,quarantine,ack  root  tok-root-hunter2
`;

const body = { reason: 'drill' };

/** Every route but those that are for everybody, with the scopes that open it. */
const routes: { path: string; ask: AskOptions; opens: string[] }[] = [
  { path: '/v1/status', ask: {}, opens: ['read'] },
  { path: '/v1/quarantine', ask: {}, opens: ['read', 'quarantine'] },
  { path: '/v1/quarantine/nix', ask: {}, opens: ['read', 'quarantine'] },
  { path: '/v1/quarantine/nix', ask: { method: 'HEAD' }, opens: ['read', 'quarantine'] },
  { path: '/v1/quarantine/nix', ask: { method: 'PUT', body }, opens: ['quarantine'] },
  { path: '/v1/quarantine/nix', ask: { method: 'DELETE' }, opens: ['quarantine'] },
  { path: '/v1/quarantine/global?assumeClear=true', ask: { method: 'DELETE' }, opens: ['quarantine'] },
  { path: '/v1/incidents', ask: {}, opens: ['read'] },
  { path: '/v1/incidents/x', ask: {}, opens: ['read'] },
  { path: '/v1/incidents/x/ack', ask: { method: 'POST', body: { note: 'x' } }, opens: ['ack'] },
  { path: '/v1/audit', ask: {}, opens: ['read'] },
  { path: '/v1/suspects', ask: {}, opens: ['read', 'quarantine'] },
  { path: '/v1/probe', ask: { method: 'POST' }, opens: ['ack'] },
];

t.test('each route opens to its scopes alone', async (t) => {
  const { ask } = await adminRig(t, { tokens: TOKENS, isWatched: true });
  for (const { path, ask: options, opens } of routes) {
    const name = `${options.method ?? 'GET'} ${path}`;
    const none = await ask(path, options);
    t.match(none, { status: 401, headers: { 'www-authenticate': /^Bearer/ } }, `${name}: no token`);
    for (const token of ['wrong', 'tok-read-hunter', 'tok-read-hunter22', 'TOK-READ-HUNTER2']) {
      t.match(await ask(path, { ...options, token }), { status: 401 }, `${name}: ${token}`);
    }
    for (const scope of ['read', 'quarantine', 'ack', 'write']) {
      const { status } = await ask(path, { ...options, token: `tok-${scope}-hunter2` });
      if (opens.includes(scope)) t.notOk([401, 403].includes(status), `${name}: opens to ${scope}`);
      else t.equal(status, 403, `${name}: not to ${scope}`);
    }
  }
});

t.test('no route was forgotten', async (t) => {
  const { admin } = await adminRig(t, { tokens: TOKENS, isWatched: true });
  const tree = admin.app.printRoutes({ commonPrefix: false });
  const known = tree.split('\n').filter((line) => line.includes('(')).length;
  const listed = new Set(routes.map(({ path }) => path.replace(/\?.*/, '').replace(/\/(nix|global|x)(?=\/|$)/, '/:')));
  // The five for everybody that are not JSON, and events, which does not end.
  const open = ['/livez', '/readyz', '/storez', '/metrics', '/v1/events'];
  t.equal(known, listed.size + open.length, tree);
});

t.test('other schemes and places for a token', async (t) => {
  const { ask } = await adminRig(t, { tokens: TOKENS });
  const token = 'tok-root-hunter2';
  const rows: { reason: string; path?: string; headers?: Record<string, string>; status: number }[] = [
    { reason: 'as it should be', headers: { authorization: `Bearer ${token}` }, status: 200 },
    { reason: 'the scheme in another case', headers: { authorization: `bearer ${token}` }, status: 200 },
    {
      reason: 'basic',
      headers: { authorization: `Basic ${Buffer.from(`root:${token}`).toString('base64')}` },
      status: 401,
    },
    { reason: 'bare', headers: { authorization: token }, status: 401 },
    { reason: 'two', headers: { authorization: `Bearer ${token} ${token}` }, status: 401 },
    { reason: 'empty', headers: { authorization: 'Bearer ' }, status: 401 },
    { reason: 'a cookie', headers: { cookie: `token=${token}` }, status: 401 },
    { reason: 'a header of its own', headers: { 'x-api-key': token }, status: 401 },
    { reason: 'in the URL', path: `/v1/status?token=${token}`, status: 400 },
    { reason: 'in the URL, as OAuth had it', path: `/v1/status?access_token=${token}`, status: 400 },
    { reason: 'in the URL, encoded', path: `/v1/status?%74oken=${token}`, status: 400 },
    { reason: 'in the URL of what is open', path: `/livez?token=${token}`, status: 400 },
    {
      reason: 'in the URL and where it belongs',
      path: `/v1/status?x=1&token=${token}`,
      headers: { authorization: `Bearer ${token}` },
      status: 400,
    },
  ];
  for (const { reason, path = '/v1/status', headers = {}, status } of rows) {
    const answer = await ask(path, { headers });
    t.equal(answer.status, status, reason);
    t.notMatch(answer.text, 'hunter2', `${reason}: it is not repeated`);
  }
});

t.test('what is for everybody names nothing', async (t) => {
  const { ask } = await adminRig(t, { tokens: TOKENS, isWatched: true });
  const token = 'tok-root-hunter2';
  await ask('/v1/quarantine/cache:secret-project', { method: 'PUT', body: { reason: 'secret-reason' }, token });
  for (const path of ['/livez', '/readyz', '/storez', '/metrics', '/nothing', '/v1/nothing']) {
    const { status, text } = await ask(path);
    t.not(status, 401, path);
    t.notMatch(text, /secret/, path);
  }
});

t.test('bodies', async (t) => {
  const { ask, guard } = await adminRig(t, { tokens: TOKENS });
  const token = 'tok-root-hunter2';
  const put = (options: AskOptions) => ask('/v1/quarantine/nix', { method: 'PUT', token, ...options });
  t.match(await put({ body: { reason: 'x', ticket: 'y'.repeat(17_000) } }), { status: 413 });
  t.match(await put({ body: '{"reason":"x","__proto__":{"expires":"1h"}}' }), { status: 400 });
  t.match(await put({ body: '{"reason":' }), { status: 400 });
  t.match(await put({ body: 'reason=x', headers: { 'content-type': 'application/x-www-form-urlencoded' } }), {
    status: 415,
  });
  t.strictSame(guard.quarantine.orders, []);
  // Without its token nothing of it is read.
  t.match(await ask('/v1/quarantine/nix', { method: 'PUT', body: { reason: 'y'.repeat(17_000) } }), { status: 401 });
});

t.test('pages of others', async (t) => {
  const { ask, url, guard } = await adminRig(t);
  const { host } = new URL(url);
  const rows: { reason: string; headers: Record<string, string>; status: number }[] = [
    { reason: 'a form on another page', headers: { host, origin: 'http://evil.example' }, status: 403 },
    { reason: 'a page from nowhere', headers: { host, origin: 'null' }, status: 403 },
    { reason: 'a page of another port', headers: { host, origin: 'http://127.0.0.1:1' }, status: 403 },
    { reason: 'a name that was rebound', headers: { host: 'evil.example' }, status: 403 },
    {
      reason: 'a name that was rebound, and its own page',
      headers: { host: 'evil.example', origin: 'http://evil.example' },
      status: 403,
    },
    { reason: 'our own page', headers: { host, origin: url }, status: 201 },
  ];
  for (const { reason, headers, status } of rows) {
    const before = guard.quarantine.orders.length;
    t.match(await ask('/v1/quarantine/nix', { method: 'PUT', body, headers }), { status }, reason);
    t.equal(guard.quarantine.orders.length, status === 201 ? before + 1 : before, reason);
  }
});

t.test('a token does not help a page of others', async (t) => {
  const { ask } = await adminRig(t, { tokens: TOKENS });
  const headers = { origin: 'http://evil.example' };
  t.match(await ask('/v1/status', { token: 'tok-root-hunter2', headers }), { status: 403 });
});

t.test('no secret is written down, whatever it came in with', async (t) => {
  const rig = await adminRig(t, { tokens: TOKENS, isWatched: true });
  const { ask, rounds, guard, logged, dir } = rig;
  const token = 'tok-root-hunter2';
  const quoting =
    'Authorization: Bearer abc.hunter2 got 403 from https://s3/nix/x?X-Amz-Signature=hunter2&X-Amz-Date=1';
  await rounds('OK', 1);
  await ask('/v1/quarantine/nix', { method: 'PUT', token, body: { reason: quoting, ticket: 'sig=hunter2' } });
  await rounds('INDEX_LOST', 2);
  await rounds('OK', 8);
  const id = guard.keeper?.current.incident?.id ?? '';
  await ask(`/v1/incidents/${id}/ack`, { method: 'POST', token, body: { note: quoting } });
  const etag = (await ask('/v1/quarantine/nix', { token })).etag;
  await ask('/v1/quarantine/nix', {
    method: 'DELETE',
    token,
    headers: { 'if-match': etag },
    body: { reason: quoting },
  });
  await ask(`/v1/status?token=${token}`);
  await ask('/v1/status', { token: 'wrong-hunter2' });
  rig.disk.isBroken = true;
  await ask('/v1/quarantine/bazel', { method: 'PUT', token, body: { reason: 'disk' } });
  rig.disk.isBroken = false;
  await guard.incidents.flush();

  const lines: string[] = [];
  const log = openLog('debug', { write: (line) => void lines.push(line) });
  for (const line of logged) log.warn(JSON.parse(line));
  t.ok(lines.length > 0);
  t.notMatch(lines.join('\n'), 'hunter2', 'the log');
  t.notMatch((await ask('/metrics')).text, 'hunter2', 'metrics');
  t.notMatch((await ask('/v1/audit', { token })).text, 'hunter2', 'audit rows');
  t.notMatch((await ask(`/v1/incidents/${id}`, { token })).text, 'hunter2', 'an incident');
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    if (/\.(json|ndjson)$/.test(name)) t.notMatch(readFileSync(join(dir, name), 'utf8'), 'hunter2', name);
  }
});
