// Serving: it opens, drains on the first signal, dies on the second and on what nobody caught, and says why it cannot open.

import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:net';
import t from 'tap';
import type { House } from '../../src/compose.ts';
import { loadConfig } from '../../src/config.ts';
import { CleanmissError } from '../../src/core/errors.ts';
import { openLog, type Stage, serve, welcome } from '../../src/main.ts';
import { FakeClock } from '../support/fake-clock.ts';

const configure = (flags: Record<string, string> = {}) =>
  loadConfig({ cwd: '/srv', env: {}, flags: { 'health.watch': 'none', ...flags }, readFile: () => undefined }).config;

const house = (close: () => Promise<void> = () => Promise.resolve()): House => ({
  nix: { address: '127.0.0.1:8501' },
  bazel: { address: '127.0.0.1:9092' },
  admin: { address: '127.0.0.1:9501' },
  close,
});

/** A stage whose house is open once `opened` resolves. */
const stand = (compose: Stage['compose'] = () => Promise.resolve(house())) => {
  const lines: string[] = [];
  const exits: number[] = [];
  const process = new EventEmitter();
  const { promise: opened, resolve } = Promise.withResolvers<void>();
  const stage: Stage = {
    compose,
    clock: new FakeClock(),
    log: openLog('info', { write: (line) => void lines.push(line) }),
    onOpen: () => resolve(),
    process,
    exit: (code) => void exits.push(code),
  };
  return { stage, process, opened, exits, log: () => lines.map((line): object => JSON.parse(line)), lines };
};

t.test('the first signal drains', async (t) => {
  let closes = 0;
  const count = () => {
    closes += 1;
    return Promise.resolve();
  };
  const { stage, process, opened, exits, log } = stand(() => Promise.resolve(house(count)));
  const served = serve(configure(), stage);
  await opened;
  t.equal(closes, 0, 'it stays open until told otherwise');
  process.emit('SIGTERM', 'SIGTERM');
  await served;
  t.equal(closes, 1);
  t.strictSame(exits, [], 'who waits for it ends the process');
  t.match(log(), [
    { msg: 'listening', nix: '127.0.0.1:8501' },
    { signal: 'SIGTERM', drainMs: 30_000 },
    { msg: 'drained' },
  ]);
  t.strictSame(process.eventNames(), [], 'and no listener is left');
});

t.test('the second signal does not wait', async (t) => {
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  const { stage, process, opened, exits } = stand(() => Promise.resolve(house(() => closed)));
  const served = serve(configure(), stage);
  await opened;
  process.emit('SIGINT', 'SIGINT');
  t.strictSame(exits, []);
  process.emit('SIGTERM', 'SIGTERM');
  t.strictSame(exits, [143]);
  close();
  await served;
});

t.test('a signal while it opens', async (t) => {
  let closes = 0;
  const count = () => {
    closes += 1;
    return Promise.resolve();
  };
  const { promise, resolve } = Promise.withResolvers<House>();
  const { stage, process } = stand(() => promise);
  const served = serve(configure(), stage);
  process.emit('SIGTERM', 'SIGTERM');
  resolve(house(count));
  await served;
  t.equal(closes, 1, 'what was opened is closed');
});

t.test('what nobody caught ends the process', async (t) => {
  const { stage, process, opened, exits, lines } = stand();
  const served = serve(configure(), stage);
  await opened;
  process.emit('uncaughtException', new Error('GET /k?X-Amz-Signature=hunter2'), 'unhandledRejection');
  t.strictSame(exits, [70]);
  t.match(JSON.parse(lines.at(-1) ?? ''), { level: 'fatal', origin: 'unhandledRejection', err: { stack: String } });
  t.notMatch(lines.join(''), 'hunter2');
  process.emit('SIGTERM', 'SIGTERM');
  await served;
});

t.test('an address in use is named with its key', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const address = taken.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const compose = async (): Promise<House> => {
    const server = createServer().listen(port, '127.0.0.1');
    await once(server, 'listening');
    return house();
  };
  for (const key of ['nix', 'admin']) {
    const { stage, process } = stand(compose);
    await t.rejects(serve(configure({ [`${key}.listen`]: `127.0.0.1:${port}` }), stage), {
      code: 'LISTEN',
      message: `${key}.listen = "127.0.0.1:${port}": another process listens there`,
    });
    t.strictSame(process.eventNames(), []);
  }
});

t.test('other reasons not to open', async (t) => {
  const owned = new CleanmissError('OWNED', 'client', 'it is owned');
  await t.rejects(serve(configure(), stand(() => Promise.reject(owned)).stage), owned, 'a message of our own stays');
  const denied = Object.assign(new Error("EACCES: permission denied, mkdir '/srv'"), {
    code: 'EACCES',
    syscall: 'mkdir',
  });
  await t.rejects(serve(configure(), stand(() => Promise.reject(denied)).stage), {
    code: 'START',
    message: "cannot start: EACCES: permission denied, mkdir '/srv'",
  });
  const bug = new TypeError('x is not a function');
  await t.rejects(serve(configure(), stand(() => Promise.reject(bug)).stage), bug, 'a bug stays a bug');
});

t.test('the welcome is three lines for Nix, and one for Bazel', (t) => {
  const alone = welcome('1.2.3', configure(), house());
  t.equal(alone.split('\n').length, 5);
  t.match(alone, /^cleanmiss 1\.2\.3 is the cache http:\/\/127\.0\.0\.1:8501 .*http:\/\/127\.0\.0\.1:9501\/v1\/status/);
  t.match(alone, 'nix copy --to http://127.0.0.1:8501 ');
  t.match(alone, '--remote_cache=grpc://127.0.0.1:9092 ');
  const before = welcome('1.2.3', configure({ 'nix.upstream': 'http://attic:8080' }), house());
  t.equal(before.split('\n').length, 5);
  t.match(before, 'in front of http://attic:8080 ');
  t.end();
});

t.test('the log', (t) => {
  const lines: string[] = [];
  const log = openLog('warn', { write: (line) => void lines.push(line) });
  log.info('not this');
  log.warn({ req: { headers: { authorization: 'Bearer hunter2', cookie: 'a=hunter2' } } }, 'http://me:hunter2@h/');
  log.child({ url: '/k?X-Amz-Signature=hunter2' }).error(new Error('Bearer hunter2'));
  t.equal(lines.length, 2);
  t.notMatch(lines.join(''), 'hunter2');
  t.match(JSON.parse(lines[0] ?? ''), { level: 'warn', time: /^\d{4}-/, msg: 'http://***@h/' });
  t.end();
});
