// Transfers that break off, over real sockets: the client gets the right bytes and never notices.

import t, { type Test } from 'tap';
import { type CacheObject, makeObject } from '../support/cache-object.ts';
import type { BodyKind } from '../support/encodings.ts';
import { content, etag, ignoresRange, rangeShifted, rawAnswer, status } from '../support/faults/answer.ts';
import { cleanShort, flip } from '../support/faults/content.ts';
import { closeWithoutHead, cutAfter, resetAfter, resetWithoutHead, stallAfter } from '../support/faults/transfer.ts';
import { afterFirst, type Fault, first, once, onRange } from '../support/faults/when.ts';
import { startHouse } from '../support/house.ts';
import { get } from '../support/http-client.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { type ScriptedUpstream, startUpstream } from '../support/scripted-upstream.ts';
import { inMemory } from '../support/upstream-plan.ts';

refuseLeaks(t);
// The time goes into pauses between two transfers.
t.jobs = 4;

const LIMITS = { 'upstream.firstByte': '5s', 'upstream.idle': '1s', 'release.budget': '20s' };

type Shape = 'attic' | 'plain';

interface Row {
  readonly reason: string;
  readonly faults: (object: CacheObject) => readonly Fault[];
  /** `attic` is chunked, without ranges; `plain` has a length, ranges and an ETag. */
  readonly shapes?: readonly Shape[];
  readonly kinds?: readonly BodyKind[];
  /** What each request asked for; `n` stands for the byte where it broke off. */
  readonly ranges?: (at: number) => ReadonlyArray<number | null>;
  readonly expected?: 404;
}

const half = ({ body }: CacheObject) => Math.floor(body.bytes.length / 2);

const rows: readonly Row[] = [
  { reason: 'cut after a byte', faults: () => [once(cutAfter(1))] },
  { reason: 'cut in the middle', faults: (object) => [once(cutAfter(half(object)))] },
  { reason: 'cut before the last byte', faults: ({ body }) => [once(cutAfter(body.bytes.length - 1))] },
  { reason: 'reset in the middle', faults: (object) => [once(resetAfter(half(object)))] },
  { reason: 'closed without a head', faults: () => [once(closeWithoutHead())] },
  { reason: 'reset without a head', faults: () => [once(resetWithoutHead())] },
  { reason: 'silent in the middle', faults: (object) => [once(stallAfter(half(object)))], kinds: ['zstd-many'] },
  { reason: 'cut twice', faults: (object) => [first(2, cutAfter(half(object)))] },
  { reason: 'cut three times', faults: (object) => [first(3, cutAfter(half(object) - 7))], kinds: ['zstd-many'] },
  {
    reason: 'gone on with by a range',
    faults: (object) => [once(cutAfter(half(object)))],
    shapes: ['plain'],
    ranges: (at) => [null, at],
  },
  {
    reason: 'gone on with by a whole body, where there are no ranges',
    faults: (object) => [once(cutAfter(half(object)))],
    shapes: ['attic'],
    ranges: () => [null, null],
  },
  {
    reason: 'no ETag, no range',
    faults: (object) => [etag(null), once(cutAfter(half(object)))],
    shapes: ['plain'],
    ranges: () => [null, null],
  },
  {
    reason: 'nor by a weak one',
    faults: (object) => [etag('W/"weak"'), once(cutAfter(half(object)))],
    shapes: ['plain'],
    ranges: () => [null, null],
  },
  {
    reason: 'another ETag, same bytes',
    faults: (object) => [once(etag('"old"'), cutAfter(half(object)))],
    shapes: ['plain'],
    ranges: (at) => [null, at],
  },
  {
    reason: 'other bytes between two transfers',
    faults: (object) => [once(flip('first'), etag('"old"'), cutAfter(half(object)))],
    shapes: ['plain'],
    kinds: ['none'],
    ranges: (at) => [null, at, null],
  },
  {
    reason: 'other bytes, without a range',
    faults: (object) => [once(flip('first'), cutAfter(half(object)))],
    shapes: ['attic'],
  },
  {
    reason: 'other bytes, under the same ETag',
    faults: (object) => [once(flip('first'), cutAfter(half(object)))],
    shapes: ['plain'],
    kinds: ['none'],
    ranges: (at) => [null, at, null],
  },
  {
    reason: '200 to a range',
    faults: (object) => [once(cutAfter(half(object))), onRange(ignoresRange())],
    shapes: ['plain'],
    ranges: (at) => [null, at],
  },
  {
    reason: 'a range of other bytes than it says',
    faults: (object) => [once(cutAfter(half(object))), onRange(rangeShifted(-8))],
    shapes: ['plain'],
    ranges: (at) => [null, at, null],
  },
  {
    reason: 'another range than the one asked for',
    faults: (object) => [once(cutAfter(half(object))), onRange(otherRange(object))],
    shapes: ['plain'],
    ranges: (at) => [null, at, null],
  },
  {
    reason: 'a 206 that does not say of what',
    faults: (object) => [
      once(cutAfter(half(object))),
      onRange(rawAnswer('HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx')),
    ],
    shapes: ['plain'],
    ranges: (at) => [null, at, null],
  },
  {
    reason: '416 to a range',
    faults: (object) => [once(cutAfter(half(object))), onRange(status(416))],
    shapes: ['plain'],
    ranges: (at) => [null, at, null],
  },
  {
    reason: '500 to a range',
    faults: (object) => [once(cutAfter(half(object))), onRange(status(500))],
    shapes: ['plain'],
    ranges: (at) => [null, at, null],
  },
  {
    reason: '503 while it restarts, then well again',
    faults: (object) => [first(3, afterFirst(1, status(503))), once(cutAfter(half(object)))],
    shapes: ['attic'],
    kinds: ['zstd-many'],
  },
  { reason: 'cleanly ended short, then whole', faults: (object) => [once(cleanShort(half(object)))] },
  {
    reason: 'refuted once, then right',
    faults: () => [once(flip('middle'))],
    ranges: () => [null, null],
  },
  {
    reason: 'a flipped bit behind a cut',
    faults: (object) => [once(cutAfter(half(object))), first(2, afterFirst(1, flip('last')))],
    kinds: ['none'],
  },
  {
    reason: 'other content from then on',
    faults: (object) => [once(cutAfter(half(object))), afterFirst(1, content(inMemory(Buffer.alloc(100_000, 'x'))))],
    shapes: ['attic'],
    expected: 404,
  },
  {
    reason: 'cut at the same byte for ever',
    faults: (object) => [cutAfter(half(object))],
    shapes: ['attic'],
    kinds: ['zstd-many'],
    expected: 404,
  },
];

