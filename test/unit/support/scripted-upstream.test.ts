// The scripted upstream as a server: its tables, when faults apply, what it records, its connections, and its end.

import { Agent, request } from 'node:http';
import t from 'tap';
import { makeObject } from '../../support/cache-object.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { answersEarly, status } from '../../support/faults/answer.ts';
import { cutAfter, delay, holdAfter, stallBefore } from '../../support/faults/transfer.ts';
import { afterFirst, first, once, when, whileUp } from '../../support/faults/when.ts';
import { get, put, sendRaw } from '../../support/http-client.ts';
import { HttpConnection } from '../../support/http-connection.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { lazyNar } from '../../support/nar.ts';
import { startUpstream, type UpstreamOptions } from '../../support/scripted-upstream.ts';
import { lazily } from '../../support/upstream-plan.ts';

const one = await makeObject({ seed: 1, like: 'nix', kind: 'xz' });
const attic = await makeObject({ seed: 2 });

interface Teardown {
  teardown(action: () => unknown): unknown;
}

const start = async (t: Teardown, options: UpstreamOptions = {}) => {
  refuseLeaks(t);
  const upstream = await startUpstream(options);
  t.teardown(() => upstream.close());
  return upstream;
};

t.test('a plain Nix cache', async (t) => {
  const upstream = await start(t);
  const paths = upstream.add(one);
  const info = await get(`${upstream.url()}/nix-cache-info`);
  t.match(info, { status: 200, framing: 'length', complete: true });
  t.match(info.body.toString(), /^StoreDir: \/nix\/store\n/);
  t.equal((await get(upstream.url() + paths.narinfo)).body.toString(), one.narinfo);
  const nar = await get(`${upstream.url() + paths.nar}?with=query`);
  t.ok(nar.body.equals(one.body.bytes));
  t.match(nar.headers, { 'accept-ranges': 'bytes', etag: /^"\w+"$/, 'content-length': String(nar.body.length) });
  const head = await get(upstream.url() + paths.nar, { method: 'HEAD' });
  t.match(head, { status: 200, bodyBytes: 0, headers: { 'content-length': String(nar.body.length) } });
  t.equal((await get(`${upstream.url()}/${attic.narinfoPath}`)).status, 404);
  t.equal((await put(upstream.url() + paths.nar, 'x')).status, 405);
  upstream.answer('/log/x', { content: 'text', contentType: 'text/plain' });
  t.match(await get(`${upstream.url()}/log/x`), { complete: true, headers: { 'content-type': 'text/plain' } });
  upstream.remove(paths.nar);
  t.equal((await get(upstream.url() + paths.nar)).status, 404);
});

t.test('Attic caches, each with its own readers', async (t) => {
  const upstream = await start(t, {
    caches: [
      { name: 'lab', isPublic: true },
      { name: 'priv', authorization: 'Bearer good' },
    ],
  });
  const lab = upstream.add(attic);
  const priv = upstream.add(attic, { cache: 'priv' });
  t.equal(lab.nar, `/lab/nar/${attic.hash}.nar`);
  const open = await get(upstream.origin + lab.nar);
  t.match(open, { framing: 'chunked', headers: { 'x-attic-cache-visibility': 'public' } });
  t.notOk('accept-ranges' in open.headers);
  t.strictSame(Object.keys((await get(upstream.origin + lab.nar, { method: 'HEAD' })).headers).sort(), [
    'content-type',
    'date',
    'x-attic-cache-visibility',
  ]);
  const refused = await get(upstream.origin + priv.narinfo, { headers: { Authorization: 'Bearer bad' } });
  t.match(refused, { status: 401, headers: { 'content-type': 'application/json' } });
  t.match(JSON.parse(refused.body.toString()), { code: 401, error: 'Unauthorized' });
  const read = await get(upstream.origin + priv.narinfo, { headers: { Authorization: 'Bearer good' } });
  t.equal(read.body.toString(), attic.narinfo);
  const absent = await get(`${upstream.url('priv')}/x.narinfo`, { headers: { Authorization: 'Bearer good' } });
  t.match(JSON.parse(absent.body.toString()), { code: 404, error: 'NoSuchObject' });
  const old = await get(upstream.origin + lab.nar, { version: '1.0' });
  t.match(old, { framing: 'close', ended: 'fin' });
  t.ok(old.body.equals(attic.body.bytes));
});

