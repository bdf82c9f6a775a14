// Whoever asks gets a hit, a shared fill's verdict, a followed body or a miss, in time; nothing is fetched twice for nothing.

import { open as openFile } from 'node:fs/promises';
import t from 'tap';
import { Breaker } from '../../../src/core/breaker.ts';
import type { Claim } from '../../../src/core/claim.ts';
import { RetryBudget } from '../../../src/core/retry-budget.ts';
import { mended } from '../../../src/proof/mend.ts';
import type { Obtained } from '../../../src/proof/obtain.ts';
import { MIB } from '../../../src/store/form.ts';
import type { Ledger } from '../../../src/store/ledger.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import {
  bytesOf,
  claimOf,
  closes,
  fails,
  flipped,
  type Heart,
  IDLE_MS,
  isUnavailable,
  makeBody,
  openHeart,
  ScriptedFetch,
  sends,
  type TestBody,
  turns,
  until,
} from '../../support/proof-rig.ts';
import { pathOf } from '../../support/store-rig.ts';

refuseLeaks(t);

const SIZE = 300_000;
const body = await makeBody('obtain', SIZE);
const claim = claimOf(body);
const { encoded } = body;

const word = (obtained: Obtained): string => {
  if (obtained.kind === 'proven') return obtained.source;
  return 'reason' in obtained ? `${obtained.kind} ${obtained.reason}` : obtained.kind;
};

const isRight = async (obtained: Obtained, bytes = encoded): Promise<boolean> =>
  obtained.kind === 'proven' && (await bytesOf(obtained.form)).equals(bytes);

/** A body that waits in its middle, and how it goes on. */
const held = (bytes = encoded, at = 200_000) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { upstream: new ScriptedFetch(sends(bytes, { hold: { at, until: promise } })), release: resolve };
};

const drained = async ({ followed }: Obtained & { kind: 'followed' }): Promise<Buffer> => {
  try {
    return Buffer.concat(await Array.fromAsync(followed.bytes()));
  } finally {
    followed.close();
  }
};

const emptied = (heart: Heart): RetryBudget => {
  const retries = new RetryBudget(heart.clock);
  while (retries.take());
  return retries;
};

const nothing = new ScriptedFetch();

/** Asks with a deadline that is past. */
const outOfTime = async (heart: Heart, asked: Claim, { fetch }: ScriptedFetch): Promise<Obtained> => {
  const answer = heart.obtainer.obtain(asked, heart.asker(fetch, { deadline: -1 }));
  await turns(20);
  heart.clock.advanceNow(0);
  return await answer;
};

t.test('a fill, then a hit', async (t) => {
  const heart = await openHeart(t);
  const upstream = new ScriptedFetch(sends(encoded));
  const first = await heart.obtain(claim, upstream.fetch);
  t.equal(word(first), 'fill');
  t.ok(await isRight(first));
  const second = await heart.obtain(claim, upstream.fetch);
  t.equal(word(second), 'hit');
  t.ok(await isRight(second));
  t.equal(upstream.requests.length, 1);
  t.equal(heart.transfers(), 1);
  t.equal(heart.admission.active, 0);
  t.equal(heart.clock.armed, 0, 'no timer is left');
});

t.test('eight askers, one transfer', async (t) => {
  const heart = await openHeart(t);
  const { upstream, release } = held();
  const asks = Array.from({ length: 8 }, () => heart.obtain(claim, upstream.fetch));
  await until(() => upstream.open === 1);
  const late = heart.obtain(claim, upstream.fetch);
  release();
  for (const answer of await Promise.all([...asks, late])) {
    t.equal(word(answer), 'fill');
    t.ok(await isRight(answer));
  }
  t.equal(upstream.requests.length, 1);
});

t.test('a miss is shared too, and not for long', async (t) => {
  const heart = await openHeart(t);
  const upstream = new ScriptedFetch(isUnavailable('status'));
  const ask = () => heart.obtainer.obtain(claim, heart.asker(upstream.fetch));
  const answers = await Promise.all(Array.from({ length: 8 }, ask));
  t.same(answers.map(word), Array(8).fill('unavailable status'));
  t.equal(word(await ask()), 'unavailable status', 'one that comes a moment later');
  t.equal(upstream.requests.length, 1);
  await heart.clock.advance(250);
  t.equal(heart.clock.armed, 0);
  t.equal(word(await ask()), 'unavailable status');
  t.equal(upstream.requests.length, 2);
});

