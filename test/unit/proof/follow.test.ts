// A followed body gives what was decoded, less a tail, and ends without throwing only when every byte that left was proven.

import { createHash } from 'node:crypto';
import { open as openFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { RetryBudget } from '../../../src/core/retry-budget.ts';
import { Fill } from '../../../src/proof/fill.ts';
import { Followed } from '../../../src/proof/follow.ts';
import { MIB } from '../../../src/store/form.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import {
  claimOf,
  flipped,
  type Heart,
  IDLE_MS,
  makeBody,
  openHeart,
  passing,
  ScriptedFetch,
  type Step,
  sends,
  type TestBody,
  turns,
  until,
} from '../../support/proof-rig.ts';
import { keep } from '../../support/store-rig.ts';

refuseLeaks(t);

const TAIL = 64 * 1024;

const open = async (
  t: Test,
  body: TestBody,
  ...steps: readonly Step[]
): Promise<{ heart: Heart; fill: Fill; upstream: ScriptedFetch; follow(): Reader }> => {
  const heart = await openHeart(t);
  const { clock, forms, breaker } = heart;
  const upstream = new ScriptedFetch(...steps);
  const begin = async () => ({
    fetch: upstream.fetch,
    spool: forms.spool(),
    breaker,
    isRemade: false,
    onTransfer() {},
    leave() {},
  });
  const ports = {
    clock,
    retries: new RetryBudget(clock),
    idleMs: IDLE_MS,
    extraFirstByteMs: 0,
    keep: forms.keep.bind(forms),
  };
  const fill = new Fill(ports, claimOf(body), 'client', begin);
  return { heart, fill, upstream, follow: () => new Reader(Followed.of(fill, false, () => {})) };
};

/** Reads as far as there is anything to read. */
class Reader {
  readonly followed: Followed;
  readonly done: Promise<unknown>;
  bytes = Buffer.alloc(0);
  /** Undefined while it goes on; null when it ended well. */
  ended: unknown;
  #hold: Promise<void> = Promise.resolve();

  constructor(followed: Followed) {
    this.followed = followed;
    this.done = this.#read().then(
      () => {
        this.ended = null;
      },
      (error: unknown) => {
        this.ended = error;
      },
    );
  }

  /** From the next piece on it reads nothing until the promise resolves. */
  holdUntil(promise: Promise<void>): void {
    this.#hold = promise;
  }

  async #read(): Promise<void> {
    try {
      for await (const piece of this.followed.bytes()) {
        if (piece.length > MIB) throw new Error('a piece of more than one MiB');
        this.bytes = Buffer.concat([this.bytes, piece]);
        await this.#hold;
      }
    } finally {
      this.followed.close();
    }
  }
}

const notProven = { code: 'NOT_PROVEN' };

for (const [kind, size] of [
  ['none', 300_000],
  ['zstd-many', 3_000_000],
  ['none', 5_000_000],
] as const)
  t.test(`${kind} of ${size} bytes: all but a tail leaves, and the tail with the verdict`, async (t) => {
    const body = await makeBody('right', size, kind);
    const { promise, resolve } = Promise.withResolvers<void>();
    const { encoded } = body;
    const { fill, follow } = await open(t, body, sends(encoded, { hold: { at: encoded.length, until: promise } }));
    const reader = follow();
    t.equal(fill.readers, 1);
    await until(() => reader.bytes.length === encoded.length - TAIL);
    await turns();
    t.equal(reader.ended, undefined, 'it waits');
    t.ok(reader.bytes.equals(encoded.subarray(0, encoded.length - TAIL)));
    resolve();
    await reader.done;
    t.equal(reader.ended, null);
    t.ok(reader.bytes.equals(encoded));
    t.equal(fill.readers, 0);
  });

t.test('a body shorter than the tail leaves with the verdict alone', async (t) => {
  const body = await makeBody('short', 5_000);
  const { promise, resolve } = Promise.withResolvers<void>();
  const { follow, fill } = await open(t, body, sends(body.encoded, { hold: { at: 5_000, until: promise } }));
  const reader = follow();
  await until(() => fill.encodedBytes === 5_000);
  await turns();
  t.equal(reader.bytes.length, 0);
  resolve();
  await reader.done;
  t.ok(reader.bytes.equals(body.encoded));
});

t.test('no other verdict lets it end', async (t) => {
  const body = await makeBody('wrong', 2_500_000);
  const rows: { reason: string; step: Step }[] = [
    { reason: 'a flipped bit at the end', step: sends(flipped(body.encoded, 2_499_999)) },
    { reason: 'a byte too many', step: sends(Buffer.concat([body.encoded, Buffer.from('x')])) },
    { reason: 'cut for ever', step: sends(body.encoded, { cutAt: 2_400_000 }) },
    { reason: 'short for ever', step: sends(body.encoded, { endAt: 2_400_000 }) },
  ];
  for (const { reason, step } of rows) {
    const { heart, follow, upstream } = await open(t, body, step);
    const reader = follow();
    await passing(heart.clock, reader.done);
    t.match(reader.ended, notProven, reason);
    t.ok(reader.bytes.length <= 2_500_000 - TAIL, 'the tail was never sent');
    t.ok(upstream.complete <= 2);
  }
});

