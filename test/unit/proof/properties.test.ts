// Whatever an upstream does, in whatever pieces: bytes that are handed out whole hash to the digest that was asked for.

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { decode } from '../../../src/codec/decode.ts';
import type { Encoding } from '../../../src/core/claim.ts';
import { RetryBudget } from '../../../src/core/retry-budget.ts';
import type { Obtained } from '../../../src/proof/obtain.ts';
import type { BodyKind } from '../../support/encodings.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import {
  claimOf,
  closes,
  fails,
  flipped,
  isUnavailable,
  makeBody,
  openHeart,
  passing,
  ScriptedFetch,
  type Step,
  sends,
  type TestBody,
} from '../../support/proof-rig.ts';

refuseLeaks(t);

const KINDS: readonly BodyKind[] = ['none', 'zstd-one', 'zstd-many', 'zstd-skippable', 'xz', 'gzip', 'br'];
const SIZES = [1, 3_000, 90_000, 400_000, 1_300_000];
const bodies = await Promise.all(
  KINDS.flatMap((kind) => SIZES.map((size) => makeBody(`property ${size}`, size, kind))),
);

/** Parts of the body's length, so that shrinking keeps their meaning. */
const part = fc.double({ min: 0, max: 1, noNaN: true });

const answers = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.constantFrom<Step>(
      closes(),
      fails({ kind: 'absent' }),
      isUnavailable('status'),
      isUnavailable('refused'),
    ),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      change: fc.constantFrom('none', 'none', 'none', 'flip', 'longer', 'other'),
      changeAt: part,
      stop: fc.constantFrom('none', 'none', 'cutAt', 'endAt', 'late cutAt'),
      stopAt: part,
      /** A validator that lies, too: two different bodies may share one. */
      validator: fc.constantFrom(undefined, '"a"', '"b"'),
      pieces: fc.integer({ min: 1, max: 60 }),
    }),
  },
);
type AnswerPlan =
  | Step
  | { change: string; changeAt: number; stop: string; stopAt: number; validator: string | undefined; pieces: number };

const stepOf = (plan: AnswerPlan, { encoded }: TestBody, other: TestBody): Step => {
  if (typeof plan === 'function') return plan;
  const at = Math.floor(plan.changeAt * (encoded.length - 1));
  const changes: Readonly<Record<string, () => Buffer>> = {
    flip: () => flipped(encoded, at),
    longer: () => Buffer.concat([encoded, encoded.subarray(0, at + 1)]),
    other: () => other.encoded,
  };
  const bytes = changes[plan.change]?.() ?? encoded;
  const stopAt =
    plan.stop === 'late cutAt' ? bytes.length - Math.floor(plan.stopAt * 8) : Math.floor(plan.stopAt * bytes.length);
  return sends(bytes, {
    pieceBytes: Math.ceil(bytes.length / plan.pieces),
    ...(plan.validator === undefined ? {} : { validator: plan.validator }),
    ...(plan.stop === 'none' ? {} : { [plan.stop.replace('late ', '')]: stopAt }),
  });
};

const decodedHash = async (encoded: Buffer, encoding: Encoding): Promise<string> => {
  async function* source() {
    yield encoded;
  }
  const hash = createHash('sha256');
  for await (const piece of decode(source(), encoding)) hash.update(piece);
  return hash.digest('hex');
};

/** The bytes that a client would take for a whole answer; null for a miss, or a broken connection. */
const handedOut = async (obtained: Obtained): Promise<Buffer | null> => {
  if (obtained.kind === 'proven')
    return Buffer.concat(await Array.fromAsync(obtained.form.read(0, obtained.form.fileBytes)));
  if (obtained.kind !== 'followed') return null;
  try {
    return Buffer.concat(await Array.fromAsync(obtained.followed.bytes()));
  } catch {
    return null;
  } finally {
    obtained.followed.close();
  }
};

const asks = fc.array(
  fc.record({
    follow: fc.oneof(
      fc.constantFrom<'never' | 'late'>('never', 'late'),
      fc.record({ aboveBytes: fc.constantFrom(0, 500_000) }),
    ),
    withinMs: fc.constantFrom(50, 50_000),
    client: fc.constantFrom('alice', 'bob'),
  }),
  { minLength: 1, maxLength: 3 },
);

t.test('obtain', async (t) => {
  let whole = 0;
  let followed = 0;
  let missed = 0;
  let run = 0;
  const budgetClock = new FakeClock();
  const heart = await openHeart(t, { ports: { retries: new RetryBudget(budgetClock) } });
  const body = fc.constantFrom(...bodies);
  await fc.assert(
    fc.asyncProperty(
      body,
      body,
      fc.array(answers, { minLength: 1, maxLength: 5 }),
      asks,
      async (wanted, other, plans, clients) => {
        run += 1;
        budgetClock.advanceNow(60_000);
        heart.breaker.succeeded();
        const upstream = new ScriptedFetch(...plans.map((plan) => stepOf(plan as AnswerPlan, wanted, other)));
        const claim = claimOf(wanted, { tenant: `run ${run}` });
        const rightHash = wanted.digest.sha256;
        const check = async (obtained: Obtained): Promise<boolean> => {
          const bytes = await handedOut(obtained);
          if (obtained.kind === 'followed') followed += 1;
          if (bytes === null) missed += 1;
          else whole += 1;
          return bytes === null || (await decodedHash(bytes, wanted.encoding)) === rightHash;
        };
        const checks = clients.map(async ({ withinMs, ...others }) =>
          check(await heart.obtainer.obtain(claim, heart.asker(upstream.fetch, { ...others, withinMs }))),
        );
        const right = await passing(heart.clock, Promise.all(checks));
        // What goes on without a reader comes to its end too.
        const again = heart.obtainer.obtain(claim, heart.asker(upstream.fetch));
        const settled = await check(await passing(heart.clock, again));
        await heart.clock.advance(1_000);
        return (
          right.every(Boolean) &&
          settled &&
          heart.admission.active === 0 &&
          heart.forms.stats().spoolBytes === 0 &&
          upstream.mostOpen <= 1
        );
      },
    ),
    { numRuns: 150 },
  );
  t.comment(`${whole} whole, of them and of ${missed} misses ${followed} followed`);
  t.ok(whole > 50 && missed > 50 && followed > 10, 'every way was gone');
});
