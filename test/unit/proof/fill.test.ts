// A fill goes through breaks to its verdict within its bounds, keeps nothing that is not proven, and leaves nothing behind.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Claim } from '../../../src/core/claim.ts';
import { CleanmissError } from '../../../src/core/errors.ts';
import { RetryBudget } from '../../../src/core/retry-budget.ts';
import { Fill, type FillStart, type Verdict } from '../../../src/proof/fill.ts';
import type { Spool } from '../../../src/store/form.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import {
  bytesOf,
  claimOf,
  closes,
  fails,
  flipped,
  type Heart,
  type HeartOptions,
  IDLE_MS,
  isUnavailable,
  makeBody,
  openHeart,
  passing,
  ScriptedFetch,
  type Step,
  sends,
  type TestBody,
  until,
} from '../../support/proof-rig.ts';

refuseLeaks(t);

interface Opened {
  readonly heart: Heart;
  readonly fill: Fill;
  readonly upstream: ScriptedFetch;
  readonly retries: RetryBudget;
  readonly left: () => number;
  /** The verdict, after the pauses on the way. */
  verdict(): Promise<Verdict>;
}

const open = async (
  t: Test,
  body: TestBody,
  steps: readonly Step[],
  { wrap = (spool) => spool, ...options }: HeartOptions & { readonly wrap?: (spool: Spool) => Spool } = {},
): Promise<Opened> => {
  const heart = await openHeart(t, options);
  const { clock, forms, breaker } = heart;
  const upstream = new ScriptedFetch(...steps);
  const retries = new RetryBudget(clock);
  let left = 0;
  const begin = async (): Promise<FillStart> => ({
    fetch: upstream.fetch,
    spool: wrap(forms.spool()),
    breaker,
    isRemade: false,
    onTransfer() {},
    leave: () => {
      left += 1;
    },
  });
  const claim: Claim = {
    digest: body.digest,
    // Read when a decoder is opened, and not before.
    get encoding() {
      return body.encoding;
    },
    place: { tenant: 'lab', path: 'a' },
  };
  const keep = (spool: Spool, proven: Parameters<typeof forms.keep>[1]) => forms.keep(spool, proven);
  const fill = new Fill({ clock, retries, idleMs: IDLE_MS, extraFirstByteMs: 0, keep }, claim, 'client', begin);
  return { heart, fill, upstream, retries, left: () => left, verdict: () => passing(clock, fill.verdict) };
};

const word = (verdict: Verdict): string => ('reason' in verdict ? `${verdict.kind} ${verdict.reason}` : verdict.kind);

const SIZE = 300_000;
const MIDDLE = 200_000;

interface Row {
  readonly reason: string;
  readonly steps: (body: TestBody) => readonly Step[];
  readonly says: string;
  /** From which byte each transfer was asked for. */
  readonly starts: readonly number[];
  readonly isTwice?: true;
}

const etag = { validator: '"a"' };
const other = { validator: '"b"' };