t.test('a fill that ends while another asker looks in the store', async (t) => {
  const gate = Promise.withResolvers<void>();
  const looked = Promise.withResolvers<void>();
  let finds = 0;
  const heart = await openHeart(t);
  const { ledger } = heart;
  const find = ledger.find.bind(ledger);
  ledger.find = async (...of: Parameters<Ledger['find']>) => {
    finds += 1;
    const found = await find(...of);
    if (finds === 1) {
      looked.resolve();
      await gate.promise;
    }
    return found;
  };
  const upstream = new ScriptedFetch(sends(encoded));
  const slow = heart.obtainer.obtain(claim, heart.asker(upstream.fetch));
  await looked.promise;
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'fill', 'began and ended meanwhile');
  gate.resolve();
  t.equal(word(await slow), 'hit', 'it looks again, and starts no second fill');
  t.equal(upstream.requests.length, 1);
});

t.test('a fill that begins while another asker looks in the store', async (t) => {
  const gate = Promise.withResolvers<void>();
  const heart = await openHeart(t);
  let finds = 0;
  const find = heart.ledger.find.bind(heart.ledger);
  heart.ledger.find = async (...of: Parameters<Ledger['find']>) => {
    finds += 1;
    if (finds === 1) await gate.promise;
    return await find(...of);
  };
  const { upstream, release } = held();
  const slow = heart.obtainer.obtain(claim, heart.asker(upstream.fetch));
  const quick = heart.obtainer.obtain(claim, heart.asker(upstream.fetch));
  await until(() => upstream.open === 1);
  gate.resolve();
  await turns();
  release();
  t.same((await Promise.all([slow, quick])).map(word), ['fill', 'fill']);
  t.equal(upstream.requests.length, 1);
});

t.test('at the deadline', async (t) => {
  const rows = [
    { reason: 'never followed', follow: 'never', ms: 0, kind: 'unavailable' },
    { reason: 'followed, since it moves', follow: 'late', ms: 0, kind: 'followed' },
    { reason: 'followed late, for it is no larger than that', follow: { aboveBytes: SIZE }, ms: 0, kind: 'followed' },
    { reason: 'no byte for as long as a transfer may be idle', follow: 'late', ms: IDLE_MS, kind: 'unavailable' },
  ] as const;
  for (const { reason, follow, ms, kind } of rows) {
    // Its own limits are far away: what is looked at is the reader's patience.
    const heart = await openHeart(t, { ports: { idleMs: IDLE_MS } });
    const { upstream, release } = held();
    const asked = heart.obtainer.obtain(claim, heart.asker(upstream.fetch, { follow, withinMs: 5_000 + ms }));
    await until(() => heart.verdicts.length === 0 && upstream.open === 1 && heart.clock.armed === 2);
    await turns(20);
    heart.clock.advanceNow(5_000 + ms - 1);
    heart.clock.advanceNow(1);
    const answer = await asked;
    t.equal(answer.kind, kind, reason);
    release();
    if (answer.kind === 'followed') t.ok((await drained(answer)).equals(encoded));
    else if (ms === 0) {
      t.match(answer, { reason: 'late' });
      await until(() => heart.verdicts.length === 1);
      t.equal(word(await heart.obtain(claim, upstream.fetch)), 'hit', 'the fill went on');
    }
    await heart.close();
  }
});

t.test('a deadline that is past asks for a fill all the same', async (t) => {
  const heart = await openHeart(t);
  const { upstream, release } = held();
  t.equal(word(await outOfTime(heart, claim, upstream)), 'unavailable late');
  release();
  await until(() => heart.verdicts.length === 1);
  t.equal(word(await outOfTime(heart, claim, upstream)), 'hit');
});

t.test('the deadline and the verdict at once', async (t) => {
  for (const [follow, bytes, says] of [
    ['late', encoded, 'fill'],
    ['never', encoded, 'fill'],
    ['late', flipped(encoded, 1), 'refuted hash'],
  ] as const) {
    let atVerdict = () => {};
    const heart = await openHeart(t, { ports: { onVerdict: () => atVerdict() } });
    atVerdict = () => heart.clock.advanceNow(50_000);
    const upstream = new ScriptedFetch(sends(bytes));
    t.equal(word(await heart.obtain(claim, upstream.fetch, { follow })), says, 'the verdict counts');
    await heart.close();
  }
});

t.test('the deadline in the pause between two fetches', async (t) => {
  const heart = await openHeart(t);
  const upstream = new ScriptedFetch(sends(flipped(encoded, 1)), sends(encoded));
  const asked = heart.obtainer.obtain(claim, heart.asker(upstream.fetch, { follow: 'late', withinMs: 50 }));
  await until(() => upstream.complete === 1 && heart.clock.armed === 2);
  heart.clock.advanceNow(50);
  t.equal(word(await asked), 'unavailable late', 'what was refuted is never followed');
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'fill');
});