t.test('when a fault applies', async (t) => {
  const upstream = await start(t);
  const { nar, narinfo } = upstream.add(one);
  const statuses = async (count: number, path = nar, headers = {}) => {
    const seen: number[] = [];
    for (let turn = 0; turn < count; turn++) seen.push((await get(upstream.url() + path, { headers })).status);
    return seen;
  };
  upstream.script(nar, once(status(500)));
  t.strictSame(await statuses(2), [500, 200]);
  upstream.script(nar, first(2, status(500)), afterFirst(3, status(502)));
  t.strictSame(await statuses(5), [500, 500, 200, 502, 502]);
  const flag = { isUp: true };
  upstream.script(nar, whileUp(flag, status(503)));
  t.strictSame(await statuses(2), [503, 503]);
  flag.isUp = false;
  t.strictSame(await statuses(1), [200]);
  upstream.script(
    nar,
    when(({ headers }) => headers['x-bad'] === 'yes', status(400)),
  );
  t.strictSame(await statuses(1), [200]);
  t.strictSame(await statuses(1, nar, { 'X-Bad': 'yes' }), [400]);
  upstream.script(nar);
  upstream.script(/\.narinfo$/, status(500));
  t.strictSame([...(await statuses(1)), ...(await statuses(1, narinfo))], [200, 500]);
});

t.test('what it records', async (t) => {
  const upstream = await start(t);
  const { nar } = upstream.add(one);
  const { promise, resolve } = Promise.withResolvers<void>();
  upstream.script(nar, holdAfter(10, promise));
  const two = [get(`${upstream.url() + nar}?a=b`, { headers: { 'X-A': '1' } }), get(upstream.url() + nar)];
  await upstream.asked(nar, 2);
  t.strictSame(upstream.transfers(nar), { total: 2, open: 2, mostOpen: 2, complete: 0 });
  resolve();
  await Promise.all(two);
  upstream.script(nar, cutAfter(10));
  await get(upstream.url() + nar);
  await get(upstream.url() + nar, { method: 'HEAD' });
  await upstream.idle();
  t.strictSame(upstream.transfers(nar), { total: 3, open: 0, mostOpen: 2, complete: 2 });
  const [first, , third] = upstream.requests;
  t.match(first, { method: 'GET', target: `${nar}?a=b`, path: nar, version: '1.1', ended: 'complete', status: 200 });
  t.equal(first?.headers['x-a'], '1');
  t.equal(first?.bodyBytesSent, one.body.bytes.length);
  t.match(third, { ended: 'cut', bodyBytesSent: 10 });
  t.ok((third?.atMs ?? 0) > (first?.atMs ?? 0));
  t.strictSame(upstream.transfers('/other'), { total: 0, open: 0, mostOpen: 0, complete: 0 });
});

