// One transfer ends as its upstream, its limits, our own disk or an abort have it, and each is told apart.

import { getEventListeners } from 'node:events';
import t, { type Test } from 'tap';
import { Breaker } from '../../../src/core/breaker.ts';
import { CleanmissError } from '../../../src/core/errors.ts';
import type { unavailable } from '../../../src/core/verdict.ts';
import { Prover } from '../../../src/proof/prover.ts';
import { type TransferEnd, transfer } from '../../../src/proof/transfer.ts';
import type { Spool } from '../../../src/store/form.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import {
  closes,
  fails,
  flipped,
  isUnavailable,
  makeBody,
  ScriptedFetch,
  type Step,
  sends,
  type TestBody,
  turns,
} from '../../support/proof-rig.ts';

refuseLeaks(t);

/** Keeps what it is given, as the store's own would in memory. */
class TestSpool implements Spool {
  held = Buffer.alloc(0);
  error: unknown = null;
  get bytes(): number {
    return this.held.length;
  }
  async append(chunk: Buffer): Promise<void> {
    if (this.error !== null) throw this.error;
    this.held = Buffer.concat([this.held, chunk]);
  }
  async read(start: number, end: number): Promise<Buffer> {
    return this.held.subarray(start, end);
  }
  async reset(): Promise<void> {
    this.held = Buffer.alloc(0);
  }
  async discard(): Promise<void> {}
}

const opened = (t: Test, body: TestBody) => {
  const clock = new FakeClock();
  const breaker = new Breaker(clock, 15_000);
  const prover = new Prover(body.digest, body.encoding);
  t.teardown(() => prover.close());
  const spool = new TestSpool();
  const outer = new AbortController();
  const told = { transfers: 0, progress: 0, validator: null as string | null };
  const onTransfer = () => {
    told.transfers += 1;
  };
  const onProgress = () => {
    told.progress += 1;
  };
  const run = (fetch: ScriptedFetch['fetch'], validator: string | null = null): Promise<TransferEnd> =>
    transfer(
      { clock, breaker, idleMs: 10_000, extraFirstByteMs: 0, onTransfer },
      fetch,
      { validator, isFresh: false },
      {
        prover,
        spool,
        onProgress,
        onValidator: (value) => {
          told.validator = value;
        },
      },
      outer.signal,
    );
  return { clock, breaker, prover, spool, outer, told, run };
};

const failed = (reason: Parameters<typeof unavailable>[0]) => ({
  kind: 'failed',
  failure: { kind: 'unavailable', reason },
});

/** How many more failures open it: 3 when it counts none. */
const failuresLeft = (breaker: Breaker): number => {
  let left = 0;
  for (; breaker.state === 'closed'; left += 1) breaker.failed();
  return left;
};

interface Row {
  readonly reason: string;
  readonly step: (body: TestBody) => Step;
  readonly ends: object;
  /** Moved on once the transfer waits. */
  readonly ms?: number;
  /** After it, of the three that open the breaker; two failures came before it. */
  readonly left: number;
}

const SIZE = 100_000;
const rows: readonly Row[] = [
  { reason: 'whole', step: ({ encoded }) => sends(encoded), ends: { kind: 'ended' }, left: 3 },
  { reason: 'ended short', step: ({ encoded }) => sends(encoded, { endAt: 500 }), ends: { kind: 'ended' }, left: 1 },
  {
    reason: 'ended before it began',
    step: ({ encoded }) => sends(encoded, { endAt: 0 }),
    ends: { kind: 'ended' },
    left: 1,
  },
  {
    reason: 'cut',
    step: ({ encoded }) => sends(encoded, { cutAt: 500 }),
    ends: { kind: 'broken', reason: 'cut' },
    left: 1,
  },
  {
    reason: 'cut before a byte',
    step: ({ encoded }) => sends(encoded, { cutAt: 0 }),
    ends: { kind: 'broken', reason: 'empty' },
    left: 1,
  },
  { reason: 'no head', step: () => closes(), ends: { kind: 'broken', reason: 'empty' }, left: 1 },
  {
    reason: 'cut behind the last byte',
    step: ({ encoded }) => sends(encoded, { cutAt: SIZE }),
    ends: { kind: 'broken', reason: 'cut' },
    left: 3,
  },
  {
    reason: 'wrong',
    step: ({ encoded }) => sends(Buffer.concat([encoded, encoded])),
    ends: { kind: 'failed', failure: { kind: 'refuted', reason: 'long' } },
    left: 3,
  },
  {
    reason: 'absent',
    step: () => fails({ kind: 'absent' }),
    ends: { kind: 'failed', failure: { kind: 'absent' } },
    left: 1,
  },
  {
    reason: 'denied',
    step: () => fails({ kind: 'denied' }),
    ends: { kind: 'failed', failure: { kind: 'denied' } },
    left: 1,
  },
  { reason: 'an error answer', step: () => isUnavailable('status'), ends: failed('status'), left: 1 },
  { reason: 'refused', step: () => isUnavailable('refused'), ends: failed('refused'), left: 0 },
  {
    reason: 'no head in time',
    step:
      () =>
      ({ signal }) =>
        hanging(signal),
    ms: 3_000,
    ends: failed('first-byte'),
    left: 0,
  },
  {
    reason: 'no head in time, and deaf',
    step: () => () => new Promise(() => {}),
    ms: 3_000,
    ends: failed('first-byte'),
    left: 0,
  },
  {
    reason: 'a head, then silence',
    step: ({ encoded }) => sends(encoded, { silentAt: 0 }),
    ms: 3_000,
    ends: failed('first-byte'),
    left: 0,
  },
  {
    reason: 'a head, then silence, and deaf',
    step: ({ encoded }) => sends(encoded, { silentAt: 0, isDeaf: true }),
    ms: 3_000,
    ends: failed('first-byte'),
    left: 0,
  },
  {
    reason: 'silence in the middle',
    step: ({ encoded }) => sends(encoded, { silentAt: 500 }),
    ms: 10_000,
    ends: { kind: 'broken', reason: 'idle' },
    left: 0,
  },
  {
    reason: 'silence behind the last byte',
    step: ({ encoded }) => sends(encoded, { silentAt: SIZE }),
    ms: 10_000,
    ends: { kind: 'broken', reason: 'idle' },
    left: 3,
  },
];