t.test('followed from the start, above a size', async (t) => {
  const large = await makeBody('early', 3_000_000);
  const rows = [
    { aboveBytes: 2_999_999, kind: 'followed' },
    { aboveBytes: 3_000_000, kind: 'proven' },
  ];
  for (const { aboveBytes, kind } of rows) {
    const heart = await openHeart(t);
    const { upstream, release } = held(large.encoded, 1_000_000);
    const asked = heart.obtainer.obtain(claimOf(large), heart.asker(upstream.fetch, { follow: { aboveBytes } }));
    if (kind === 'proven') release();
    const answer = await asked;
    t.equal(answer.kind, kind, `above ${aboveBytes}`);
    release();
    if (answer.kind === 'followed') t.ok((await drained(answer)).equals(large.encoded));
    await heart.close();
  }
});

t.test('an asker that leaves', async (t) => {
  const heart = await openHeart(t);
  const { upstream, release } = held();
  const abort = new AbortController();
  const asked = heart.obtainer.obtain(claim, heart.asker(upstream.fetch, { signal: abort.signal }));
  await until(() => upstream.open === 1);
  abort.abort();
  t.equal(word(await asked), 'unavailable aborted');
  release();
  await until(() => heart.verdicts.length === 1);
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'hit', 'the fill outlived it');
  const other = claimOf(await makeBody('other', 10));
  t.equal(word(await heart.obtain(other, upstream.fetch, { signal: abort.signal })), 'unavailable aborted');
  t.equal(upstream.requests.length, 1, 'nothing is begun for one who has left');
});

t.test('no reader left', async (t) => {
  const heart = await openHeart(t, { maxDetached: 2 });
  const bodies = await Promise.all(['a', 'b', 'c', 'd'].map((seed) => makeBody(seed, SIZE)));
  const upstreams = bodies.map(({ encoded: bytes }, index) => held(bytes, [200_000, 50_000, 150_000, 100_000][index]));
  const aborts = bodies.map(() => new AbortController());
  const asks = bodies.map((one, index) => {
    const fetch = upstreams[index]?.upstream.fetch ?? nothing.fetch;
    const signal = aborts[index]?.signal ?? new AbortController().signal;
    return heart.obtainer.obtain(claimOf(one, { path: String(index) }), heart.asker(fetch, { signal }));
  });
  await until(() => upstreams.every(({ upstream }) => upstream.open === 1));
  await turns(20);
  const open = () => upstreams.map(({ upstream }) => upstream.open);
  for (const index of [0, 1, 2]) aborts[index]?.abort();
  await until(() => open()[1] === 0);
  t.same(open(), [1, 0, 1, 1], 'the least advanced of three is dropped');
  aborts[3]?.abort();
  await until(() => open()[3] === 0);
  t.same(open(), [1, 0, 1, 0]);
  for (const { release } of upstreams) release();
  t.same((await Promise.all(asks)).map(word), Array(4).fill('unavailable aborted'));
  await until(() => heart.verdicts.length === 4);
  t.same(
    heart.verdicts.map(({ kind }) => kind),
    ['unavailable', 'unavailable', 'proven', 'proven'],
  );
});

t.test('many leave at once: each that is dropped counts once', async (t) => {
  const heart = await openHeart(t, { maxDetached: 2 });
  const bodies = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((seed) => makeBody(seed, SIZE)));
  const upstreams = bodies.map(({ encoded: bytes }) => held(bytes));
  const abort = new AbortController();
  const asks = bodies.map((one, index) =>
    heart.obtainer.obtain(
      claimOf(one, { path: String(index) }),
      heart.asker(upstreams[index]?.upstream.fetch ?? nothing.fetch, { signal: abort.signal }),
    ),
  );
  await until(() => upstreams.every(({ upstream }) => upstream.open === 1));
  abort.abort();
  await Promise.all(asks);
  await until(() => heart.verdicts.length === 3);
  await turns(20);
  t.equal(upstreams.filter(({ upstream }) => upstream.open === 1).length, 2, 'just as many as may be go on');
  for (const { release } of upstreams) release();
});

