// Each fault, as a client sees it, in each framing in which it differs; and what the upstream says that it sent.

import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import t, { type Test as Tap } from 'tap';
import { type CacheObject, makeObject } from '../../support/cache-object.ts';
import type { BodyKind } from '../../support/encodings.ts';
import {
  badChunk,
  content,
  declaredLength,
  etag,
  forbiddenBehindRedirect,
  framed,
  ignoresRange,
  presigned,
  rangeShifted,
  rawAnswer,
  redirect,
  status,
  twoFramings,
  withHeader,
} from '../../support/faults/answer.ts';
import {
  bomb,
  cleanShort,
  contentEncodingGzip,
  damageFrame,
  endlessEmpty,
  endlessSkippable,
  flip,
  tooLong,
  trailing,
} from '../../support/faults/content.ts';
import { narinfoField, narinfoUrl } from '../../support/faults/narinfo.ts';
import {
  closeWithoutHead,
  cutAfter,
  cutAtFrame,
  cutInsideFrame,
  delay,
  drip,
  headThenSilence,
  holdAfter,
  holdBefore,
  resetAfter,
  resetWithoutHead,
  slow,
  stallAfter,
  stallBefore,
  withoutTerminator,
  zeroBytes,
} from '../../support/faults/transfer.ts';
import { type Fault, onRange } from '../../support/faults/when.ts';
import type { Answer, Ending } from '../../support/http-answer.ts';
import { get } from '../../support/http-client.ts';
import type { RequestOptions } from '../../support/http-connection.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { type ScriptedUpstream, startUpstream } from '../../support/scripted-upstream.ts';
import type { Exchange } from '../../support/upstream-exchange.ts';
import { type Framing, inMemory } from '../../support/upstream-plan.ts';

const object = await makeObject({ seed: 'faults', sizeBytes: 300_000 });
const { bytes, frames } = object.body;
const frame = (index: number): number => frames[index] ?? 0;
interface Seen {
  readonly answer: Answer;
  readonly exchange: Exchange | undefined;
}

const ask = async (
  faults: readonly Fault[],
  options: RequestOptions = {},
  { held = object, ranges = false }: { held?: CacheObject; ranges?: boolean } = {},
): Promise<Seen> => {
  const upstream = await startUpstream();
  const { nar } = upstream.add(held, { ranges });
  upstream.script(nar, ...faults);
  const answer = await get(upstream.url() + nar, options);
  await upstream.close();
  return { answer, exchange: upstream.requests[0] };
};

interface Row {
  readonly reason: string;
  readonly fault: Fault;
  readonly framings?: readonly Framing[];
  /** `aborted`: it would wait for ever; the test ends it when all that is to come has come, and a moment has passed. */
  readonly ended: Ending | Partial<Record<Framing, Ending>>;
  readonly status?: number;
  readonly body: Buffer | number;
  readonly sent?: Exchange['ended'];
}

const flipped = (at: number): Buffer => {
  const damaged = Buffer.from(bytes);
  damaged[at] = (damaged[at] ?? 0) ^ 1;
  return damaged;
};
const extra = Buffer.from('extra');
const whole = { chunked: 'clean', length: 'clean', close: 'fin' } as const;
const all: readonly Framing[] = ['chunked', 'length', 'close'];
const middle = (index: number) => Math.floor((frame(index) + frame(index + 1)) / 2);