t.test('connections are kept alive', async (t) => {
  const upstream = await start(t);
  const { nar, narinfo } = upstream.add(one);
  const connection = new HttpConnection(upstream.url());
  for (const path of [narinfo, nar, '/absent', nar]) t.ok((await connection.request({}, path)).complete);
  await connection.request({ headers: { Connection: 'close' } }, nar);
  t.equal((await connection.request({}, nar)).status, 0);
  connection.close();
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const sizes = [];
  for (let turn = 0; turn < 2; turn++) {
    sizes.push(
      await new Promise((resolve, reject) => {
        request(upstream.url() + nar, { agent }, async (response) => {
          let size = 0;
          for await (const piece of response) size += piece.length;
          resolve(size);
        })
          .on('error', reject)
          .end();
      }),
    );
  }
  t.strictSame(sizes, [one.body.bytes.length, one.body.bytes.length], 'as node:http reads it');
  t.strictSame(
    upstream.requests.map((each) => each.connection),
    [1, 1, 1, 1, 1, 2, 2],
  );
  upstream.dropConnections();
  const pipelined = `GET ${narinfo} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(2);
  t.match((await sendRaw(upstream.url(), pipelined, { quietMs: 300 })).answers, [{ status: 200 }, { status: 200 }]);
  t.match((await sendRaw(upstream.url(), 'nonsense\r\n\r\n')).answers, [{ status: 400 }]);
});

t.test('uploads', async (t) => {
  const upstream = await start(t, { acceptsUploads: true });
  const body = Buffer.alloc(300_000, 'u');
  const url = `${upstream.url()}/nar/up.nar`;
  t.equal((await put(url, body)).status, 201);
  t.ok((await get(url)).body.equals(body));
  t.match(await put(url, [body, body], { expectContinue: true }), { interim: [100], status: 201 });
  t.equal((await get(url)).bodyBytes, 600_000);
  upstream.answer('/_api/v1/get-missing-paths', {
    method: 'POST',
    content: lazily(() => [Buffer.from(`{"missing_paths":${upstream.requests.at(-1)?.uploaded}}`)], null),
  });
  const asked = await put(`${upstream.url()}/_api/v1/get-missing-paths`, '["a"]', { method: 'POST' });
  t.equal(asked.body.toString(), '{"missing_paths":["a"]}');
  upstream.script('/nar/up.nar', status(401), answersEarly());
  const early = await put(url, body, { expectContinue: true });
  t.match(early, { status: 401, interim: [], sentBytes: 0 });
  t.equal(upstream.requests.at(-1)?.uploadedBytes, 0);
});

t.test('refused, and back on the same port', async (t) => {
  const upstream = await start(t);
  const { nar } = upstream.add(one);
  const { origin } = upstream;
  const kept = new HttpConnection(origin);
  t.ok((await kept.request({}, nar)).complete);
  await upstream.refuse();
  t.equal((await get(origin + nar)).ended, 'refused');
  t.equal((await kept.request({}, nar)).status, 0, 'kept connections are gone, too');
  await upstream.refuse();
  await upstream.comeBack();
  t.equal(upstream.origin, origin);
  t.ok((await get(origin + nar)).complete);
});

t.test('closing ends what hangs', async (t) => {
  refuseLeaks(t);
  const upstream = await startUpstream();
  const { nar, narinfo } = upstream.add(one);
  upstream.script(nar, stallBefore());
  upstream.script(narinfo, delay(60_000));
  const waiting = [get(upstream.url() + nar), get(upstream.url() + narinfo)];
  await upstream.asked(narinfo);
  await upstream.asked(nar);
  await upstream.close();
  for (const answer of await Promise.all(waiting)) t.match(answer, { status: 0, complete: false });
  t.match(upstream.requests, [{ ended: 'gone' }, { ended: 'gone' }]);
});

t.test('a mistake in a script comes out', async (t) => {
  const upstream = await startUpstream();
  upstream.script('/x', () => {
    throw new Error('no such frame');
  });
  t.equal((await get(`${upstream.url()}/x`)).status, 0);
  await t.rejects(upstream.close(), /no such frame/);
});

t.test('time can be a test’s own', async (t) => {
  const clock = new FakeClock(0);
  const upstream = await start(t, { clock });
  const { nar } = upstream.add(one);
  upstream.script(nar, delay(3_600_000));
  const answer = get(upstream.url() + nar);
  await clock.untilArmed();
  await clock.advance(3_600_000);
  t.match(await answer, { complete: true, headers: { date: 'Thu, 01 Jan 1970 01:00:00 GMT' } });
});

t.test('a large body is never held, and waits for its reader', async (t) => {
  const upstream = await start(t);
  const nar = lazyNar({ seed: 1, sizeBytes: 192 * 1024 * 1024 });
  upstream.answer('/nar/big', { content: lazily(() => nar.chunks(), nar.sizeBytes) });
  const before = process.memoryUsage().rss;
  const { promise, resolve } = Promise.withResolvers<void>();
  let sentWhileStalled = 0;
  const answer = get(`${upstream.url()}/nar/big`, {
    keepBody: false,
    stall: { afterBytes: 1, until: promise },
  });
  // The kernel's buffers on both sides fill up, and no more.
  while (sentWhileStalled === 0 || sentWhileStalled !== upstream.requests[0]?.bodyBytesSent) {
    sentWhileStalled = upstream.requests[0]?.bodyBytesSent ?? 0;
    for (let turn = 0; turn < 20; turn++) await new Promise((next) => setImmediate(next));
  }
  t.ok(sentWhileStalled < 32 * 1024 * 1024, `${sentWhileStalled} bytes went out`);
  resolve();
  t.match(await answer, { complete: true, bodyBytes: nar.sizeBytes, bodySha256: nar.digest().sha256 });
  t.ok(process.memoryUsage().rss - before < 128 * 1024 * 1024);
  const tail = await get(`${upstream.url()}/nar/big`, { abortAfterBytes: 1 });
  t.equal(tail.ended, 'aborted');
});