t.test('one that asks for what is just being dropped', async (t) => {
  const heart = await openHeart(t, { maxDetached: 0 });
  const { upstream, release } = held();
  const abort = new AbortController();
  const asked = heart.obtainer.obtain(claim, heart.asker(upstream.fetch, { signal: abort.signal }));
  await until(() => upstream.open === 1);
  abort.abort();
  t.equal(word(await asked), 'unavailable aborted');
  upstream.steps = [sends(encoded)];
  const again = heart.obtain(claim, upstream.fetch);
  t.equal(word(await again), 'fill', 'begins it anew');
  t.ok(upstream.mostOpen <= 1 || upstream.complete === 1);
  release();
});

t.test('one tenant does not answer for another', async (t) => {
  const heart = await openHeart(t);
  const theirs = claimOf(body, { tenant: 'other' });
  const upstream = new ScriptedFetch(sends(encoded));
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'fill');
  t.equal(await heart.obtainer.held(theirs), undefined);
  const absent = new ScriptedFetch(fails({ kind: 'absent' }));
  t.equal(word(await heart.obtain(theirs, absent.fetch)), 'absent', 'though the bytes are here');
  t.equal(absent.requests.length, 1, 'its own upstream was asked');
  await heart.clock.advance(250);
  const wrong = new ScriptedFetch(sends(flipped(encoded, 1)));
  t.equal(word(await heart.obtain(theirs, wrong.fetch)), 'refuted hash');
  await heart.clock.advance(60_000);
  const right = new ScriptedFetch(sends(encoded));
  t.equal(word(await heart.obtain(theirs, right.fetch)), 'fill');
  t.equal(word(await heart.obtain(theirs, right.fetch)), 'hit');
  t.equal(heart.forms.stats().objects, 1, 'one form for both');
});

t.test('another place of the same tenant is answered from the store', async (t) => {
  const heart = await openHeart(t);
  const upstream = new ScriptedFetch(sends(encoded));
  await heart.obtain(claim, upstream.fetch);
  t.equal(word(await heart.obtain(claimOf(body, { path: 'b' }), upstream.fetch)), 'hit');
});

t.test('the size must be the one that was named', async (t) => {
  const heart = await openHeart(t);
  const upstream = new ScriptedFetch(sends(encoded));
  await heart.obtain(claim, upstream.fetch);
  const { sha256 } = body.digest;
  t.equal(await heart.obtainer.held(claimOf({ ...body, digest: { sha256, sizeBytes: SIZE + 1 } })), undefined);
  t.ok(await heart.obtainer.held(claimOf({ ...body, digest: { sha256, sizeBytes: null } })), 'or none');
});

t.test('a form made from another', async (t) => {
  const pairs = [
    { from: 'zstd-many', to: 'identity' },
    { from: 'none', to: 'zstd' },
    { from: 'xz', to: 'identity' },
    { from: 'br', to: 'zstd' },
  ] as const;
  for (const { from, to } of pairs) {
    const heart = await openHeart(t);
    const first = await makeBody('remade', 1_500_000, from);
    await heart.obtain(claimOf(first), new ScriptedFetch(sends(first.encoded)).fetch);
    const upstream = new ScriptedFetch(fails({ kind: 'absent' }));
    const wanted = claimOf({ ...first, encoding: to }, { path: 'b' });
    const made = await heart.obtain(wanted, upstream.fetch);
    t.equal(word(made), 'fill', `${from} to ${to}`);
    t.equal(upstream.requests.length, 0, 'no upstream is asked');
    t.equal(heart.transfers(), 1, 'nor counted');
    if (to === 'identity') t.ok(await isRight(made, first.decoded));
    t.equal(word(await heart.obtain(wanted, upstream.fetch)), 'hit', 'and kept');
    await heart.close();
  }
});

t.test('rot under an answer', async (t) => {
  const large = await makeBody('rots', 4_500_000);
  const wanted = claimOf(large);
  const rows = [
    { reason: 'the upstream is well', step: sends(large.encoded), says: 'ends' },
    { reason: 'the upstream is down', step: isUnavailable('refused'), says: 'ROT' },
    { reason: 'the upstream has other content now', step: sends(flipped(large.encoded, 1)), says: 'ROT' },
  ];
  for (const { reason, step, says } of rows) {
    const heart = await openHeart(t);
    const upstream = new ScriptedFetch(sends(large.encoded), step);
    const first = await heart.obtain(wanted, upstream.fetch);
    if (first.kind !== 'proven') throw new Error(word(first));
    await rot(heart, large, 3 * MIB + 5);
    const pieces: Buffer[] = [];
    const refill = () => heart.obtain(wanted, upstream.fetch);
    const read = async () => {
      for await (const piece of mended(first.form, 0, first.form.fileBytes, refill)) pieces.push(Buffer.from(piece));
      return 'ends';
    };
    t.equal(await read().catch(({ code }) => code), says, reason);
    const left = Buffer.concat(pieces);
    t.ok(
      left.equals(large.encoded.subarray(0, says === 'ends' ? large.encoded.length : 3 * MIB)),
      'never a wrong byte',
    );
    await heart.close();
  }
});

