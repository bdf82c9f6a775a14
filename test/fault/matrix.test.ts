// Every fault of an upstream, in every encoding and framing, cold, warm and for eight at once: proven bytes or a clean miss.

import t, { type Test } from 'tap';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { type CacheObject, makeObject } from '../support/cache-object.ts';
import type { BodyKind } from '../support/encodings.ts';
import { forbiddenBehindRedirect, framed, presigned, redirect, status } from '../support/faults/answer.ts';
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
} from '../support/faults/content.ts';
import { narinfoUrl } from '../support/faults/narinfo.ts';
import {
  closeWithoutHead,
  cutAfter,
  cutAtFrame,
  cutInsideFrame,
  headThenSilence,
  resetAfter,
  resetWithoutHead,
  stallAfter,
  stallBefore,
  withoutTerminator,
  zeroBytes,
} from '../support/faults/transfer.ts';
import type { Fault } from '../support/faults/when.ts';
import { startHouse } from '../support/house.ts';
import type { Answer } from '../support/http-answer.ts';
import { get } from '../support/http-client.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { startUpstream } from '../support/scripted-upstream.ts';

type Expected = 'bytes' | 404 | 403;

interface Row {
  readonly fault: string;
  /** Also when the upstream behaves so for ever. */
  readonly expected: Expected;
  readonly script: (object: CacheObject) => Fault;
  /** Which request is met; the NAR's by default. */
  readonly on?: 'narinfo';
  readonly kinds?: readonly BodyKind[];
  readonly framings?: ReadonlyArray<'chunked' | 'length'>;
}

const KINDS: readonly BodyKind[] = ['none', 'zstd-one', 'zstd-many', 'xz'];
const FRAMED: readonly BodyKind[] = ['zstd-many'];
const ZSTD: readonly BodyKind[] = ['zstd-one', 'zstd-many'];
const half = ({ body }: CacheObject) => Math.floor(body.bytes.length / 2);

const ROWS: readonly Row[] = [
  { fault: 'none', expected: 'bytes', script: () => (plan) => plan },
  { fault: '404', expected: 404, script: () => status(404) },
  { fault: '500', expected: 404, script: () => status(500) },
  { fault: '503', expected: 404, script: () => status(503) },
  { fault: '401', expected: 403, script: () => status(401) },
  { fault: '403', expected: 403, script: () => status(403) },
  { fault: '204', expected: 404, script: () => status(204, '') },
  { fault: 'closed without a head', expected: 404, script: closeWithoutHead },
  { fault: 'reset without a head', expected: 404, script: resetWithoutHead },
  { fault: 'reset after bytes', expected: 404, script: (object) => resetAfter(half(object)) },
  { fault: 'zero bytes', expected: 404, script: zeroBytes },
  { fault: 'cut', expected: 404, script: (object) => cutAfter(half(object)) },
  { fault: 'cut before the last byte', expected: 404, script: ({ body }) => cutAfter(body.bytes.length - 1) },
  { fault: 'all bytes without terminator', expected: 'bytes', script: withoutTerminator, framings: ['chunked'] },
  { fault: 'cleanly ended short', expected: 404, script: (object) => cleanShort(half(object)) },
  { fault: 'one flipped bit in the first byte', expected: 404, script: () => flip('first') },
  { fault: 'one flipped bit in the middle', expected: 404, script: () => flip('middle') },
  { fault: 'one flipped bit in the last byte', expected: 404, script: () => flip('last') },
  { fault: 'too long', expected: 404, script: () => tooLong(1) },
  { fault: 'trailing bytes', expected: 404, script: () => trailing(Buffer.from('trailing')) },
  { fault: 'cut at a frame', expected: 404, script: () => cutAtFrame(1), kinds: FRAMED },
  { fault: 'cut inside a frame', expected: 404, script: () => cutInsideFrame(1), kinds: FRAMED },
  { fault: 'damaged frame', expected: 404, script: () => damageFrame(1), kinds: FRAMED },
  { fault: 'stall before', expected: 404, script: stallBefore },
  { fault: 'stall in the middle', expected: 404, script: (object) => stallAfter(half(object)) },
  { fault: 'head, then silence', expected: 404, script: headThenSilence },
  { fault: '307 to the store', expected: 'bytes', script: presigned },
  { fault: '307 to a dead host', expected: 404, script: () => redirect('http://127.0.0.1:9/dead') },
  { fault: '307 to a host not named', expected: 404, script: () => redirect('http://localhost:1/elsewhere') },
  { fault: '307 to itself', expected: 404, script: ({ narPath }) => redirect(`/lab/${narPath}`) },
  { fault: '403 behind the 307', expected: 404, script: forbiddenBehindRedirect },
  { fault: 'Content-Encoding gzip', expected: 'bytes', script: contentEncodingGzip },
  { fault: 'decompression bomb', expected: 404, script: () => bomb(8 * 1024 * 1024) },
  { fault: 'endless skippable frames', expected: 404, script: endlessSkippable, kinds: ZSTD },
  { fault: 'endless empty frames', expected: 404, script: endlessEmpty, kinds: ZSTD },
  { fault: 'absolute narinfo URL', expected: 404, script: () => narinfoUrl('absolute'), on: 'narinfo' },
  { fault: 'climbing narinfo URL', expected: 404, script: () => narinfoUrl('climbing'), on: 'narinfo' },
];

