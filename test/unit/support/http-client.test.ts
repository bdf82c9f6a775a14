// The client tells apart every way in which an answer can end, against servers that are not ours.

import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import t from 'tap';
import type { Ending } from '../../support/http-answer.ts';
import { get, put, sendRaw } from '../../support/http-client.ts';
import { HttpConnection } from '../../support/http-connection.ts';
import { refuseLeaks } from '../../support/leaks.ts';

interface Teardown {
  teardown(action: () => unknown): unknown;
}

const listen = async (t: Teardown, server: Server): Promise<string> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => new Promise((resolve) => server.close(resolve)));
  const address = server.address();
  return `http://127.0.0.1:${address && typeof address === 'object' ? address.port : 0}`;
};

const nodeServer = (t: Teardown, listener: RequestListener) => {
  const server = createHttpServer(listener);
  t.teardown(() => server.closeAllConnections());
  return listen(t, server);
};

/** Answers whatever comes with these bytes, and ends the connection that way. */
const rawServer = (t: Teardown, bytes: string, end: (socket: Socket) => unknown) =>
  listen(
    t,
    createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.write(bytes, () => end(socket)));
    }),
  );

const fin = (socket: Socket) => socket.end();
const reset = (socket: Socket) => socket.resetAndDestroy();
const head = 'HTTP/1.1 200 OK\r\n';

const rows: {
  reason: string;
  bytes: string;
  end: (socket: Socket) => unknown;
  wanted: { status: number; body: string; ended: Ending; looksComplete?: true };
}[] = [
  {
    reason: 'length met',
    bytes: `${head}Content-Length: 3\r\n\r\nabc`,
    end: fin,
    wanted: { status: 200, body: 'abc', ended: 'clean', looksComplete: true },
  },
  {
    reason: 'length not met',
    bytes: `${head}Content-Length: 4\r\n\r\nabc`,
    end: fin,
    wanted: { status: 200, body: 'abc', ended: 'fin' },
  },
  {
    reason: 'length, then reset',
    bytes: `${head}Content-Length: 4\r\n\r\nabc`,
    end: reset,
    wanted: { status: 200, body: 'abc', ended: 'reset' },
  },
  {
    reason: 'chunks, an extension, a trailer',
    bytes: `${head}Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nA: b\r\n\r\n`,
    end: fin,
    wanted: { status: 200, body: 'abc', ended: 'clean', looksComplete: true },
  },
  {
    reason: 'no last chunk',
    bytes: `${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`,
    end: fin,
    wanted: { status: 200, body: 'abc', ended: 'fin' },
  },
  {
    reason: 'no end after the last chunk',
    bytes: `${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n`,
    end: fin,
    wanted: { status: 200, body: 'abc', ended: 'fin' },
  },
  {
    reason: 'a cut chunk',
    bytes: `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nabc`,
    end: reset,
    wanted: { status: 200, body: 'abc', ended: 'reset' },
  },
  {
    reason: 'no chunk size',
    bytes: `${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n`,
    end: fin,
    wanted: { status: 200, body: 'abc', ended: 'malformed' },
  },
  {
    reason: 'close-delimited',
    bytes: `${head}\r\nabc`,
    end: fin,
    wanted: { status: 200, body: 'abc', ended: 'fin', looksComplete: true },
  },
  {
    reason: 'close-delimited, reset',
    bytes: `${head}\r\nabc`,
    end: reset,
    wanted: { status: 200, body: 'abc', ended: 'reset' },
  },
  { reason: 'no head', bytes: '', end: fin, wanted: { status: 0, body: '', ended: 'fin' } },
  { reason: 'half a head', bytes: 'HTTP/1.1 20', end: fin, wanted: { status: 0, body: '', ended: 'fin' } },
  { reason: 'no HTTP', bytes: 'SSH-2.0\r\n\r\n', end: fin, wanted: { status: 0, body: '', ended: 'malformed' } },
];

t.test('how an answer ends', async (t) => {
  refuseLeaks(t);
  for (const { reason, bytes, end, wanted } of rows) {
    const answer = await get(await rawServer(t, bytes, end));
    const { status, body, ended, looksComplete } = answer;
    const found = { status, body: body.toString(), ended, ...(looksComplete && { looksComplete }) };
    t.strictSame(found, wanted, reason);
    t.equal(answer.complete, ended === 'clean', `${reason}: complete`);
  }
});