t.test('rot in what a form is made from: the upstream is asked', async (t) => {
  const large = await makeBody('rots', 4_500_000);
  const wanted = claimOf({ ...large, encoding: 'zstd' });
  const upstreamHas = await makeBody('rots', 4_500_000, 'zstd-one');
  for (const [step, says] of [
    [sends(upstreamHas.encoded), 'fill'],
    [fails({ kind: 'absent' }), 'absent'],
  ] as const) {
    const heart = await openHeart(t);
    await heart.obtain(claimOf(large), new ScriptedFetch(sends(large.encoded)).fetch);
    await rot(heart, large, 3 * MIB + 5);
    const upstream = new ScriptedFetch(step);
    const made = await heart.obtain(wanted, upstream.fetch);
    t.equal(word(made), says);
    t.equal(upstream.requests.length, 1);
    if (made.kind === 'proven') t.ok(await isRight(made, upstreamHas.encoded));
    await heart.close();
  }
});

const rot = async ({ dir }: Heart, { digest, encoding }: TestBody, at: number): Promise<void> => {
  const file = await openFile(pathOf(dir, { digest, encoding, fileHash: '' }), 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  await file.write(Buffer.from([byte.readUInt8() ^ 1]), 0, 1, at);
  await file.close();
};

t.test('what is never made', async (t) => {
  const heart = await openHeart(t);
  await heart.obtain(claim, new ScriptedFetch(sends(encoded)).fetch);
  for (const encoding of ['xz', 'gzip', 'br'] as const) {
    const upstream = new ScriptedFetch(fails({ kind: 'absent' }));
    t.equal(word(await heart.obtain(claimOf({ ...body, encoding }), upstream.fetch)), 'absent', encoding);
    t.equal(upstream.requests.length, 1);
  }
  const upstream = new ScriptedFetch(fails({ kind: 'absent' }));
  const theirs = claimOf({ ...body, encoding: 'zstd' }, { tenant: 'other' });
  t.equal(word(await heart.obtain(theirs, upstream.fetch)), 'absent', 'nor anything from what another tenant brought');
});

t.test('credentials that are refused', async (t) => {
  const heart = await openHeart(t);
  const refusing = new ScriptedFetch(fails({ kind: 'denied' }));
  const right = new ScriptedFetch(sends(encoded));
  const denied = heart.obtainer.obtain(claim, heart.asker(refusing.fetch, { client: 'mallory' }));
  const again = heart.obtainer.obtain(claim, heart.asker(refusing.fetch, { client: 'mallory' }));
  // Three more, who all joined mallory's fill, and must share one of their own.
  const others = ['alice', 'bob', 'carol'].map((client) => heart.obtain(claim, right.fetch, { client }));
  t.same((await Promise.all([denied, again])).map(word), ['denied', 'denied']);
  t.same((await Promise.all(others)).map(word), ['fill', 'fill', 'fill']);
  t.equal(refusing.requests.length, 1);
  t.equal(right.requests.length, 1, 'one fill for the three of them');
  t.equal(heart.admission.active, 0);
});

t.test('a refusal that lingers denies nobody else', async (t) => {
  const heart = await openHeart(t);
  const refusing = new ScriptedFetch(fails({ kind: 'denied' }));
  t.equal(word(await heart.obtainer.obtain(claim, heart.asker(refusing.fetch, { client: 'mallory' }))), 'denied');
  const { upstream: right, release } = held();
  const others = ['alice', 'bob'].map((client) => heart.obtainer.obtain(claim, heart.asker(right.fetch, { client })));
  await until(() => right.open > 0);
  await turns(20);
  t.equal(right.open, 1, 'two who come at once share one transfer');
  release();
  t.same((await Promise.all(others)).map(word), ['fill', 'fill']);
  t.equal(right.requests.length, 1);
});

t.test('refuted twice: a suspect', async (t) => {
  const heart = await openHeart(t);
  const upstream = new ScriptedFetch(sends(flipped(encoded, 1)));
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'refuted hash');
  t.equal(upstream.requests.length, 2);
  t.equal(heart.suspects.open, 1);
  await heart.clock.advance(250);
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'refuted hash');
  t.equal(upstream.requests.length, 2, 'nothing is asked for a minute');
  t.equal(word(await heart.obtain(claimOf(body, { path: 'b' }), new ScriptedFetch(sends(encoded)).fetch)), 'fill');
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'hit', 'proven bytes in our store win over a suspect');
});

