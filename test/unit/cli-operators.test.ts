// The operators' commands against a running admin: what they do, say and exit with.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runCli } from '../../src/cli.ts';
import { type AdminRigOptions, adminRig } from '../support/admin-rig.ts';
import { until } from '../support/waiting.ts';

const operator = async (t: Test, options: AdminRigOptions = {}) => {
  const { dir = t.testdir({ token: 'sesame\n' }) } = options;
  const rig = await adminRig(t, { ...options, dir });
  const run = async (...args: string[]) => {
    let out = '';
    let err = '';
    const say = (text: string) => {
      out += text;
    };
    const complain = (text: string) => {
      err += text;
    };
    const exit = await runCli([...args, '--admin', rig.url], { cwd: rig.dir, env: {}, say, complain });
    return { exit, out, err };
  };
  return { ...rig, run };
};

t.test('quarantine', async (t) => {
  const { run, clock, guard } = await operator(t);
  t.match(await run('quarantine', 'show'), { exit: 0, out: 'none\n', err: '' });
  t.match(await run('quarantine', 'off', '--scope', 'nix'), { exit: 0, out: 'there is no quarantine of nix\n' });
  const on = ['quarantine', 'on', '--scope', 'nix', '--reason', 'a drill'];
  t.match(await run(...on, '--ticket', 'T-1', '--expires', '4h'), {
    exit: 0,
    out: /^SCOPE {2}SINCE .*\nnix .*2026-05-01T04:00:00\.000Z {2}loopback {2}a drill \[T-1\]\n$/,
  });
  t.match(await run('quarantine', 'show'), { exit: 3, out: 'a drill' });
  t.match(JSON.parse((await run('quarantine', 'show', '--json')).out), { quarantine: [{ scope: 'nix' }] });
  t.match(await run('status'), {
    exit: 3,
    out: /writes {6}nix refused \(a drill\), bazel allowed\nquarantine {2}nix since .* until 2026-05-01T04/,
  });
  t.match(await run(...on, '--expires', '1h'), { exit: 0 }, 'an earlier end, of what it has just looked at');
  t.equal(guard.quarantine.get('nix')?.expires, clock.now() + 3_600_000);
  t.match(await run('quarantine', 'off', '--scope', 'nix', '--reason', 'over'), { exit: 0, out: 'lifted: nix\n' });
  t.match(await run('quarantine', 'show'), { exit: 0 });
});

t.test('usage', async (t) => {
  const { run } = await operator(t);
  const rows: [string, string[], RegExp][] = [
    ['no reason', ['quarantine', 'on', '--scope', 'nix'], /--reason/],
    ['no scope', ['quarantine', 'on', '--reason', 'x'], /--scope/],
    ['no scope to lift', ['quarantine', 'off'], /--scope/],
    [
      'no such scope',
      ['quarantine', 'on', '--scope', 'all', '--reason', 'x'],
      /answered 404: there is no such scope; accepted: global/,
    ],
    [
      'no duration',
      ['quarantine', 'on', '--scope', 'nix', '--reason', 'x', '--expires', 'soon'],
      /answered 400: expires: accepted/,
    ],
    ['no note', ['incident', 'ack', 'x'], /--note/],
    ['no id', ['incident', 'ack', '--note', 'x'], /missing required argument 'id'/],
    ['no such incident', ['incident', 'show', 'x'], /there is no such incident/],
    ['the wrong incident', ['incident', 'ack', 'x', '--note', 'y'], /answered 409/],
  ];
  for (const [reason, args, err] of rows) t.match(await run(...args), { exit: 2, out: '', err }, reason);
});

t.test('tokens', async (t) => {
  const { run } = await operator(t, { tokens: 'read me sesame' });
  t.match(await run('status'), { exit: 2, err: /answered 401: a token of auth\.tokens is needed/ });
  t.match(await run('status', '--token-file', 'token'), { exit: 0 });
  const refused = await run('quarantine', 'on', '--scope', 'nix', '--reason', 'x', '--token-file', 'token');
  t.match(refused, { exit: 2, err: /answered 403: .*scope that this needs: quarantine/ });
  t.notMatch(refused.err, 'sesame');
});