/** Scaled down: what takes 15 s of patience in life takes four here, and a fifth of that once it hung: as much as a busy machine wants. */
const LIMITS = {
  'upstream.firstByte': '4s',
  'upstream.idle': '1s',
  'release.budget': '20s',
  'fills.perClient': '64',
};

/** A timer that comes late in a busy process would run before the closings that came meanwhile: this one lets them go first. */
const politeClock: Clock = {
  ...systemClock,
  after(ms, action) {
    let isCancelled = false;
    const timer = systemClock.after(ms, () => setImmediate(() => isCancelled || action()));
    return {
      cancel() {
        isCancelled = true;
        timer.cancel();
      },
    };
  },
};

/** Made once: encoding costs more than everything that is tested here. */
const objects = new Map<string, Promise<CacheObject>>();
const objectFor = (kind: BodyKind, state: string): Promise<CacheObject> => {
  const key = `${kind}-${state}`;
  const made = objects.get(key) ?? makeObject({ seed: key, kind, sizeBytes: 120_000 });
  objects.set(key, made);
  return made;
};

const check = (t: Test, answer: Answer, object: CacheObject, expected: Expected, name: string): void => {
  if (expected === 'bytes') {
    t.equal(answer.status, 200, `${name}: status`);
    t.ok(answer.complete && answer.body.equals(object.body.bytes), `${name}: the bytes`);
  } else {
    t.equal(answer.status, expected, `${name}: status`);
    t.ok(answer.complete, `${name}: a whole answer`);
  }
};

refuseLeaks(t);
// Most of the time is spent waiting for silences to pass.
t.jobs = 6;

for (const row of ROWS) {
  t.test(row.fault, { buffered: true }, async (t) => {
    const cases = (row.kinds ?? KINDS).flatMap((kind) =>
      (row.framings ?? (['chunked', 'length'] as const)).map((framing) => runCase(t, row, kind, framing)),
    );
    await Promise.all(cases);
  });
}

async function runCase(t: Test, row: Row, kind: BodyKind, framing: 'chunked' | 'length'): Promise<void> {
  const name = `${kind} ${framing}`;
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, ...LIMITS }, { clock: politeClock });
  const add = async (state: string) => {
    const object = await objectFor(kind, state);
    const { narinfo, nar } = upstream.add(object, { cache: 'lab', framing });
    const script = () => upstream.script(row.on === 'narinfo' ? narinfo : nar, framed(framing), row.script(object));
    return { object, nar, url: `${house.nix}${nar}`, script };
  };

  const cold = await add('cold');
  cold.script();
  check(t, await get(cold.url), cold.object, row.expected, `${name} cold`);

  const warm = await add('warm');
  check(t, await get(warm.url), warm.object, 'bytes', `${name} warm, healthy`);
  warm.script();
  check(t, await get(warm.url), warm.object, 'bytes', `${name} in store`);

  const shared = await add('shared');
  shared.script();
  const answers = await Promise.all(Array.from({ length: 8 }, () => get(shared.url)));
  for (const answer of answers) check(t, answer, shared.object, row.expected, `${name} eight at once`);

  await upstream.idle();
  for (const { nar } of [cold, shared]) {
    const { mostOpen } = upstream.transfers(nar);
    const complete = upstream.requests.filter(
      (one) => one.path === nar && one.status === 200 && one.ended === 'complete',
    ).length;
    t.ok(mostOpen <= 1, `${name}: ${mostOpen} transfers at once`);
    t.ok(complete <= 2, `${name}: ${complete} complete transfers`);
  }
  await house.close();
  t.same(await house.spooled(), [], `${name}: nothing left in the spool`);
  await upstream.close();
}