t.test('a suspect that is due', async (t) => {
  const heart = await openHeart(t);
  const upstream = new ScriptedFetch(sends(flipped(encoded, 1)));
  await heart.obtain(claim, upstream.fetch);
  await heart.clock.advance(60_000);
  upstream.steps = [sends(encoded)];
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'fill');
  t.equal(heart.suspects.open, 0, 'proven, it is none any more');
});

t.test('refuted by one fetch alone: no suspect, until another bears it out', async (t) => {
  const heart = await openHeart(t);
  const { obtainer } = heart;
  const upstream = new ScriptedFetch(sends(flipped(encoded, 1)));
  const poor = await openHeart(t, { ports: { retries: emptied(heart) } });
  t.equal(word(await poor.obtain(claim, upstream.fetch)), 'refuted hash');
  t.equal(upstream.requests.length, 1, 'no budget for a second');
  t.equal(poor.suspects.open, 0);
  t.equal(poor.suspects.find(claim), undefined);
  await poor.clock.advance(250);
  t.equal(word(await poor.obtain(claim, upstream.fetch)), 'refuted hash');
  t.equal(poor.suspects.open, 1);
  await obtainer.close();
});

t.test('no suspect is made', async (t) => {
  const wrong = () => new ScriptedFetch(sends(flipped(encoded, 1)));
  const { sha256 } = body.digest;
  const unnamed = claimOf({ ...body, digest: { sha256, sizeBytes: null } });
  const rows = [
    { reason: 'of a size that nobody but the client named', claim: unnamed, mayRefute: true },
    { reason: 'while the index is not proven well', claim, mayRefute: false },
  ];
  for (const { reason, claim: asked, mayRefute } of rows) {
    const heart = await openHeart(t, { ports: { mayRefute: () => mayRefute } });
    for (const upstream of [wrong(), wrong()]) {
      t.equal(word(await heart.obtain(asked, upstream.fetch)), 'refuted hash', reason);
      t.equal(upstream.requests.length, 2);
      await heart.clock.advance(250);
    }
    t.equal(heart.suspects.open, 0);
    t.equal(heart.suspects.isDoubted(asked), false);
    await heart.close();
  }
});

t.test('short at the same byte', async (t) => {
  const short = { plain: sends(encoded, { endAt: 100_000 }) };
  const ranged = (request: Parameters<typeof short.plain>[0]) =>
    request.validator === null
      ? sends(encoded, { endAt: 100_000, validator: '"a"' })(request)
      : isUnavailable('status')(request);
  for (const [reason, step] of [
    ['from an upstream without ranges', short.plain],
    ['from one that has no such range', ranged],
  ] as const) {
    const heart = await openHeart(t);
    const upstream = new ScriptedFetch(step);
    t.equal(word(await heart.obtain(claim, upstream.fetch)), 'unavailable short', reason);
    t.equal(heart.suspects.open, 0);
    await heart.clock.advance(30_000);
    t.equal(word(await heart.obtain(claim, upstream.fetch)), 'unavailable short');
    t.equal(heart.suspects.open, 0, 'half a minute says nothing');
    await heart.clock.advance(30_000);
    t.equal(word(await heart.obtain(claim, upstream.fetch)), 'unavailable short');
    t.equal(heart.suspects.open, 1, 'a minute does');
    await heart.clock.advance(250);
    t.match(await heart.obtain(claim, upstream.fetch), { kind: 'refuted', reason: 'short', atByte: 100_000 });
    await heart.close();
  }
});