const rows: readonly Row[] = [
  { reason: 'whole at once', steps: ({ encoded }) => [sends(encoded)], says: 'proven', starts: [0] },
  {
    reason: 'cut once, gone on with by range',
    steps: ({ encoded }) => [sends(encoded, { ...etag, cutAt: MIDDLE }), sends(encoded, etag)],
    says: 'proven',
    starts: [0, MIDDLE],
  },
  {
    reason: 'cut once, gone on with from its start',
    steps: ({ encoded }) => [sends(encoded, { cutAt: MIDDLE }), sends(encoded)],
    says: 'proven',
    starts: [0, MIDDLE],
  },
  {
    reason: 'cut three times',
    steps: ({ encoded }) => [...[10, 5, MIDDLE].map((cutAt) => sends(encoded, { cutAt })), sends(encoded)],
    says: 'proven',
    starts: [0, 10, 10, MIDDLE],
  },
  {
    reason: 'cut four times',
    steps: ({ encoded }) => [sends(encoded, { cutAt: MIDDLE })],
    says: 'unavailable cut',
    starts: [0, MIDDLE, MIDDLE, MIDDLE],
  },
  {
    reason: 'closed without a head is tried once more',
    steps: ({ encoded }) => [closes(), sends(encoded)],
    says: 'proven',
    starts: [0, 0],
  },
  { reason: 'and only once', steps: () => [closes()], says: 'unavailable empty', starts: [0, 0] },
  {
    reason: 'zero bytes',
    steps: ({ encoded }) => [sends(encoded, { endAt: 0 })],
    says: 'unavailable empty',
    starts: [0, 0],
  },
  { reason: 'absent', steps: () => [fails({ kind: 'absent' })], says: 'absent', starts: [0] },
  { reason: 'denied', steps: () => [fails({ kind: 'denied' })], says: 'denied', starts: [0] },
  { reason: 'an error answer', steps: () => [isUnavailable('status')], says: 'unavailable status', starts: [0] },
  { reason: 'refused', steps: () => [isUnavailable('refused')], says: 'unavailable refused', starts: [0] },
  {
    reason: 'cut, then refused while it restarts',
    steps: ({ encoded }) => [
      sends(encoded, { ...etag, cutAt: MIDDLE }),
      isUnavailable('refused'),
      isUnavailable('refused'),
      sends(encoded, etag),
    ],
    says: 'proven',
    starts: [0, MIDDLE, MIDDLE, MIDDLE],
  },
  {
    reason: 'cut, then refused for good',
    steps: ({ encoded }) => [sends(encoded, { ...etag, cutAt: MIDDLE }), isUnavailable('refused')],
    says: 'unavailable refused',
    starts: [0, MIDDLE, MIDDLE, MIDDLE],
  },
  {
    reason: 'cut, and the range is answered with an error: asked for the whole',
    steps: ({ encoded }) => [
      sends(encoded, { ...etag, cutAt: MIDDLE }),
      ({ validator, ...request }) =>
        validator === null
          ? sends(encoded)({ validator, ...request })
          : isUnavailable('status')({ validator, ...request }),
    ],
    says: 'proven',
    starts: [0, MIDDLE, MIDDLE],
  },
  {
    reason: 'cut, and then absent',
    steps: ({ encoded }) => [sends(encoded, { cutAt: MIDDLE }), fails({ kind: 'absent' })],
    says: 'absent',
    starts: [0, MIDDLE],
  },
  {
    reason: 'changed between two transfers: fetched anew',
    steps: ({ encoded }) => [sends(flipped(encoded, 5), { ...other, cutAt: MIDDLE }), sends(encoded, etag)],
    says: 'proven',
    starts: [0, MIDDLE, 0],
  },
  {
    reason: 'changed all the time',
    steps: ({ encoded }) => [1, 2, 3, 4, 5, 6, 7, 8, 9].map((at) => sends(flipped(encoded, at), { cutAt: MIDDLE })),
    says: 'unavailable cut',
    starts: [0, MIDDLE, 0, MIDDLE],
  },
  {
    reason: 'short at the same byte',
    steps: ({ encoded }) => [sends(encoded, { endAt: MIDDLE })],
    says: 'unavailable short',
    starts: [0, MIDDLE],
  },
  {
    reason: 'short, and nothing is left behind that byte: no range to be had',
    steps: ({ encoded }) => [
      ({ validator, ...request }) =>
        validator === null
          ? sends(encoded, { ...etag, endAt: MIDDLE })({ validator, ...request })
          : isUnavailable('status')({ validator, ...request }),
    ],
    says: 'unavailable short',
    starts: [0, MIDDLE, MIDDLE],
  },
  {
    reason: 'short, then whole',
    steps: ({ encoded }) => [sends(encoded, { endAt: MIDDLE }), sends(encoded)],
    says: 'proven',
    starts: [0, MIDDLE],
  },
  {
    reason: 'refuted, then right',
    steps: ({ encoded }) => [sends(flipped(encoded, 5)), sends(encoded)],
    says: 'proven',
    starts: [0, 0],
  },
  {
    reason: 'refuted twice',
    steps: ({ encoded }) => [sends(flipped(encoded, 5))],
    says: 'refuted hash',
    starts: [0, 0],
    isTwice: true,
  },
  {
    reason: 'refuted, then cut for good: nothing is said of the content',
    steps: ({ encoded }) => [sends(flipped(encoded, 5)), sends(encoded, { cutAt: MIDDLE })],
    says: 'unavailable cut',
    starts: [0, 0, MIDDLE, MIDDLE, MIDDLE],
  },
  {
    reason: 'changed, then refuted: one fetch alone has refuted it',
    steps: ({ encoded }) => [sends(encoded, { cutAt: MIDDLE }), sends(flipped(encoded, 5))],
    says: 'refuted hash',
    starts: [0, MIDDLE, 0],
  },
  {
    reason: 'too long',
    steps: ({ encoded }) => [sends(Buffer.concat([encoded, Buffer.from('x')]))],
    says: 'refuted long',
    starts: [0, 0],
    isTwice: true,
  },
  {
    reason: 'a range of other bytes: fetched anew',
    steps: ({ encoded }) => [
      sends(encoded, { ...etag, cutAt: MIDDLE }),
      sends(Buffer.concat([encoded.subarray(1), Buffer.from('x')]), etag),
      sends(encoded, etag),
    ],
    says: 'proven',
    starts: [0, MIDDLE, 0],
  },
  {
    reason: 'all bytes, but no end of the framing',
    steps: ({ encoded }) => [sends(encoded, { cutAt: SIZE })],
    says: 'proven',
    starts: [0],
  },
];