/** Says that it begins a byte late, and does. */
function otherRange({ body }: CacheObject): Fault {
  const start = 9;
  const rest = body.bytes.subarray(start);
  const head = [
    'HTTP/1.1 206 Partial Content',
    `Content-Range: bytes ${start}-${body.bytes.length - 1}/${body.bytes.length}`,
    `Content-Length: ${rest.length}`,
    'Connection: close',
  ];
  return rawAnswer(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), rest]));
}

const KINDS: readonly BodyKind[] = ['none', 'zstd-many', 'xz'];
const objects = new Map<BodyKind, Promise<CacheObject>>();
const objectOf = (kind: BodyKind): Promise<CacheObject> => {
  const made = objects.get(kind) ?? makeObject({ seed: `resume-${kind}`, kind, sizeBytes: 120_000 });
  objects.set(kind, made);
  return made;
};

const rangesOf = (upstream: ScriptedUpstream, path: string): Array<number | null> =>
  upstream.requests
    .filter((one) => one.path === path)
    .map(({ headers }) => {
      const start = /^bytes=(\d+)-$/.exec(headers['range'] ?? '')?.[1];
      return start === undefined ? null : Number(start);
    });

for (const row of rows)
  t.test(row.reason, { buffered: true }, async (t) => {
    const shapes = row.shapes ?? (['attic', 'plain'] as const);
    await Promise.all((row.kinds ?? KINDS).flatMap((kind) => shapes.map((shape) => runCase(t, row, kind, shape))));
  });

async function runCase(t: Test, { faults, ranges, expected }: Row, kind: BodyKind, shape: Shape): Promise<void> {
  const name = `${kind} from a ${shape} cache`;
  const object = await objectOf(kind);
  const upstream = await startUpstream(shape === 'attic' ? { caches: [{ name: 'lab', isPublic: true }] } : {});
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, ...LIMITS });
  const { nar } = upstream.add(object);
  upstream.script(nar, ...faults(object));

  const [answer, beside] = await Promise.all([get(`${house.nix}${nar}`), get(`${house.nix}${nar}`)]);
  for (const one of [answer, beside]) {
    t.equal(one.status, expected ?? 200, `${name}: status`);
    t.ok(one.complete, `${name}: a whole answer`);
    if (expected === undefined) t.ok(one.body.equals(object.body.bytes), `${name}: the bytes`);
  }
  if (ranges !== undefined) t.same(rangesOf(upstream, nar), ranges(half(object)), `${name}: what was asked for`);
  await upstream.idle();
  t.equal(upstream.transfers(nar).mostOpen, 1, `${name}: one transfer at a time`);
  if (expected === undefined) {
    upstream.script(nar, status(500));
    const hit = await get(`${house.nix}${nar}`, { headers: { range: 'bytes=10-' } });
    t.equal(hit.status, 206, `${name}: kept`);
    t.ok(hit.body.equals(object.body.bytes.subarray(10)));
  }
  await house.close();
  t.same(await house.spooled(), [], `${name}: nothing left in the spool`);
}