t.test('a fill that goes on by another transfer', async (t) => {
  const body = await makeBody('on', 2_500_000);
  const etag = { validator: '"a"' };
  for (const course of [{}, etag]) {
    const { heart, follow } = await open(
      t,
      body,
      sends(body.encoded, { ...course, cutAt: 2_000_000 }),
      sends(body.encoded, course),
    );
    const reader = follow();
    await passing(heart.clock, reader.done);
    t.equal(reader.ended, null);
    t.ok(reader.bytes.equals(body.encoded));
  }
});

t.test('readers at every pace, while the spool becomes the form', async (t) => {
  const body = await makeBody('paces', 6_000_000);
  const { encoded } = body;
  const end = Promise.withResolvers<void>();
  const { heart, fill, follow } = await open(
    t,
    body,
    sends(encoded, { hold: { at: encoded.length, until: end.promise } }),
  );
  const released = Promise.withResolvers<void>();
  const readers = Array.from({ length: 8 }, (_, index) => {
    const reader = follow();
    if (index % 2 === 0) reader.holdUntil(released.promise);
    return reader;
  });
  await until(() => readers.some(({ bytes }) => bytes.length === encoded.length - TAIL));
  const stalled = follow();
  stalled.holdUntil(released.promise);
  end.resolve();
  t.equal((await fill.verdict).kind, 'proven');
  const late = follow();
  released.resolve();
  await Promise.all([...readers, stalled, late].map(({ done }) => done));
  for (const reader of [...readers, stalled, late]) {
    t.equal(reader.ended, null);
    t.ok(reader.bytes.equals(encoded));
  }
  t.equal(fill.readers, 0);
  await heart.close();
});

t.test('a reader that leaves', async (t) => {
  const body = await makeBody('leaves', 2_000_000);
  const { promise, resolve } = Promise.withResolvers<void>();
  const { fill } = await open(t, body, sends(body.encoded, { hold: { at: 1_500_000, until: promise } }));
  let left = 0;
  const followed = Followed.of(fill, false, () => {
    left += 1;
  });
  for await (const piece of followed.bytes()) if (piece.length > 0) break;
  followed.close();
  followed.close();
  t.equal(left, 1, 'told once');
  t.equal(fill.readers, 0);
  resolve();
  t.equal((await fill.verdict).kind, 'proven', 'the fill goes on');
});

t.test('stored in other bytes by somebody else meanwhile', async (t) => {
  const body = await makeBody('two', 3_000_000, 'zstd-one');
  const twin = await makeBody('two', 3_000_000, 'zstd-many');
  t.same(twin.digest, body.digest);
  const { promise, resolve } = Promise.withResolvers<void>();
  const { encoded } = body;
  const { heart, follow } = await open(t, body, sends(encoded, { hold: { at: encoded.length, until: promise } }));
  const reader = follow();
  await until(() => reader.bytes.length > 0);
  const fileHash = createHash('sha256').update(twin.encoded).digest('hex');
  await keep(heart.forms, { bytes: twin.encoded, proof: { digest: twin.digest, encoding: 'zstd', fileHash } });
  resolve();
  await reader.done;
  t.match(reader.ended, notProven, 'what was stored is no continuation of what left');
});

/** The only file in `dir`, once it has grown so far. */
const untilWritten = async (dir: string, bytes: number): Promise<string> => {
  for (;;) {
    const [name] = await readdir(dir);
    if (name !== undefined && (await stat(join(dir, name))).size >= bytes) return join(dir, name);
    await turns(1);
  }
};

t.test('a spool that rots on its way to the reader', async (t) => {
  const body = await makeBody('rots', 4_000_000);
  const { promise, resolve } = Promise.withResolvers<void>();
  const { encoded } = body;
  const { heart, fill, follow } = await open(t, body, sends(encoded, { hold: { at: encoded.length, until: promise } }));
  await until(() => fill.encodedBytes === encoded.length);
  const spoolDir = join(heart.dir, 'spool');
  // Whole MiBs are written at once, and memory keeps the last alone.
  const path = await untilWritten(spoolDir, 3 * MIB);
  const file = await openFile(path, 'r+');
  await file.write(Buffer.from([encoded.readUInt8(1000) ^ 1]), 0, 1, 1000);
  await file.close();
  const reader = follow();
  await until(() => reader.bytes.length === encoded.length - TAIL);
  t.notOk(reader.bytes.equals(encoded.subarray(0, encoded.length - TAIL)), 'a wrong byte has left');
  resolve();
  await reader.done;
  t.match(reader.ended, notProven, 'so the response must not complete');
});