t.test('against node:http', async (t) => {
  refuseLeaks(t);
  const big = Buffer.alloc(3_000_000, 'x');
  const url = await nodeServer(t, (request, response) => {
    if (request.url === '/echo') request.on('data', (piece) => response.write(piece)).on('end', () => response.end());
    else if (request.url === '/twice')
      response
        .writeHead(
          200,
          [
            ['A', '1'],
            ['a', '2'],
          ].flat(),
        )
        .end();
    else response.end(big);
  });
  const whole = await get(`${url}/big`);
  t.ok(whole.complete && whole.body.equals(big));
  const echoed = await put(`${url}/echo`, big);
  t.ok(echoed.complete && echoed.body.equals(big));
  t.equal(echoed.sentBytes, big.length);
  const chunked = await put(`${url}/echo`, [Buffer.from('ab'), Buffer.from('c')]);
  t.equal(chunked.body.toString(), 'abc');
  const counted = await get(`${url}/big`, { keepBody: false });
  t.equal(counted.body.length, 0);
  t.equal(counted.bodyBytes, big.length);
  t.equal(counted.bodySha256, whole.bodySha256);
  const headers = await get(`${url}/twice`, { method: 'HEAD' });
  t.equal(headers.headers['a'], '1, 2');
  t.strictSame(headers.rawHeaders.slice(0, 2), [
    ['A', '1'],
    ['a', '2'],
  ]);
  const old = await get(`${url}/echo`, { version: '1.0' });
  t.equal(old.framing, 'close');
  const connection = new HttpConnection(url);
  for (let turn = 0; turn < 3; turn++) t.ok((await connection.request({}, '/big')).complete);
  connection.close();
});

t.test('expecting 100-continue', async (t) => {
  refuseLeaks(t);
  const server = createHttpServer();
  t.teardown(() => server.closeAllConnections());
  server.on('checkContinue', (request, response) => {
    if (request.url === '/no') return response.writeHead(403).end('no');
    response.writeContinue();
    request.resume().on('end', () => response.end('yes'));
  });
  const url = await listen(t, server);
  const accepted = await put(`${url}/yes`, Buffer.alloc(100_000), { expectContinue: true });
  t.match(accepted, { status: 200, interim: [100], sentBytes: 100_000 });
  const refused = await put(`${url}/no`, Buffer.alloc(100_000), { expectContinue: true });
  t.match(refused, { status: 403, interim: [], sentBytes: 0, complete: true });
  t.equal(refused.body.toString(), 'no');
});

t.test('an early answer stops the sending, and is lost on a plain client', async (t) => {
  refuseLeaks(t);
  const url = await listen(
    t,
    createServer((socket) => {
      socket.on('error', () => {});
      // Answers and is gone, unread bytes behind it: the kernel says RST.
      socket.once('data', () => {
        socket.pause();
        socket.end(`HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
      });
    }),
  );
  const body = Buffer.alloc(20_000_000);
  const reader = await put(url, body);
  t.ok(reader.sentBytes < body.length);
  const plain = await put(url, body, { sendsAllFirst: true });
  t.equal(plain.ended, 'reset');
});

t.test('aborting, stalling, giving up', async (t) => {
  refuseLeaks(t);
  let closed = 0;
  const url = await nodeServer(t, (request, response) => {
    response.on('close', () => closed++);
    if (request.url === '/silent') return;
    response.writeHead(200, { 'Content-Length': 50_000_000 });
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    };
    response.on('drain', more);
    more();
  });
  const aborted = await get(url, { abortAfterBytes: 100_000 });
  t.match(aborted, { ended: 'aborted', complete: false });
  t.ok(aborted.bodyBytes >= 100_000 && aborted.bodyBytes < 1_000_000);
  const late = await get(`${url}/silent`, { timeoutMs: 300 });
  t.match(late, { status: 0, ended: 'timeout', headMs: null });
  const stop = new AbortController();
  const signalled = await get(url, { signal: stop.signal, onHead: () => stop.abort() });
  t.match(signalled, { status: 200, ended: 'aborted' });
  const stalled = await get(url, {
    stall: { afterBytes: 1000, until: new Promise(() => {}) },
    timeoutMs: 300,
  });
  t.equal(stalled.ended, 'timeout');
  t.ok(stalled.bodyBytes < 1_000_000);
  t.equal((await get('http://127.0.0.1:1/')).ended, 'refused');
  while (closed < 4) await new Promise((resolve) => setImmediate(resolve));
});

t.test('what no library would send', async (t) => {
  refuseLeaks(t);
  const seen: string[] = [];
  const url = await listen(
    t,
    createServer((socket) => {
      socket.on('data', (bytes) => {
        seen.push(bytes.toString('latin1').split('\r\n')[0] ?? '');
        socket.write('HTTP/1.1 204 No\r\n\r\n');
      });
    }),
  );
  for (const rawTarget of ['/../x', '/%2e%2e/', '/a\0b', '*', 'http://other/', '/\xff']) {
    t.equal((await get(url, { rawTarget })).status, 204);
    t.equal(seen.pop(), `GET ${rawTarget} HTTP/1.1`);
  }
  const twice = await sendRaw(url, 'GET / HTTP/1.1\n\n', { quietMs: 300 });
  t.match(twice, { ended: 'open', answers: [{ status: 204 }] });
  t.equal(seen.pop(), 'GET / HTTP/1.1\n\n');
});

t.test('several answers on one connection', async (t) => {
  refuseLeaks(t);
  const url = await nodeServer(t, (request, response) => response.end(`${request.method} ${request.url}`));
  const pipelined = 'HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
  const { answers, ended } = await sendRaw(url, pipelined, { methods: ['HEAD', 'GET'] });
  t.strictSame(
    answers.map(({ body }) => body.toString()),
    ['', 'GET /2'],
  );
  t.equal(ended, 'fin');
});
