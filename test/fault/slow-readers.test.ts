// A large NAR from the store, whose memory is used again as soon as a MiB is written: readers that are slow, leave or ask ahead get the right bytes.

import { once } from 'node:events';
import { connect } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type CacheObject, makeObject } from '../support/cache-object.ts';
import { startHouse } from '../support/house.ts';
import { parseAnswers } from '../support/http-answer.ts';
import { get, put } from '../support/http-client.ts';
import { refuseLeaks } from '../support/leaks.ts';

refuseLeaks(t);

/** More than the sockets of both ends hold. */
const SIZE_BYTES = 24 * 2 ** 20;

const stored = async (t: Test): Promise<{ url: URL; object: CacheObject }> => {
  const house = await startHouse(t);
  const object = await makeObject({ seed: 'slow', sizeBytes: SIZE_BYTES, kind: 'none', like: 'nix' });
  await put(`${house.nix}/${object.narPath}`, object.body.bytes);
  await put(`${house.nix}/${object.narinfoPath}`, object.narinfo);
  return { url: new URL(`${house.nix}/${object.narPath}`), object };
};

const requestFor = (url: URL, ending = ''): string =>
  `GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\n${ending}\r\n`;

/** Everything that a connection brings, read a little at a time, after a rest in which everybody else goes on. */
const slowly = async (url: URL, requests: string, restTurns: number): Promise<Buffer> => {
  const socket = connect({ host: url.hostname, port: Number(url.port) });
  socket.pause().write(requests);
  for (let rest = 0; rest < restTurns; rest += 1) await turn();
  const pieces: Buffer[] = [];
  for await (const piece of socket) {
    pieces.push(piece);
    if (pieces.length % 8 === 0) await turn();
  }
  return Buffer.concat(pieces);
};

const CLOSE = 'Connection: close\r\n';

t.test('eight slow ones beside a fast one', async (t) => {
  const { url, object } = await stored(t);
  const slow = Array.from({ length: 8 }, (_, reader) => slowly(url, requestFor(url, CLOSE), 50 * reader));
  t.ok((await get(url)).body.equals(object.body.bytes), 'the fast one');
  for (const bytes of await Promise.all(slow)) {
    const [answer] = await parseAnswers(bytes, ['GET']);
    t.ok(answer?.complete && answer.body.equals(object.body.bytes));
  }
});

t.test('three requests ahead on one connection', async (t) => {
  const { url, object } = await stored(t);
  const bytes = await slowly(url, requestFor(url) + requestFor(url) + requestFor(url, CLOSE), 100);
  const answers = await parseAnswers(bytes, ['GET', 'GET', 'GET']);
  t.equal(answers.length, 3);
  for (const answer of answers) t.ok(answer.complete && answer.body.equals(object.body.bytes));
});

t.test('some that leave in the middle harm nobody', async (t) => {
  const { url, object } = await stored(t);
  const staying = slowly(url, requestFor(url, CLOSE), 200);
  for (let reader = 0; reader < 16; reader += 1) {
    const socket = connect({ host: url.hostname, port: Number(url.port) });
    socket.write(requestFor(url));
    await once(socket, 'data');
    if (reader % 2 === 0) socket.resetAndDestroy();
    else socket.destroy();
  }
  const [answer] = await parseAnswers(await staying, ['GET']);
  t.ok(answer?.complete && answer.body.equals(object.body.bytes));
  t.ok((await get(url)).body.equals(object.body.bytes), 'and the next');
});