const rows: Row[] = [
  { reason: 'no fault', fault: (plan) => plan, ended: whole, body: bytes, sent: 'complete' },
  {
    reason: 'status',
    fault: status(503, 'no'),
    ended: 'clean',
    status: 503,
    body: Buffer.from('no'),
    sent: 'complete',
  },
  { reason: 'no head', fault: closeWithoutHead(), ended: 'fin', status: 0, body: 0 },
  { reason: 'no head, reset', fault: resetWithoutHead(), ended: 'reset', status: 0, body: 0 },
  { reason: 'zero bytes', fault: zeroBytes(), ended: 'fin', body: 0 },
  { reason: 'cut', fault: cutAfter(70_001), ended: 'fin', body: 70_001 },
  { reason: 'reset', fault: resetAfter(70_001), ended: 'reset', body: 70_001 },
  { reason: 'no terminator', fault: withoutTerminator(), framings: ['chunked'], ended: 'fin', body: bytes },
  { reason: 'silence at once', fault: stallBefore(), ended: 'aborted', status: 0, body: 0, sent: 'gone' },
  { reason: 'silence after the head', fault: headThenSilence(), ended: 'aborted', body: 0, sent: 'gone' },
  { reason: 'silence after bytes', fault: stallAfter(1000), ended: 'aborted', body: 1000, sent: 'gone' },
  { reason: 'cut at a frame', fault: cutAtFrame(2), ended: 'fin', body: frame(2) },
  { reason: 'cut in a frame', fault: cutInsideFrame(2), ended: 'fin', body: middle(2) },
  { reason: 'short', fault: cleanShort(1234), ended: whole, body: bytes.subarray(0, 1234), sent: 'complete' },
  { reason: 'empty', fault: cleanShort(0), ended: whole, body: 0, sent: 'complete' },
  { reason: 'first flipped', fault: flip('first'), ended: whole, body: flipped(0), sent: 'complete' },
  { reason: 'one flipped', fault: flip(70_000), ended: whole, body: flipped(70_000), sent: 'complete' },
  { reason: 'middle flipped', fault: flip('middle'), ended: whole, body: flipped(bytes.length >> 1), sent: 'complete' },
  { reason: 'last flipped', fault: flip('last'), ended: whole, body: flipped(bytes.length - 1), sent: 'complete' },
  { reason: 'frame damaged', fault: damageFrame(3), ended: whole, body: flipped(middle(3)), sent: 'complete' },
  { reason: 'trailing', fault: trailing(extra), ended: whole, body: Buffer.concat([bytes, extra]), sent: 'complete' },
  {
    reason: 'raw',
    fault: rawAnswer('HTTP/1.1 200 OK\r\n\r\nab'),
    ended: 'fin',
    body: Buffer.from('ab'),
    sent: 'complete',
  },
  { reason: 'chunk size', fault: badChunk(), framings: ['chunked'], ended: 'malformed', body: 0, sent: 'gone' },
  {
    reason: 'length lies low',
    fault: declaredLength(9),
    framings: ['length'],
    ended: 'clean',
    body: bytes.subarray(0, 9),
    sent: 'gone',
  },
  {
    reason: 'length lies high',
    fault: declaredLength(10 ** 9),
    framings: ['length'],
    ended: 'aborted',
    body: bytes,
    sent: 'complete',
  },
  {
    reason: 'two framings',
    fault: twoFramings(9),
    framings: ['chunked'],
    ended: 'clean',
    body: bytes,
    sent: 'complete',
  },
];

const observe = async (t: Tap, row: Row, framing: Framing): Promise<void> => {
  const name = `${row.reason}, ${framing}`;
  const stop = new AbortController();
  const expected = typeof row.body === 'number' ? row.body : row.body.length;
  const giveUp = () => setTimeout(() => stop.abort(), 20);
  if (row.ended === 'aborted' && row.status === 0) giveUp();
  const { answer, exchange } = await ask([framed(framing), row.fault], {
    signal: stop.signal,
    onHead: () => row.ended === 'aborted' && expected === 0 && giveUp(),
    onBytes: (_, bytesSoFar) => row.ended === 'aborted' && bytesSoFar === expected && giveUp(),
  });
  t.equal(answer.ended, typeof row.ended === 'string' ? row.ended : row.ended[framing], name);
  t.equal(answer.status, row.status ?? 200, `${name}: status`);
  t.equal(answer.bodyBytes, expected, `${name}: body`);
  const wanted = typeof row.body === 'number' ? bytes.subarray(0, row.body) : row.body;
  t.ok(answer.body.equals(wanted), `${name}: bytes`);
  // Where the client ends it early, how far the upstream came is up to the kernel's buffers.
  if (row.sent !== 'gone') t.equal(exchange?.ended, row.sent ?? 'cut', `${name}: sent`);
  if (exchange?.status) t.ok(exchange.bodyBytesSent >= answer.bodyBytes, `${name}: counted`);
};

t.test('faults in every framing', async (t) => {
  refuseLeaks(t);
  for (const row of rows) {
    for (const framing of row.framings ?? all) await observe(t, row, framing);
  }
});