for (const { reason, steps, says, starts, isTwice } of rows)
  t.test(reason, async (t) => {
    const body = await makeBody('fill', SIZE);
    const { fill, upstream, verdict, left, heart } = await open(t, body, steps(body));
    const ended = await verdict();
    t.equal(word(ended), says);
    t.same(upstream.starts, starts);
    t.ok(upstream.mostOpen <= 1, 'one at a time');
    t.ok(upstream.complete <= 2, `${upstream.complete} complete transfers`);
    t.equal(fill.isRefutedTwice, isTwice ?? false);
    t.equal(left(), 1, 'its place was given back');
    t.equal(fill.hasEnded, true);
    if (ended.kind === 'proven') t.ok((await bytesOf(ended.form)).equals(body.encoded));
    else t.equal(await heart.forms.find(body.digest, body.encoding), undefined);
    t.equal(heart.forms.stats().spoolBytes, 0);
    t.equal(heart.clock.armed, 0, 'no timer is left');
    await heart.close();
    t.same(await readdir(join(heart.dir, 'spool')), []);
  });

t.test('a second fetch goes past any cache', async (t) => {
  const body = await makeBody('fresh', SIZE);
  const { upstream, verdict } = await open(t, body, [sends(flipped(body.encoded, 5), etag), sends(body.encoded, etag)]);
  t.equal((await verdict()).kind, 'proven');
  t.match(upstream.requests, [
    { isFresh: false, validator: null, fromByte: 0 },
    { isFresh: true, validator: null, fromByte: 0 },
  ]);
});

t.test('a range names the validator of what is here', async (t) => {
  const body = await makeBody('names', SIZE);
  const steps = [
    sends(body.encoded, { ...etag, cutAt: 10 }),
    sends(body.encoded, { ...other, cutAt: 20 }),
    sends(body.encoded, other),
  ];
  const { upstream, verdict } = await open(t, body, steps);
  t.equal((await verdict()).kind, 'proven');
  t.same(
    upstream.requests.map(({ validator }) => validator),
    [null, '"a"', '"b"'],
  );
});