t.test('incident', async (t) => {
  const { run, rounds, guard, clock } = await operator(t, { isWatched: true });
  t.match(await run('incident', 'list'), { exit: 0, out: 'none\n' });
  await rounds('OK', 1);
  t.match(await run('status'), { exit: 0, out: /^health {6}green since/ });
  await rounds('INDEX_LOST', 2);
  const id = guard.keeper?.current.incident?.id ?? '';
  t.match(await run('status'), {
    exit: 1,
    out: new RegExp(`^health      red \\(INDEX_LOST\\) .*incident    ${id} `, 's'),
  });
  await guard.gate.decide({ front: 'bazel', tenant: '', operation: 'UpdateActionResult', subject: 'abc-1' });
  await until(() => clock.armed > 0);
  t.match(await run('incident', 'list'), { exit: 0, out: `${id}  INDEX_LOST` });
  t.match(await run('incident', 'show', id), {
    exit: 0,
    out: /INDEX_LOST, open\n.*ListBuckets.*1 writes refused; to be pushed again: 1\n.*abc-1\n/s,
  });
  t.match(JSON.parse((await run('incident', 'show', id, '--json')).out), { id, refused: [{ subject: 'abc-1' }] });
  t.match(await run('incident', 'ack', id, '--note', 'early'), { exit: 2, err: /has not recovered/ });
  await rounds('OK', 8);
  t.match(await run('status'), { exit: 1, out: `cleanmiss incident ack ${id} --note TEXT` });
  t.match(await run('incident', 'ack', id, '--note', 'relinked'), { exit: 0, out: `acked: ${id}\n` });
  t.match(await run('incident', 'show', id), { exit: 0, out: 'acked by loopback at' });
  t.match(await run('status'), { exit: 0 });
});

t.test('a disk that takes nothing', async (t) => {
  const { run, disk } = await operator(t);
  await run('quarantine', 'on', '--scope', 'nix', '--reason', 'x');
  disk.isBroken = true;
  t.match(await run('quarantine', 'off', '--scope', 'nix'), {
    exit: 1,
    err: /answered 503: this cannot be written to disk/,
  });
  t.match(await run('quarantine', 'on', '--scope', 'bazel', '--reason', 'x'), { exit: 1, err: /not on disk yet/ });
});

t.test('a corrupt file', async (t) => {
  const { run } = await operator(t, { dir: t.testdir({ 'quarantine.json': '{' }) });
  t.match(await run('quarantine', 'show'), { exit: 1, out: 'none\nevery write is refused: state-corrupt\n' });
  t.match(await run('quarantine', 'off', '--assume-clear', '--reason', 'I looked'), { exit: 0 });
  t.match(await run('quarantine', 'show'), { exit: 0, out: 'none\n' });
});

t.test('audit verify', async (t) => {
  const { run, dir, guard } = await operator(t);
  t.match(await run('audit', 'verify'), { exit: 0, out: '0 rows, each as it was written; head none\n' });
  for (const scope of ['nix', 'bazel', 'global']) await run('quarantine', 'on', '--scope', scope, '--reason', 'x');
  t.match(await run('audit', 'verify'), { exit: 0, out: `3 rows, each as it was written; head ${guard.audit.head}\n` });
  t.match(await run('audit', 'verify', '--file', 'audit.ndjson'), { exit: 0, out: '3 rows' });
  const path = join(dir, 'audit.ndjson');
  const whole = readFileSync(path, 'utf8');
  writeFileSync(path, whole.replace('"subject":"bazel"', '"subject":"bazal"'));
  t.match(await run('audit', 'verify'), { exit: 1, out: 'row 2 is broken: its content is not what its hash says\n' });
  t.match(JSON.parse((await run('audit', 'verify', '--json', '--file', 'audit.ndjson')).out), {
    ok: false,
    broken: { line: 2 },
  });
  writeFileSync(path, whole.split('\n').slice(0, 2).join('\n').concat('\n'));
  t.match(await run('audit', 'verify'), { exit: 1, out: 'row 3 is broken' }, 'a last row that is gone');
});

t.test('status --watch', async (t) => {
  const { run, guard, clock, admin, url, dir } = await operator(t);
  const shown: number[] = [];
  let err = '';
  const watching = runCli(['status', '--watch', '--json', '--admin', url], {
    cwd: dir,
    env: {},
    say: (text) => void shown.push(JSON.parse(text).quarantine.length),
    complain: (text) => {
      err += text;
    },
  });
  await until(() => shown.length === 1);
  await guard.quarantine.on('nix', { reason: 'x', ticket: null, expires: null }, { by: 'me', seen: null });
  await clock.advance(100);
  await until(() => shown.length === 2);
  await admin.app.close();
  t.match({ exit: await watching, err, shown }, { exit: 3, err: /has stopped/, shown: [0, 1] });
  t.match(await run('status', '--watch'), { exit: 4 }, 'nobody there');
});

t.test('canary init needs to know where', async (t) => {
  let err = '';
  const complain = (text: string) => {
    err += text;
  };
  t.equal(await runCli(['canary', 'init'], { cwd: t.testdir(), env: {}, say: () => {}, complain }), 2);
  t.match(err, /health\.s3\.endpoint and health\.s3\.buckets/);
});