t.test('too much of it, in every encoding', async (t) => {
  refuseLeaks(t);
  const kinds: BodyKind[] = ['none', 'zstd-many', 'xz', 'gzip', 'br'];
  for (const kind of kinds) {
    const held = await makeObject({ seed: kind, sizeBytes: 5000, kind });
    const { answer } = await ask([tooLong(4000)], {}, { held });
    t.ok(answer.complete, kind);
    t.ok(answer.body.length > held.body.bytes.length, kind);
    t.ok(answer.body.subarray(0, held.body.bytes.length).equals(held.body.bytes), kind);
  }
  const long = await ask([tooLong(4000)]);
  t.equal(zstdDecompressSync(long.answer.body.subarray(bytes.length)).length, 4000);
  const bombed = await ask([bomb(8_000_000)]);
  t.equal(zstdDecompressSync(bombed.answer.body).length, 8_000_000);
  const gzipped = await ask([bomb(50_000)], {}, { held: await makeObject({ seed: 1, kind: 'gzip' }) });
  t.equal(gunzipSync(gzipped.answer.body).length, 50_000);
});

t.test('bodies without end', async (t) => {
  refuseLeaks(t);
  for (const fault of [endlessSkippable(), endlessEmpty()]) {
    const { answer, exchange } = await ask([framed('chunked'), fault], { abortAfterBytes: 3_000_000, timeoutMs: 5000 });
    t.equal(answer.ended, 'aborted');
    t.equal(exchange?.ended, 'gone');
  }
});

t.test('a reset comes when all before it was read', async (t) => {
  refuseLeaks(t);
  const held = await makeObject({ seed: 'reset', sizeBytes: 8_000_000, kind: 'none' });
  const { answer } = await ask([resetAfter(7_000_000)], {}, { held });
  t.match(answer, { ended: 'reset', bodyBytes: 7_000_000 });
});

t.test('redirects', async (t) => {
  refuseLeaks(t);
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  const { nar } = upstream.add(object);
  const follow = async (fault: Fault, headers = {}, method = 'GET') => {
    upstream.script(nar, fault);
    const { status, headers: given, bodyBytes } = await get(upstream.origin + nar);
    t.equal(status, 307);
    t.equal(bodyBytes, 0);
    return get(given['location'] ?? '', { headers, method });
  };
  t.equal((await follow(redirect(`${upstream.origin}/nowhere`))).status, 404);
  const forbidden = await follow(forbiddenBehindRedirect());
  t.equal(forbidden.status, 403);
  t.match(forbidden.body.toString(), '<Code>AccessDenied</Code>');
  const stored = await follow(presigned());
  t.ok(stored.complete && stored.body.equals(bytes));
  t.equal((await follow(presigned(), { Authorization: 'Bearer x' })).status, 400, 'AWS takes one credential');
  t.equal((await follow(presigned(), {}, 'HEAD')).status, 403, 'signed for GET');
  upstream.script(`/-/store${nar}`, cutAfter(10));
  t.equal((await follow(presigned())).ended, 'fin');
  upstream.remove(nar);
  t.equal((await get(`${upstream.origin}/-/store${nar}`)).status, 404);
});

t.test('narinfos', async (t) => {
  refuseLeaks(t);
  const upstream = await startUpstream();
  t.teardown(() => upstream.close());
  const { narinfo } = upstream.add(object);
  const line = async (name: string, fault: Fault) => {
    upstream.script(narinfo, fault);
    const { body, complete } = await get(upstream.url() + narinfo);
    t.ok(complete);
    return new RegExp(`^${name}: (.*)\n`, 'm').exec(body.toString())?.[1];
  };
  t.equal(await line('URL', narinfoUrl('absolute')), `http://127.0.0.1:1/${object.narPath}`);
  t.equal(await line('URL', narinfoUrl('climbing')), `../other/${object.narPath}`);
  t.equal(await line('URL', narinfoUrl('$&x')), '$&x');
  t.equal(await line('NarSize', narinfoField('NarSize', '0')), '0');
  t.equal(await line('NarHash', narinfoField('NarHash', null)), undefined);
});