t.test('a broken follow', async (t) => {
  const heart = await openHeart(t);
  const { upstream, release } = held(flipped(encoded, 250_000));
  const answer = await followedAtOnce(heart, upstream);
  t.equal(heart.obtainer.mayResume(claim, answer), false, 'nothing joins a followed body');
  release();
  if (answer.kind === 'followed') await t.rejects(drained(answer), { code: 'NOT_PROVEN' });
  t.equal(upstream.requests.length, 1, 'nothing is fetched in its place');
  t.equal(heart.suspects.open, 0, 'and one fetch makes no suspect');

  await heart.clock.advance(250);
  upstream.steps = [sends(flipped(encoded, 250_000))];
  const asked = heart.obtain(claim, upstream.fetch, { follow: { aboveBytes: 0 } });
  t.equal(word(await asked), 'refuted hash', 'the next is not followed, and so a clean miss');
  t.equal(heart.suspects.open, 1);

  await heart.clock.advance(60_000);
  upstream.steps = [sends(encoded)];
  const right = await heart.obtain(claim, upstream.fetch, { follow: { aboveBytes: 0 } });
  t.equal(word(right), 'fill');
  t.equal(heart.obtainer.mayResume(claim, right), false, 'no range joins what broke off');
  const { sha256 } = body.digest;
  const unnamed = claimOf({ ...body, digest: { sha256, sizeBytes: null } }, { path: 'nar/pinned' });
  t.equal(heart.obtainer.mayResume(unnamed, right), false, 'under whatever name it is asked for');
  await heart.clock.advance(3_600_000);
  t.equal(heart.obtainer.mayResume(claim, right), true, 'after an hour nobody resumes');
});

const followedAtOnce = async (heart: Heart, upstream: ScriptedFetch): Promise<Obtained> => {
  const asked = heart.obtainer.obtain(claim, heart.asker(upstream.fetch, { follow: { aboveBytes: 0 } }));
  const answer = await asked;
  if (answer.kind !== 'followed') throw new Error(`it was to be followed: ${word(answer)}`);
  return answer;
};

t.test('a follow that ended well lets ranges go on', async (t) => {
  const heart = await openHeart(t);
  const { upstream, release } = held();
  const answer = await followedAtOnce(heart, upstream);
  release();
  if (answer.kind === 'followed') t.ok((await drained(answer)).equals(encoded));
  const hit = await heart.obtain(claim, upstream.fetch);
  t.equal(word(hit), 'hit');
  t.equal(heart.obtainer.mayResume(claim, hit), true);
  t.equal(heart.obtainer.mayResume(claim, { kind: 'absent' }), false);
});

t.test('an open breaker: a miss at once', async (t) => {
  const heart = await openHeart(t);
  for (let count = 0; count < 3; count += 1) heart.breaker.failed();
  const upstream = new ScriptedFetch(sends(encoded));
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'unavailable breaker');
  t.equal(upstream.requests.length, 0);
  t.equal(heart.transfers(), 0);
  await heart.clock.advance(2_000);
  t.equal(word(await heart.obtain(claim, upstream.fetch)), 'fill', 'one tries');
  t.equal(heart.breaker.state, 'closed');
});

t.test('a form is made while the breaker is open', async (t) => {
  const heart = await openHeart(t);
  await heart.obtain(claim, new ScriptedFetch(sends(encoded)).fetch);
  for (let count = 0; count < 3; count += 1) heart.breaker.failed();
  const made = await heart.obtain(claimOf({ ...body, encoding: 'zstd' }), new ScriptedFetch(closes()).fetch);
  t.equal(word(made), 'fill');
  t.equal(heart.breaker.state, 'open', 'and says nothing of the upstream');
});

t.test('no place', async (t) => {
  const heart = await openHeart(t, { max: 1 });
  const { upstream, release } = held();
  const first = heart.obtainer.obtain(claim, heart.asker(upstream.fetch));
  await until(() => upstream.open === 1);
  const other = await makeBody('other', 10);
  const otherUpstream = new ScriptedFetch(sends(other.encoded));
  const ask = () => heart.obtain(claimOf(other), otherUpstream.fetch);
  t.equal(word(await ask()), 'unavailable busy');
  t.equal(word(await outOfTime(heart, claim, upstream)), 'unavailable late', 'joining takes none');
  release();
  t.equal(word(await first), 'fill');
  await heart.clock.advance(250);
  t.equal(word(await ask()), 'fill');
});

t.test('a client waits for its place, within its time', async (t) => {
  const heart = await openHeart(t, { perClient: 1 });
  const { upstream, release } = held();
  const first = heart.obtainer.obtain(claim, heart.asker(upstream.fetch));
  await until(() => upstream.open === 1);
  const other = await makeBody('other', 10);
  const fetch = new ScriptedFetch(sends(other.encoded));
  const patient = heart.obtainer.obtain(claimOf(other), heart.asker(fetch.fetch));
  t.equal(word(await outOfTime(heart, claimOf(other), fetch)), 'unavailable late');
  t.equal(fetch.requests.length, 0);
  release();
  t.same([word(await first), word(await patient)], ['fill', 'fill']);
});