for (const { reason, step, ends, ms, left } of rows)
  t.test(reason, async (t) => {
    const body = await makeBody('transfer', SIZE);
    const { clock, breaker, told, run, prover, spool } = opened(t, body);
    breaker.failed();
    breaker.failed();
    const running = run(new ScriptedFetch(step(body)).fetch);
    if (ms !== undefined) await clock.advance(ms);
    t.match(await running, ends);
    t.equal(told.transfers, 1);
    t.equal(clock.armed, 0, 'no timer is left');
    t.equal(failuresLeft(breaker), left, 'what the breaker learned');
    t.equal(spool.bytes >= prover.encodedBytes, true);
    t.ok(spool.held.subarray(0, SIZE).equals(body.encoded.subarray(0, Math.min(SIZE, spool.bytes))));
  });

const hanging = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));

t.test('a drip below the floor', async (t) => {
  const body = await makeBody('drip', SIZE);
  const { clock, run, breaker } = opened(t, body);
  async function* drip() {
    for (const byte of body.encoded) {
      await new Promise<void>((resolve) => clock.after(1_000, resolve));
      yield Buffer.from([byte]);
    }
  }
  const running = run(async () => ({ kind: 'body', fromByte: 0, validator: null, bytes: drip() }));
  await clock.advance(62_000);
  t.match(await running, failed('floor'));
  t.equal(failuresLeft(breaker), 2);
  await clock.advance(1_000);
  t.equal(clock.armed, 0, 'and the source was let go');
});

t.test('an open breaker lets nothing out, and nothing is counted', async (t) => {
  const body = await makeBody('breaker', 10);
  const { breaker, told, run } = opened(t, body);
  for (let count = 0; count < 3; count += 1) breaker.failed();
  const upstream = new ScriptedFetch(sends(body.encoded));
  t.match(await run(upstream.fetch), failed('breaker'));
  t.equal(upstream.requests.length, 0);
  t.equal(told.transfers, 0);
});

t.test('aborted', async (t) => {
  const body = await makeBody('aborted', SIZE);
  const rows: { reason: string; step: Step }[] = [
    { reason: 'before a head', step: ({ signal }) => hanging(signal) },
    { reason: 'before a head, and deaf', step: () => new Promise(() => {}) },
    { reason: 'in the body', step: sends(body.encoded, { silentAt: 500 }) },
    { reason: 'in the body, and deaf', step: sends(body.encoded, { silentAt: 500, isDeaf: true }) },
  ];
  for (const { reason, step } of rows) {
    const { breaker, clock, outer, run } = opened(t, body);
    const running = run(new ScriptedFetch(step).fetch);
    await turns();
    outer.abort();
    t.match(await running, failed('aborted'), reason);
    t.equal(failuresLeft(breaker), 3, 'the breaker learns nothing');
    t.equal(clock.armed, 0);
    t.same(getEventListeners(outer.signal, 'abort'), []);
  }
  const { outer, run, told } = opened(t, body);
  outer.abort();
  t.match(await run(new ScriptedFetch(sends(body.encoded)).fetch), failed('aborted'), 'before it began');
  t.equal(told.transfers, 0, 'nothing was asked');
});

