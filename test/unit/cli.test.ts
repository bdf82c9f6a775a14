// The commands as a shell sees them: output, messages, exit codes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, symlinkSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { statusExit, statusText } from '../../src/admin/report.ts';
import { type Readings, type Status, statusOf } from '../../src/admin/status.ts';
import { runCli } from '../../src/cli.ts';
import { configKeys } from '../../src/config.ts';

const root = resolve(import.meta.dirname, '../..');

const readings: Readings = {
  store: { bytes: 2 ** 30, maxBytes: 20 * 2 ** 30, objects: 2 },
  fillsActive: 0,
  spoolBytes: 0,
  suspects: { open: 0, held: 0 },
  breakers: {},
  redirectsRefused: [],
};
const well = statusOf(readings, Date.UTC(2026, 4, 1));

interface Scene {
  readonly reason: string;
  readonly args: readonly string[];
  readonly env?: Record<string, string>;
  readonly files?: Record<string, string>;
  readonly exit: number;
  readonly out?: RegExp;
  readonly err?: RegExp;
}

/** Runs in an empty directory with an environment of its own. */
const run = async (t: Test, { args, env = {}, files = {} }: Pick<Scene, 'args' | 'env' | 'files'>) => {
  let out = '';
  let err = '';
  const say = (text: string): void => {
    out += text;
  };
  const complain = (text: string): void => {
    err += text;
  };
  return { exit: await runCli(args, { cwd: t.testdir(files), env, say, complain }), out, err };
};

const listening = async (t: Test, answer: RequestListener): Promise<string> => {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
};

