// The leak watch sees each thing that a test may leave behind, and forgives what was closed.

import { open } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { systemClock } from '../../../src/core/clock.ts';
import { refuseLeaks, watchForLeaks } from '../../support/leaks.ts';

t.test('an unref’d timer, with the place where it was made', async (t) => {
  const watch = watchForLeaks();
  const timer = systemClock.after(60_000, () => {});
  t.match(watch.leaks(), [/^timer made at\n.*clock\.ts[\s\S]*leaks\.test\.ts/]);
  timer.cancel();
  t.strictSame(await watch.settled(), []);
});

t.test('an open file', async (t) => {
  const watch = watchForLeaks();
  const file = await open('/proc/self/status');
  t.match(await watch.settled(0), [/open file \d+ -> .*status/]);
  await file.close();
  t.strictSame(await watch.settled(), []);
});

t.test('a server, and both ends of a connection', async (t) => {
  const watch = watchForLeaks();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = address && typeof address === 'object' ? address.port : 0;
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const client = connect(port, '127.0.0.1');
  const socket = await accepted;
  const leaks = await watch.settled(0);
  t.match(leaks.join('\n'), /TCPServerWrap/);
  t.match(leaks.join('\n'), /2 TCPSocketWrap/);
  t.equal(leaks.filter((leak) => leak.includes('socket:')).length, 3);
  client.destroy();
  socket.destroy();
  server.close();
  t.strictSame(await watch.settled(), []);
});

t.test('a worker', async (t) => {
  const watch = watchForLeaks();
  const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
  await new Promise((resolve) => setImmediate(resolve));
  t.match(watch.leaks().join('\n'), /^worker \d+$/m);
  await worker.terminate();
  t.strictSame(await watch.settled(), []);
});

t.test('it looks after the teardowns that come later, and throws', async (t) => {
  const teardowns: (() => unknown)[] = [];
  const test = { teardown: (action: () => unknown) => teardowns.unshift(action) };
  refuseLeaks(test, 10);
  const timer = systemClock.after(60_000, () => {});
  await t.rejects(Promise.resolve(teardowns.at(-1)?.()), /left open: timer made at/);
  test.teardown(() => timer.cancel());
  for (const teardown of teardowns) await teardown();
});

t.test('as a test uses it', async (t) => {
  refuseLeaks(t);
  const timer = systemClock.after(60_000, () => {});
  t.teardown(() => timer.cancel());
});
