// The replay sends what was recorded, byte for byte, and ends each connection as told.

import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { answer, healthyAttic, type Route, replayed, startAtticReplay } from './attic-replay.ts';
import { atticWireNames, loadAtticWire, wireBytes } from './attic-wire.ts';

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: cache.test\r\n\r\n`;

/** Everything that came, and how it ended. */
const exchange = async (port: number, sent: string): Promise<{ bytes: Buffer; end: 'fin' | 'reset' }> => {
  const socket = connect(port, '127.0.0.1');
  const pieces: Buffer[] = [];
  let end: 'fin' | 'reset' = 'reset';
  socket.on('data', (piece: Buffer) => pieces.push(piece)).on('error', () => {});
  socket.on('end', () => {
    end = 'fin';
  });
  socket.write(sent);
  await new Promise((resolve) => socket.once('close', resolve));
  return { bytes: Buffer.concat(pieces), end };
};

t.test('every capture comes as it was recorded, and ends with FIN', async (t) => {
  const replay = await startAtticReplay(t, (_method, path) => path.slice(1));
  for (const name of atticWireNames()) {
    const { bytes, end } = await exchange(replay.port, get(`/${name}`));
    t.ok(bytes.equals(wireBytes(loadAtticWire(name))), name);
    t.equal(end, 'fin', name);
  }
  t.equal(replay.requests.length, 90);
});

t.test('a reset is a reset', async (t) => {
  const { bytes } = replayed('nar-zstd-multi');
  const replay = await startAtticReplay(t, () => ({ bytes: bytes.subarray(0, 10_000), end: 'reset' }));
  const { end } = await exchange(replay.port, get('/'));
  t.equal(end, 'reset');
});

t.test('a kept connection carries request after request, with their bodies on record', async (t) => {
  const route: Route = (method) =>
    method === 'PUT' ? answer(200) : replayed('narinfo-zstd-multi', { keepAlive: true });
  const replay = await startAtticReplay(t, route);
  const put = 'PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n';
  const { bytes } = await exchange(replay.port, `${get('/a')}${put}`);
  t.notMatch(bytes.toString('latin1').slice(0, 200), /connection: close/);
  t.match(bytes.toString('latin1'), /mU2canveT8hkaY4OBw==\nHTTP\/1\.1 200 x\r\n/);
  t.strictSame(
    replay.requests.map(({ method, path, body }) => [method, path, body.toString()]),
    [
      ['GET', '/a', ''],
      ['PUT', '/b', 'abc'],
    ],
  );
});

t.test('a recorded redirect leads back to the replay', async (t) => {
  const replay = await startAtticReplay(t, healthyAttic('zstd'));
  const nar = await fetch(`${replay.url}/lab/nar/v1z7bs0mmfzcnjpsc19z3gdhmdari6nl.nar`);
  t.equal(nar.redirected, true);
  t.ok(Buffer.from(await nar.arrayBuffer()).equals(loadAtticWire('nar-zstd-single-s3').body));
  t.equal((await fetch(`${replay.url}/lab/00000000000000000000000000000000.narinfo`)).status, 404);
  const head = await fetch(`${replay.url}/lab/dk33x7gbx0vxhmn8wng0r9rkws1vjj3c.narinfo`, { method: 'HEAD' });
  t.equal(head.headers.get('content-length'), '335');
});

t.test('closing ends what is open', async (t) => {
  const replay = await startAtticReplay(t, () => ({ bytes: Buffer.from('HTTP/1.1 200 OK\r\n\r\n'), end: 'open' }));
  const socket = connect(replay.port, '127.0.0.1').on('error', () => {});
  socket.write(get('/'));
  await once(socket, 'data');
  const closed = once(socket, 'close');
  await replay.close();
  await closed;
  t.ok(socket.destroyed);
});