t.test('behind the last decoded byte', async (t) => {
  for (const kind of ['zstd-one', 'xz', 'gzip'] as const) {
    const body = await makeBody('behind', SIZE, kind);
    const { encoded } = body;
    // The checksum, or the footer, is what comes last.
    const cutAt = encoded.length - 2;
    const cut = await open(t, body, [sends(encoded, { cutAt }), sends(encoded)]);
    t.equal((await cut.verdict()).kind, 'proven', `${kind}: cut there, and fetched anew`);
    const again = await open(t, body, [sends(encoded, { cutAt })]);
    const verdict = await again.verdict();
    t.equal(word(verdict), 'unavailable cut', `${kind}: cut there for ever`);
    const short = await open(t, body, [sends(encoded, { endAt: cutAt }), sends(encoded)]);
    t.equal((await short.verdict()).kind, 'proven', `${kind}: ended there, and fetched anew`);
    const shortAgain = await open(t, body, [sends(encoded, { endAt: cutAt })]);
    t.equal(word(await shortAgain.verdict()), 'unavailable short', `${kind}: ended there for ever`);
  }
});

t.test('an empty retry budget', async (t) => {
  const body = await makeBody('budget', SIZE);
  const rows: { reason: string; step: Step; says: string }[] = [
    { reason: 'a cut', step: sends(body.encoded, { cutAt: MIDDLE }), says: 'unavailable cut' },
    { reason: 'a refutation', step: sends(flipped(body.encoded, 5)), says: 'refuted hash' },
  ];
  for (const { reason, step, says } of rows) {
    const { upstream, retries, verdict, fill } = await open(t, body, [step]);
    while (retries.take());
    t.equal(word(await verdict()), says, reason);
    t.equal(upstream.requests.length, 1, 'no storm');
    t.equal(fill.isRefutedTwice, false, 'and nobody says that it was looked at twice');
  }
});

t.test('our own disk', async (t) => {
  const body = await makeBody('disk', 3_000_000);
  const steps = [sends(body.encoded)];
  const full = await open(t, body, steps);
  full.heart.files.onWrite = () => {
    throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  };
  t.equal(word(await full.verdict()), 'unavailable disk');
  t.equal(full.upstream.requests.length, 1, 'no second try: the disk is no fuller of hope');

  const busy = await open(t, body, steps, { store: { maxBytes: 4_000_000, spoolShare: 0.5 } });
  t.equal(word(await busy.verdict()), 'unavailable busy');
  t.equal(busy.upstream.requests.length, 1);

  const closing = await open(t, body, steps, {
    wrap: (spool) => ({
      bytes: 0,
      append: (chunk) => spool.append(chunk),
      read: (start, end) => spool.read(start, end),
      reset: () => spool.reset(),
      discard: async () => {
        await spool.discard();
        throw new CleanmissError('DISK', 'self', 'EIO on close');
      },
    }),
  });
  t.equal((await closing.verdict()).kind, 'unavailable', 'never a rejection');
  t.equal(closing.left(), 1, 'and its place is given back');

  for (const { upstream, left } of [full, busy]) {
    t.equal(upstream.open, 0);
    t.equal(left(), 1);
  }
});

t.test('a decoder that cannot be opened, as where there is none for xz', async (t) => {
  const body = await makeBody('none', 10);
  const unopenable: TestBody = {
    ...body,
    get encoding(): never {
      throw new CleanmissError('UNPROVABLE', 'self', 'there is no decoder on this machine');
    },
  };
  const { heart, left, verdict } = await open(t, unopenable, [closes()]);
  t.match(await verdict(), { kind: 'unavailable', reason: 'unprovable', detail: /no decoder/ });
  t.equal(left(), 1, 'its place was given back');
  t.equal(heart.forms.stats().spoolBytes, 0);
});

t.test('no place', async (t) => {
  const { clock } = await openHeart(t);
  const body = await makeBody('place', 10);
  const ports = {
    clock,
    retries: new RetryBudget(clock),
    idleMs: IDLE_MS,
    extraFirstByteMs: 0,
    keep: () => Promise.reject(new Error('never')),
  };
  const fill = new Fill(ports, claimOf(body), 'client', () =>
    Promise.reject(new CleanmissError('BUSY', 'self', 'full')),
  );
  t.equal(word(await fill.verdict), 'unavailable busy');
});