const scenes: readonly Scene[] = [
  { reason: 'version', args: ['--version'], exit: 0, out: /^\d+\.\d+\.\d+\n$/ },
  { reason: 'help', args: ['serve', '--help'], exit: 0, out: /--nix\.upstream <value>/ },
  { reason: 'no command', args: [], exit: 2, err: /Usage: cleanmiss/ },
  { reason: 'no such command', args: ['server'], exit: 2, err: /unknown command 'server'\n\(Did you mean serve\?\)/ },
  { reason: 'half a command', args: ['config'], exit: 2, err: /Usage: cleanmiss config/ },
  { reason: 'one word too many', args: ['serve', 'now'], exit: 2, err: /too many arguments/ },
  {
    reason: 'unknown flag',
    args: ['config', 'check', '--nix.upstrem', 'x'],
    exit: 2,
    err: /'--nix\.upstrem'\n\(Did you mean --nix\.upstream\?\)/,
  },
  { reason: 'a flag without its value', args: ['config', 'check', '--nix.upstream'], exit: 2, err: /argument missing/ },
  { reason: 'all is well', args: ['config', 'check'], exit: 0, out: /^ok\n\[nix\]\nlisten = "127\.0\.0\.1:8501"\n/ },
  {
    reason: 'where a value is from',
    args: ['config', 'check', '--nix.upstream=http://attic:8080', '--nix.credentials', 'token', '--nix.public'],
    env: { CLEANMISS_FILLS_MAX: '8', CLEANMISS_HEALTH_WATCH: 'none' },
    files: { 'cleanmiss.toml': '[store]\ndir = "big"\n', token: 'Bearer hunter2' },
    exit: 0,
    out: /upstream = "http:\/\/attic:8080" {2}# --nix\.upstream\n.*credentials = "\*\*\*" {2}# .*public = true .*dir = "big" {2}# cleanmiss\.toml\n.*max = 8 {2}# CLEANMISS_FILLS_MAX\n/s,
  },
  {
    reason: 'as JSON',
    args: ['config', 'check', '--json'],
    exit: 0,
    out: /^\{"ok":true,"config":\{"nix\.listen":"127\.0\.0\.1:8501",.*\}\n$/,
  },
  {
    reason: 'all that is wrong, and no stack',
    args: ['config', 'check', '--nix.upstream', 'http://me:hunter2@h', '--fills.max', '0'],
    exit: 2,
    err: /^cleanmiss: the configuration has 2 problems:\n {2}nix\.upstream = "http:\/\/\*\*\*@h" .*\n {2}fills\.max = 0 .*\n$/,
  },
  {
    reason: 'all that is wrong, as JSON',
    args: ['config', 'check', '--json', '--fills.max', '0'],
    exit: 2,
    out: /^\{"ok":false,"problems":\[\{"key":"fills\.max",.*\n$/,
  },
  {
    reason: 'a file that is not there',
    args: ['config', 'check', '--config', 'x.toml'],
    exit: 2,
    err: /x\.toml: there is no such file/,
  },
  {
    reason: 'nothing is served with a wrong configuration',
    args: ['serve', '--nix.listen', '0.0.0.0:0'],
    exit: 2,
    err: /without an upstream/,
  },
  {
    reason: 'nobody there',
    args: ['status', '--admin', 'http://127.0.0.1:1'],
    exit: 4,
    err: /^cleanmiss: no answer from http:\/\/127\.0\.0\.1:1\/v1\/status: .*\n$/,
  },
  { reason: 'no URL', args: ['status', '--admin', '127.0.0.1:9501'], exit: 2, err: /accepted: an http/ },
  { reason: 'no token', args: ['status', '--token-file', 'x'], exit: 2, err: /there is no such file/ },
  {
    reason: 'a token file that is a directory',
    args: ['status', '--token-file', '/tmp'],
    exit: 2,
    err: /^cleanmiss: --token-file: it cannot be read: EISDIR\n$/,
  },
  {
    reason: 'a token where the name of its file belongs',
    args: ['status', '--token-file', 'hunter2'],
    exit: 2,
    err: /^cleanmiss: --token-file: there is no such file\n$/,
  },
  {
    reason: 'the same, longer than any name',
    args: ['status', '--token-file', 'hunter2'.repeat(100)],
    exit: 2,
    err: /^cleanmiss: --token-file: it cannot be read: ENAMETOOLONG\n$/,
  },
  {
    reason: 'a password in the URL',
    args: ['status', '--admin', 'http://op:hunter2@127.0.0.1:1'],
    exit: 2,
    err: /^cleanmiss: --admin: credentials do not belong into a URL, .*\n$/,
  },
  {
    reason: 'a password in what is no URL',
    args: ['status', '--admin', 'op:hunter2@127.0.0.1:1'],
    exit: 2,
    err: /credentials do not belong/,
  },
  {
    reason: 'a token in the query of the URL',
    args: ['status', '--admin', 'http://127.0.0.1:1/?token=hunter2'],
    exit: 2,
    err: /nor a query/,
  },
  {
    reason: 'credentials where the name of their file belongs',
    args: ['config', 'check', '--nix.upstream', 'http://attic', '--nix.credentials', `Bearer ${'hunter2'.repeat(100)}`],
    exit: 2,
    err: /nix\.credentials = "\*\*\*" \(--nix\.credentials\): the file cannot be read: ENAMETOOLONG; accepted/,
  },
  {
    reason: 'the same in the environment, as JSON',
    args: ['config', 'check', '--json', '--nix.upstream', 'http://attic'],
    env: { CLEANMISS_NIX_CREDENTIALS: `Bearer ${'hunter2'.repeat(100)}` },
    exit: 2,
    out: /"message":"the file cannot be read: ENAMETOOLONG; /,
  },
  {
    reason: 'no TOML, and where',
    args: ['config', 'check'],
    files: { 'cleanmiss.toml': '[fills]\nmax = 8\nmax == 9 # hunter2\n' },
    exit: 2,
    err: /cleanmiss\.toml: line 3, column \d+: Invalid TOML[^\n]*\n$/,
  },
  {
    reason: 'a token that no header takes',
    args: ['status', '--token-file', 'x'],
    files: { x: 'hunter2\nhunter2' },
    exit: 2,
    err: /holds one token/,
  },
];

for (const scene of scenes) {
  const { reason, exit, out = /^$/, err = /^$/ } = scene;
  t.test(reason, async (t) => {
    const ran = await run(t, scene);
    t.match(ran, { exit, out, err });
    t.notMatch(ran.out + ran.err, 'hunter2');
  });
}

t.test('status of a running one', async (t) => {
  const asked: (string | undefined)[] = [];
  const admin = await listening(t, (request, response) => {
    asked.push(request.url, request.headers.authorization);
    response.end(JSON.stringify(well));
  });
  const files = { token: 'sesame\n' };
  const ran = await run(t, { args: ['status', '--admin', `${admin}/`, '--token-file', 'token'], files });
  t.match(ran, {
    exit: 0,
    out: /^health {6}unknown since 2026-05-01T00:00:00\.000Z\n.*store {7}1\.0 GiB of 20\.0 GiB in 2 objects\n/s,
    err: '',
  });
  t.strictSame(asked, ['/v1/status', 'Bearer sesame']);
  const asJson = await run(t, { args: ['status', '--json', '--admin', admin] });
  t.strictSame(JSON.parse(asJson.out), well);
});

t.test('status of something else', async (t) => {
  const rows = [
    { reason: 'no JSON', status: 200, body: 'hello', exit: 4, err: /not as cleanmiss does/ },
    { reason: 'other JSON', status: 200, body: '{}', exit: 4, err: /is no cleanmiss/ },
    {
      reason: 'broken',
      status: 500,
      body: '{"detail":"the log says more"}',
      exit: 4,
      err: /answered 500: the log says more/,
    },
    { reason: 'refused', status: 403, body: '{"detail":"no token"}', exit: 2, err: /answered 403: no token/ },
  ];
  for (const { reason, status, body, exit, err } of rows) {
    const admin = await listening(t, (_request, response) => response.writeHead(status).end(body));
    t.match(await run(t, { args: ['status', '--admin', admin] }), { exit, out: '', err }, reason);
  }
});

t.test('the exit code of a status', (t) => {
  const { upstream: _, redirectsRefused: __, ...least } = well;
  t.equal(statusExit(least), 0, 'with no field but those that every version has');
  t.match(statusText(least), /^health .*\nfills {7}0 active\n$/s);
  const rows: { reason: string; status: Partial<Status>; exit: number }[] = [
    { reason: 'nobody watches', status: {}, exit: 0 },
    { reason: 'green', status: { health: { ...well.health, state: 'green' } }, exit: 0 },
    { reason: 'red', status: { health: { ...well.health, state: 'red', class: 'INDEX_LOST' } }, exit: 1 },
    { reason: 'watched, and not seen yet', status: { health: { ...well.health, watched: true } }, exit: 1 },
    { reason: 'refused', status: { gate: { ...well.gate, nix: { writes: 'refused', reason: 'x' } } }, exit: 1 },
    { reason: 'the breaker', status: { upstream: { breaker: 'open' } }, exit: 1 },
    { reason: 'findings', status: { suspects: { open: 1, held: 0 } }, exit: 1 },
    { reason: 'held is mended', status: { suspects: { open: 0, held: 1 } }, exit: 0 },
    {
      reason: 'quarantined, whatever else',
      status: {
        upstream: { breaker: 'open' },
        quarantine: [{ scope: 'nix', reason: 'drill', since: '', by: 'me', expires: null, ticket: null }],
      },
      exit: 3,
    },
  ];
  for (const { reason, status, exit } of rows) t.equal(statusExit({ ...well, ...status }), exit, reason);
  const refused = statusText({ ...well, redirectsRefused: [{ host: 's3:9000', count: 2 }] });
  t.match(refused, 'to s3:9000 refused 2 times: is it missing from nix.redirectHosts?');
  t.end();
});

t.test('every key is a flag of both', async (t) => {
  for (const args of [
    ['serve', '--help'],
    ['config', 'check', '--help'],
  ]) {
    const { out } = await run(t, { args });
    t.strictSame(
      configKeys.filter(({ name }) => !out.includes(`--${name} `)).map(({ name }) => name),
      [],
      args.join(' '),
    );
  }
});

t.test('as a process, by the name in package.json', async (t) => {
  const manifest: { bin: Record<string, string> } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const cwd = t.testdir({ bin: {}, 'cleanmiss.toml': '[fills]\nmax = 0' });
  // As npm links it.
  symlinkSync(join(root, manifest.bin['cleanmiss'] ?? ''), join(cwd, 'bin/cleanmiss'));
  const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
  const child = spawn(join(cwd, 'bin/cleanmiss'), ['config', 'check'], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err, [exit]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  t.match(
    { out, err, exit },
    { out: '', err: /^cleanmiss: the configuration has a problem:\n {2}fills\.max = 0 /, exit: 2 },
  );
});

t.test('a log that cannot be written is no reason to stop', async (t) => {
  const cwd = t.testdir();
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  const flags = ['nix', 'bazel', 'admin'].map((front) => `--${front}.listen=127.0.0.1:0`);
  const args = [join(root, 'src/cli.ts'), 'serve', '--json', '--log.level=debug', ...flags];
  const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', full] });
  const closed = once(child, 'close');
  t.teardown(() => child.kill('SIGKILL'));
  if (child.stdout === null) throw new Error('it was asked for');
  const [line] = await once(child.stdout, 'data');
  const { nix }: { nix: string } = JSON.parse(String(line));
  const path = `/${'a'.repeat(32)}.narinfo`;
  for (let ask = 0; ask < 3; ask++) t.equal((await fetch(`http://${nix}${path}`)).status, 404);
  child.kill('SIGTERM');
  t.same(await closed, [0, null]);
});

for (const taken of ['nix', 'bazel', 'admin']) {
  t.test(`an address that another process has: ${taken}.listen`, async (t) => {
    const other = createServer();
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    t.teardown(() => other.close());
    const { port } = other.address() as AddressInfo;
    const at = (front: string) => `127.0.0.1:${front === taken ? port : 0}`;
    const flags = ['nix', 'bazel', 'admin'].map((front) => `--${front}.listen=${at(front)}`);
    const cwd = t.testdir();
    const child = spawn(process.execPath, [join(root, 'src/cli.ts'), 'serve', ...flags], { cwd });
    t.teardown(() => child.kill('SIGKILL'));
    const [err, [exit]] = await Promise.all([text(child.stderr), once(child, 'close')]);
    t.equal(exit, 2);
    t.match(err, `cleanmiss: ${taken}.listen = "127.0.0.1:${port}": another process listens there`);
  });
}