t.test('a full disk', async (t) => {
  const heart = await openHeart(t);
  const large = await makeBody('large', 3_000_000);
  const upstream = new ScriptedFetch(sends(large.encoded));
  heart.files.onWrite = () => {
    throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  };
  t.equal(word(await heart.obtain(claimOf(large), upstream.fetch)), 'unavailable disk');
  const small = await heart.obtain(claim, new ScriptedFetch(sends(encoded)).fetch);
  t.equal(word(small), 'fill', 'what fits in memory needs no disk');
  t.ok(await isRight(small));
  heart.files.onWrite = () => {};
  await heart.clock.advance(250);
  t.equal(word(await heart.obtain(claimOf(large), upstream.fetch)), 'fill', 'and it heals');
  t.equal(heart.breaker.state, 'closed');
});

t.test('the spools have their share', async (t) => {
  const heart = await openHeart(t, { store: { maxBytes: 8_000_000, spoolShare: 0.5 } });
  const large = await makeBody('large', 3_000_000);
  const { upstream, release } = held(large.encoded, 2_900_000);
  const first = heart.obtainer.obtain(claimOf(large), heart.asker(upstream.fetch));
  await until(() => heart.forms.stats().spoolBytes === 2_900_000);
  const second = await makeBody('second', 2_000_000);
  t.equal(
    word(await heart.obtain(claimOf(second), new ScriptedFetch(sends(second.encoded)).fetch)),
    'unavailable busy',
  );
  release();
  t.equal(word(await first), 'fill');
  t.equal(heart.forms.stats().spoolBytes, 0);
});

t.test('closed in mid-fill', async (t) => {
  const heart = await openHeart(t, { perClient: 1 });
  const { upstream } = held();
  const asked = heart.obtainer.obtain(claim, heart.asker(upstream.fetch));
  await until(() => upstream.open === 1);
  const other = await makeBody('other', 10);
  const queued = heart.obtainer.obtain(claimOf(other), heart.asker(upstream.fetch));
  const failed = await heart.obtainer.obtain(
    claimOf(other, { path: 'b' }),
    heart.asker(new ScriptedFetch(isUnavailable('status')).fetch, { client: 'another' }),
  );
  t.equal(word(failed), 'unavailable status', 'which lingers');
  await heart.obtainer.close();
  t.same((await Promise.all([asked, queued])).map(word), ['unavailable aborted', 'unavailable aborted']);
  t.equal(upstream.open, 0);
  t.equal(heart.admission.active, 0);
  t.equal(heart.clock.armed, 0, 'no timer is left');
  t.equal(
    word(await heart.obtainer.obtain(claim, heart.asker(upstream.fetch))),
    'unavailable aborted',
    'and nothing begins',
  );
  t.equal(upstream.requests.length, 1);
});

t.test('closed while a form is made', async (t) => {
  const heart = await openHeart(t);
  const large = await makeBody('closed', 20_000_000);
  await heart.obtain(claimOf(large), new ScriptedFetch(sends(large.encoded, { pieceBytes: 2 ** 20 })).fetch);
  const started = performance.now();
  const made = heart.obtainer.obtain(
    claimOf({ ...large, encoding: 'zstd' }),
    heart.asker(new ScriptedFetch(closes()).fetch),
  );
  await until(() => heart.forms.stats().spoolBytes > 0);
  await heart.obtainer.close();
  t.equal(word(await made), 'unavailable aborted', `after ${Math.round(performance.now() - started)} ms`);
  t.equal(heart.forms.stats().objects, 1, 'it was not made to its end');
});

t.test('the breaker of one obtainer is its own', async (t) => {
  const heart = await openHeart(t);
  const breaker = new Breaker(heart.clock, 15_000);
  const other = await openHeart(t, { ports: { breaker } });
  for (let count = 0; count < 3; count += 1) heart.breaker.failed();
  t.equal(word(await other.obtain(claim, new ScriptedFetch(sends(encoded)).fetch)), 'fill');
});

t.test('whatever is thrown is a miss', async (t) => {
  const heart = await openHeart(t);
  heart.ledger.find = () => Promise.reject(new Error('the records are gone'));
  const answer = await heart.obtain(claim, new ScriptedFetch(sends(encoded)).fetch);
  t.equal(word(answer), 'fill', 'what the ledger does not know is filled');
  heart.ledger.add = () => Promise.reject(Object.assign(new Error('ENOSPC'), { code: 'DISK' }));
  await heart.clock.advance(250);
  t.equal(word(await heart.obtain(claim, new ScriptedFetch(sends(encoded)).fetch)), 'unavailable disk');
});