t.test('aborted', async (t) => {
  const body = await makeBody('abort', SIZE);
  const at: Record<string, readonly Step[]> = {
    'before a head': [() => new Promise(() => {})],
    'in the body': [sends(body.encoded, { silentAt: MIDDLE })],
    'in a body that heeds nothing': [sends(body.encoded, { silentAt: MIDDLE, isDeaf: true })],
  };
  for (const [reason, steps] of Object.entries(at)) {
    const { fill, upstream, heart, left } = await open(t, body, steps);
    await until(() => upstream.requests.length === 1);
    fill.abort();
    t.equal(word(await fill.verdict), 'unavailable aborted', reason);
    t.equal(fill.isAborted, true);
    t.equal(heart.clock.armed, 0);
    t.equal(left(), 1);
  }
  const { fill, upstream, heart } = await open(t, body, [sends(body.encoded, { cutAt: MIDDLE })]);
  await until(() => upstream.requests.length === 1 && upstream.open === 0 && heart.clock.armed === 1);
  fill.abort();
  t.equal(word(await fill.verdict), 'unavailable aborted', 'in a pause');
  t.equal(upstream.requests.length, 1);
  t.equal(heart.clock.armed, 0);
});

t.test('followed, nothing is fetched in the place of what left', async (t) => {
  const body = await makeBody('followed', SIZE);
  const rows: { reason: string; steps: readonly Step[]; says: string; requests: number }[] = [
    {
      reason: 'refuted',
      steps: [sends(flipped(body.encoded, 5)), sends(body.encoded)],
      says: 'refuted hash',
      requests: 1,
    },
    {
      reason: 'changed',
      steps: [sends(flipped(body.encoded, 5), { cutAt: MIDDLE }), sends(body.encoded)],
      says: 'unavailable cut',
      requests: 2,
    },
    {
      reason: 'cut, and gone on with',
      steps: [sends(body.encoded, { cutAt: MIDDLE }), sends(body.encoded)],
      says: 'proven',
      requests: 2,
    },
  ];
  for (const { reason, steps, says, requests } of rows) {
    const { fill, upstream, verdict } = await open(t, body, steps);
    fill.follow();
    t.equal(word(await verdict()), says, reason);
    t.equal(upstream.requests.length, requests);
    t.equal(fill.isRefutedTwice, false);
  }
});

t.test('in the pause before a second fetch nothing of the first is left', async (t) => {
  const body = await makeBody('pause', SIZE);
  const { fill, upstream, heart } = await open(t, body, [sends(flipped(body.encoded, 5)), sends(body.encoded)]);
  await until(() => upstream.complete === 1 && heart.clock.nextInMs === 100);
  t.equal(fill.isMoving, false, 'a deadline that comes now is a clean miss');
  t.equal(fill.encodedBytes, 0);
  t.equal(fill.releasableBytes(false), 0);
  fill.follow();
  t.equal((await passing(heart.clock, fill.verdict)).kind, 'proven', 'who follows all the same gets the second alone');
  t.equal(upstream.requests.length, 2);
});

t.test('what is on the move', async (t) => {
  const body = await makeBody('moving', SIZE);
  const { promise, resolve } = Promise.withResolvers<void>();
  const { fill, heart, upstream } = await open(t, body, [
    sends(body.encoded, { hold: { at: MIDDLE, until: promise } }),
  ]);
  t.equal(fill.isMoving, false, 'not before a byte');
  t.equal(fill.encodedBytes, 0);
  t.equal(fill.releasableBytes(false), 0);
  const progressed = fill.progressed();
  await until(() => fill.encodedBytes === MIDDLE);
  await progressed;
  t.equal(fill.isMoving, true);
  t.equal(fill.releasableBytes(false), MIDDLE - 64 * 1024, 'a tail waits');
  heart.clock.advanceNow(IDLE_MS - 1);
  t.equal(fill.isMoving, true);
  t.equal(upstream.requests.length, 1);
  resolve();
  t.equal((await fill.verdict).kind, 'proven');
  t.equal(fill.isMoving, false, 'nor behind the last');
  await fill.progressed();
});