t.test('what our own parts say is no break of the transfer', async (t) => {
  const body = await makeBody('own', SIZE);
  const rows = [
    { reason: 'a full disk', error: new CleanmissError('DISK', 'self', 'full'), says: 'disk' },
    { reason: 'no room', error: new CleanmissError('BUSY', 'self', 'full'), says: 'busy' },
    { reason: 'a spool that is gone', error: new CleanmissError('DISCARDED', 'self', 'gone'), says: 'unprovable' },
    { reason: 'a decoder that dies', error: new CleanmissError('CODEC_WORKER', 'self', 'died'), says: 'unprovable' },
  ] as const;
  for (const { reason, error, says } of rows) {
    const { spool, run, breaker } = opened(t, body);
    spool.error = error;
    const end = await run(new ScriptedFetch(sends(body.encoded)).fetch);
    t.match(end, failed(says), reason);
    t.match(end, { failure: { detail: error.message } }, `${reason}: whoever reads the log learns what it was`);
    t.equal(failuresLeft(breaker), 3);
  }
});

t.test('going on', async (t) => {
  const body = await makeBody('on', SIZE, 'zstd-many');
  const { encoded } = body;
  const half = encoded.length >> 1;
  const rows: { reason: string; second: Step; validator: string | null; ends: object; isWhole: boolean }[] = [
    {
      reason: 'by a range',
      second: sends(encoded, { validator: '"a"' }),
      validator: '"a"',
      ends: { kind: 'ended' },
      isWhole: true,
    },
    {
      reason: 'by a body from its start',
      second: sends(encoded),
      validator: null,
      ends: { kind: 'ended' },
      isWhole: true,
    },
    {
      reason: 'by one in single bytes',
      second: sends(encoded, { pieceBytes: 1 }),
      validator: null,
      ends: { kind: 'ended' },
      isWhole: true,
    },
    {
      reason: 'by other bytes',
      second: sends(flipped(encoded, 0)),
      validator: null,
      ends: { kind: 'changed' },
      isWhole: false,
    },
    {
      reason: 'by bytes that differ at the very end',
      second: sends(flipped(encoded, half - 1)),
      validator: null,
      ends: { kind: 'changed' },
      isWhole: false,
    },
    {
      reason: 'by less than there was',
      second: sends(encoded, { endAt: half - 1 }),
      validator: null,
      ends: { kind: 'ended' },
      isWhole: false,
    },
    {
      reason: 'by less, and a cut',
      second: sends(encoded, { cutAt: half - 1 }),
      validator: null,
      ends: { kind: 'broken', reason: 'cut' },
      isWhole: false,
    },
    {
      reason: 'by another range than the one that was asked for',
      second: ({ signal }) =>
        ({
          ...(sends(encoded)({ fromByte: 0, validator: null, isFresh: false, signal }) as object),
          fromByte: 7,
        }) as never,
      validator: null,
      ends: { kind: 'ended' },
      isWhole: true,
    },
  ];
  for (const { reason, second, validator, ends, isWhole } of rows) {
    const { run, prover, spool, told } = opened(t, body);
    t.match(await run(new ScriptedFetch(sends(encoded, { cutAt: half, validator: '"a"' })).fetch), { kind: 'broken' });
    t.equal(told.validator, '"a"');
    const upstream = new ScriptedFetch(second);
    t.match(await run(upstream.fetch, validator), ends, reason);
    t.same(upstream.starts, [half]);
    t.equal(spool.bytes, prover.encodedBytes, 'spool and decoder hold the same');
    t.ok(spool.held.equals(encoded.subarray(0, isWhole ? encoded.length : half)), 'each byte once');
    t.equal(prover.isFull(false), isWhole);
  }
});

t.test('what is here already is no progress', async (t) => {
  const body = await makeBody('move', SIZE);
  const { run, told } = opened(t, body);
  await run(new ScriptedFetch(sends(body.encoded, { cutAt: SIZE / 2 })).fetch);
  const before = told.progress;
  await run(new ScriptedFetch(sends(body.encoded, { cutAt: SIZE / 4 })).fetch);
  t.equal(told.progress, before);
});

t.test('a body of no named size is whole when its transfer ended with something', async (t) => {
  const body = await makeBody('unnamed', SIZE);
  const unnamed = { ...body, digest: { sha256: body.digest.sha256, sizeBytes: null } };
  for (const [endAt, left] of [
    [SIZE, 3],
    [0, 1],
  ] as const) {
    const { run, breaker } = opened(t, unnamed as never);
    breaker.failed();
    breaker.failed();
    t.match(await run(new ScriptedFetch(sends(body.encoded, { endAt })).fetch), { kind: 'ended' });
    t.equal(failuresLeft(breaker), left);
  }
});