t.test('a coding on top', async (t) => {
  const { answer } = await ask([contentEncodingGzip(), withHeader('X-Other', 'a')]);
  t.match(answer.headers, { 'content-encoding': 'gzip', 'x-other': 'a' });
  t.ok(gunzipSync(answer.body).equals(bytes));
  t.ok((await ask([content(inMemory('else'))])).answer.body.equals(Buffer.from('else')));
});

t.test('ranges', async (t) => {
  refuseLeaks(t);
  const ranged = async (range: string, faults: readonly Fault[] = [], ifRange?: string) => {
    const headers = { Range: range, ...(ifRange !== undefined && { 'If-Range': ifRange }) };
    return (await ask([etag('"v1"'), ...faults], { headers }, { ranges: true })).answer;
  };
  const size = bytes.length;
  const tail = await ranged('bytes=1000-');
  t.match(tail, { status: 206, complete: true });
  t.equal(tail.headers['content-range'], `bytes 1000-${size - 1}/${size}`);
  t.ok(tail.body.equals(bytes.subarray(1000)));
  t.ok((await ranged('bytes=5-6')).body.equals(bytes.subarray(5, 7)));
  t.ok((await ranged('bytes=-5')).body.equals(bytes.subarray(-5)));
  t.match(await ranged(`bytes=${size}-`), { status: 416, bodyBytes: 0 });
  t.match(await ranged('bytes=0-1,4-5'), { status: 200, bodyBytes: size });
  t.match(await ranged('bytes=9-', [], '"v1"'), { status: 206 });
  t.match(await ranged('bytes=9-', [], '"v0"'), { status: 200, bodyBytes: size });
  t.match(await ranged('bytes=9-', [ignoresRange()]), { status: 200, headers: { 'accept-ranges': 'bytes' } });
  t.match(await ranged('bytes=9-', [onRange(status(404))]), { status: 404 });
  const shifted = await ranged('bytes=1000-', [rangeShifted(-8)]);
  t.equal(shifted.headers['content-range'], `bytes 1000-${size - 1}/${size}`);
  t.ok(shifted.body.equals(bytes.subarray(992, size - 8)));
  t.equal((await ranged('bytes=1000-', [flip(1500)])).body[500], flipped(1500)[1500], 'damage stays in its place');
  t.equal((await ranged('bytes=1000-', [cutAtFrame(1)])).bodyBytes, frame(1) - 1000, 'so do frames');
  t.equal((await ranged('bytes=1000-', [cutAfter(10)])).bodyBytes, 10, 'cuts count this answer');
});

t.test('pace', async (t) => {
  refuseLeaks(t);
  const firstBytes = async (fault: Fault, abortAfterBytes: number) => (await ask([fault], { abortAfterBytes })).answer;
  const slowed = await firstBytes(slow(100_000), 10_000);
  t.ok(slowed.ms > 70 && slowed.ms < 1500, `10 kB in ${slowed.ms} ms`);
  const dripped = await firstBytes(drip(200), 20);
  t.ok(dripped.ms > 70 && dripped.ms < 1500, `20 bytes in ${dripped.ms} ms`);
  t.ok(dripped.bodyBytes < 200, 'in crumbs');
  const delayed = await firstBytes(delay(50), 1);
  t.ok((delayed.headMs ?? 0) >= 49);
});

t.test('held until a test lets go', async (t) => {
  refuseLeaks(t);
  const upstream = await startUpstream();
  t.teardown(() => upstream.close());
  const { nar } = upstream.add(object, { framing: 'chunked' });
  const heldAt = async (fault: (until: Promise<void>) => Fault, isThere: (upstream: ScriptedUpstream) => boolean) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    upstream.script(nar, fault(promise));
    let isDone = false;
    const answer = get(upstream.url() + nar).finally(() => {
      isDone = true;
    });
    await upstream.until(() => isThere(upstream));
    await new Promise((turn) => setImmediate(turn));
    t.notOk(isDone);
    resolve();
    t.ok((await answer).body.equals(bytes));
    await upstream.idle();
  };
  const sent =
    (count: number) =>
    ({ requests }: ScriptedUpstream) =>
      requests.at(-1)?.bodyBytesSent === count;
  await heldAt(holdBefore, ({ requests }) => requests.length === 1);
  await heldAt((until) => holdAfter(777, until), sent(777));
  await heldAt((until) => holdAfter(bytes.length, until), sent(bytes.length));
});
