// Every bound of a house under load or decay: what finds no place is a miss at once, and a disk that lies costs no wrong byte.

import { spawnSync } from 'node:child_process';
import { mkdtemp, open, readdir, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CacheObject, makeObject, type ObjectShape } from '../support/cache-object.ts';
import { status } from '../support/faults/answer.ts';
import { cleanShort } from '../support/faults/content.ts';
import { drip, headThenSilence, holdAfter, slow, stallBefore, zeroBytes } from '../support/faults/transfer.ts';
import type { Fault } from '../support/faults/when.ts';
import { startHouse, type TestHouse } from '../support/house.ts';
import type { Answer } from '../support/http-answer.ts';
import { get } from '../support/http-client.ts';
import { HttpConnection, type RequestOptions } from '../support/http-connection.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { fastClock } from '../support/real/fast-clock.ts';
import { type ScriptedUpstream, startUpstream } from '../support/scripted-upstream.ts';
import { until } from '../support/waiting.ts';

refuseLeaks(t);
// Much of the time goes into waiting for limits.
t.jobs = 3;

const MIB = 2 ** 20;

interface Rig {
  readonly house: TestHouse;
  readonly upstream: ScriptedUpstream;
  /** Adds an object whose NAR meets these faults, and asks for its narinfo, so that what follows is about bodies alone. */
  add(shape: ObjectShape, ...faults: readonly Fault[]): Promise<Held>;
  /** Why bodies were missed, in order. */
  misses(): unknown[];
}

interface Held {
  readonly object: CacheObject;
  readonly nar: string;
  ask(options?: RequestOptions): Promise<Answer>;
}

const opened = async (
  t: Test,
  flags: Record<string, string>,
  options: Parameters<typeof startHouse>[2] = {},
): Promise<Rig> => {
  const upstream = await startUpstream({ caches: [{ name: 'lab', isPublic: true }] });
  t.teardown(() => upstream.close());
  const house = await startHouse(t, { 'nix.upstream': upstream.origin, ...flags }, options);
  return {
    house,
    upstream,
    misses: () => house.log.filter(({ msg }) => msg === 'nix: a miss').map(({ reason }) => reason),
    async add(shape, ...faults) {
      const object = await makeObject(shape);
      const { nar, narinfo } = upstream.add(object);
      upstream.script(nar, ...faults);
      await get(`${house.nix}${narinfo}`);
      return { object, nar, ask: (ask) => get(`${house.nix}${nar}`, ask) };
    },
  };
};

const small = (seed: string): ObjectShape => ({ seed, kind: 'none', sizeBytes: 20_000 });

const isRight = (answer: Answer, { object }: Held): boolean =>
  answer.status === 200 && answer.complete && answer.body.equals(object.body.bytes);

const metric = async (house: TestHouse, line: string): Promise<number> => {
  const { body } = await get(`${house.admin}/metrics`);
  const value = body
    .toString()
    .split('\n')
    .find((one) => one.startsWith(`${line} `))
    ?.split(' ')[1];
  return Number(value ?? Number.NaN);
};

t.test('the breaker', { buffered: true }, async (t) => {
  const firstByteMs = 1_500;
  const { house, upstream, add, misses } = await opened(t, {
    'upstream.firstByte': `${firstByteMs}ms`,
    'upstream.idle': '5s',
  });
  const hung = await Promise.all(
    ['a', 'b', 'c', 'd', 'e'].map((seed, index) =>
      add(small(seed), index % 2 === 0 ? headThenSilence() : stallBefore()),
    ),
  );
  const kept = await add(small('kept'));
  t.ok(isRight(await kept.ask(), kept));

  const waits: number[] = [];
  for (const held of hung.slice(0, 3)) {
    const answer = await held.ask();
    t.equal(answer.status, 404);
    waits.push(answer.ms);
  }
  const [first = 0, second = 0, third = 0] = waits;
  t.ok(first >= firstByteMs - 50, `the first waits ${first} ms`);
  t.ok(second < first / 2 && third < first / 2, `the others a fifth: ${second}, ${third} ms`);
  t.equal(await metric(house, 'cleanmiss_upstream_breaker{front="nix",state="open"}'), 1);

  const asked = () => upstream.requests.filter(({ path }) => path.includes('/nar/')).length;
  const before = asked();
  const [fourth] = await Promise.all(hung.slice(3).map((held) => held.ask()));
  t.equal(fourth?.status, 404);
  t.ok((fourth?.ms ?? 0) < firstByteMs / 5, `open, a miss is at once: ${fourth?.ms} ms`);
  t.equal(asked(), before, 'and nothing is asked');
  t.match(misses().at(-1), /^breaker/);
  t.ok(isRight(await kept.ask(), kept), 'what is in the store is answered');

  // It is well again, and nobody has told us yet.
  for (const held of hung) upstream.script(held.nar);
  const [probe, ...others] = hung;
  if (probe === undefined) throw new Error('there are five');
  const tried = await untilRight(probe);
  t.ok(
    tried.some(({ status: code }) => code === 404),
    'misses, until two seconds have passed',
  );
  t.equal(asked(), before + 1, 'then one try goes out');
  t.equal(await metric(house, 'cleanmiss_upstream_breaker{front="nix",state="open"}'), 0, 'and closes it');
  for (const held of others) t.ok(isRight(await held.ask(), held));
});

/** Asks again and again; all answers. */
const untilRight = async (held: Held): Promise<Answer[]> => {
  const answers: Answer[] = [];
  for (;;) {
    const answer = await held.ask();
    answers.push(answer);
    if (isRight(answer, held)) return answers;
    if (answers.length > 200) throw new Error('never right');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

t.test('fast answers neither open nor close the breaker', { buffered: true }, async (t) => {
  const { house, add } = await opened(t, { 'upstream.firstByte': '600ms', 'upstream.idle': '5s' });
  const isOpen = () => metric(house, 'cleanmiss_upstream_breaker{front="nix",state="open"}');
  const rows: ReadonlyArray<readonly [string, Fault]> = [
    ['404', status(404)],
    ['500', status(500)],
    ['503', status(503)],
    ['short', cleanShort(100)],
    ['empty', zeroBytes()],
  ];
  const fast = async (suffix: string) => {
    await Promise.all(
      rows.map(async ([reason, fault]) => {
        const held = await add(small(`${reason}-${suffix}`), fault);
        t.equal((await held.ask()).status, 404, reason);
      }),
    );
  };
  await fast('before');
  t.equal(await isOpen(), 0);
  for (const seed of ['a', 'b']) await (await add(small(seed), headThenSilence())).ask();
  await fast('between');
  t.equal(await isOpen(), 0, 'two time-outs do not open it');
  await (await add(small('c'), headThenSilence())).ask();
  t.equal(await isOpen(), 1, 'the third does, whatever came between');
});

t.test('refused connections', { buffered: true }, async (t) => {
  const { house, upstream, add } = await opened(t, {});
  const helds = await Promise.all(['a', 'b', 'c', 'd'].map((seed) => add(small(seed))));
  await upstream.refuse();
  for (const held of helds) {
    const answer = await held.ask();
    t.equal(answer.status, 404);
    t.ok(answer.ms < 1_000, 'at once');
  }
  t.equal(await metric(house, 'cleanmiss_upstream_breaker{front="nix",state="open"}'), 1);
  await upstream.comeBack();
  const [first] = helds;
  if (first === undefined) throw new Error('there are four');
  await untilRight(first);
  for (const held of helds) t.ok(isRight(await held.ask(), held));
});

t.test('fills.max', { buffered: true }, async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { add, misses, upstream } = await opened(t, { 'fills.max': '1', 'fills.perClient': '1' });
  const first = await add(small('first'), holdAfter(5_000, promise));
  const other = await add(small('other'));
  const running = first.ask();
  await upstream.asked(first.nar);
  const busy = await other.ask({ headers: { authorization: 'Bearer of-another-client' } });
  t.equal(busy.status, 404, 'no place: a miss');
  t.ok(busy.complete && busy.ms < 1_000, 'at once, and never a 429 or 503');
  t.match(misses(), [/^busy: /]);
  const joined = first.ask({ headers: { authorization: 'Bearer of-another-client' } });
  resolve();
  t.ok(isRight(await running, first));
  t.ok(isRight(await joined, first), 'who shares a fill needs none');
  await untilRight(other);
});

t.test('fills.perClient', { buffered: true }, async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { add, upstream } = await opened(t, { 'fills.perClient': '2' });
  const helds = await Promise.all(
    ['a', 'b', 'c', 'd'].map((seed, index) => add(small(seed), ...(index < 2 ? [holdAfter(5_000, promise)] : []))),
  );
  const another = await add(small('another'));
  const narsAsked = () => upstream.requests.filter(({ path }) => path.includes('/nar/')).map(({ path }) => path);
  const answers: Promise<Answer>[] = [];
  for (const held of helds) {
    answers.push(held.ask());
    if (answers.length <= 2) await upstream.asked(held.nar);
  }
  const other = await another.ask({ headers: { authorization: 'Bearer of-another-client' } });
  t.ok(isRight(other, another), 'another client has places of its own');
  t.equal(narsAsked().length, 3, 'two of one, one of the other');
  resolve();
  for (const [index, answer] of answers.entries()) {
    const held = helds[index];
    t.ok(held !== undefined && isRight(await answer, held), 'the others had their turn');
  }
});

t.test('fills.detached', { buffered: true }, async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { upstream, add, house } = await opened(t, { 'fills.detached': '1' });
  const far = await add({ seed: 'far', kind: 'none', sizeBytes: 400_000 }, holdAfter(300_000, promise));
  const near = await add({ seed: 'near', kind: 'none', sizeBytes: 400_000 }, holdAfter(100_000, promise));
  const aborts = [new AbortController(), new AbortController()];
  const asks = [far, near].map((held, index) => held.ask({ ...(aborts[index] && { signal: aborts[index].signal }) }));
  const sent = ({ nar }: Held) => upstream.requests.find(({ path }) => path === nar)?.bodyBytesSent ?? 0;
  await until(() => sent(far) === 300_000 && sent(near) === 100_000);
  while ((await metric(house, 'cleanmiss_spool_bytes')) < 400_000);
  for (const abort of aborts) abort.abort();
  await Promise.all(asks);
  await until(() => upstream.transfers(near.nar).open === 0);
  t.equal(upstream.transfers(far.nar).open, 1, 'of two without a reader the least advanced was dropped');
  resolve();
  await upstream.idle();
  t.ok(isRight(await far.ask(), far));
  t.equal(upstream.transfers(far.nar).total, 1, 'and the other was kept for who comes later');
  t.ok(isRight(await near.ask(), near), 'the dropped one is begun anew');
});

t.test('the spools have their share of the store', { buffered: true }, async (t) => {
  const { add, misses, house } = await opened(t, { 'store.maxBytes': '8MiB' });
  const large = await add({ seed: 'large', kind: 'none', sizeBytes: 3 * MIB });
  const answer = await large.ask();
  t.equal(answer.status, 404);
  t.ok(answer.complete);
  t.match(misses(), [/^busy: spools hold their share of the store/]);
  const fits = await add({ seed: 'fits', kind: 'none', sizeBytes: 1_500_000 });
  t.ok(isRight(await fits.ask(), fits), 'what fits is right');
  t.same(await house.spooled(), []);
});

t.test('a full disk', { buffered: true }, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'cleanmiss-full-'));
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', dir]);
  t.teardown(async () => {
    spawnSync('umount', ['-l', dir]);
    await rm(dir, { recursive: true, force: true });
  });
  if (mount.status !== 0) return void t.comment('only root may mount a small disk: test/unit/proof injects one');
  const { add, misses, house } = await opened(t, {}, { dir });
  await writeFile(join(dir, 'filler'), Buffer.alloc(32 * MIB)).catch((error: unknown) =>
    t.match(error, { code: 'ENOSPC' }),
  );
  const large = await add({ seed: 'large', kind: 'zstd-many', sizeBytes: 6 * MIB });
  const missed = await large.ask();
  t.equal(missed.status, 404, 'a miss, and no crash');
  t.ok(missed.complete);
  t.match(misses(), [/^disk: .* bytes short of/]);
  for (const seed of ['a', 'b', 'c']) {
    const held = await add({ seed, kind: 'zstd-many', sizeBytes: 800_000 });
    t.ok(isRight(await held.ask(), held), 'what fits in memory is right');
    t.ok(isRight(await held.ask(), held), 'and kept there');
  }
  t.equal((await get(`${house.admin}/livez`)).status, 200);
  await house.close();
});

const formFile = async (house: TestHouse, { object }: Held): Promise<string> => {
  const { sha256 } = object.digest;
  const folder = join(house.dir, 'cleanmiss-data/store/forms', sha256.slice(0, 2));
  const name = (await readdir(folder)).find((one) => one.startsWith(sha256));
  if (name === undefined) throw new Error('it is not stored');
  return join(folder, name);
};

const untilFiled = async (house: TestHouse, held: Held): Promise<string> => {
  for (;;) {
    const path = await formFile(house, held).catch(() => null);
    if (path !== null) return path;
  }
};

const flipByte = async (path: string, at: number): Promise<void> => {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  await file.write(Buffer.from([byte.readUInt8() ^ 1]), 0, 1, at);
  await file.close();
};

const decays: ReadonlyArray<{ reason: string; at: number; decay: (path: string) => Promise<void> }> = [
  { reason: 'rot in the first MiB', at: 0, decay: (path) => flipByte(path, 17) },
  { reason: 'rot in the third MiB', at: 2 * MIB, decay: (path) => flipByte(path, 2 * MIB + 17) },
  { reason: 'rot in the last byte', at: 3 * MIB, decay: (path) => flipByte(path, 3 * MIB + 499_999) },
  { reason: 'a file that is gone', at: 0, decay: (path) => unlink(path) },
];
for (const { reason, at, decay } of decays)
  t.test(reason, { buffered: true }, async (t) => {
    const { house, upstream, add } = await opened(t, {});
    const shape = (seed: string): ObjectShape => ({ seed, kind: 'none', sizeBytes: 3 * MIB + 500_000 });
    const well = await add(shape('well'));
    const range = await add(shape('range'));
    const down = await add(shape('down'));
    for (const held of [well, range, down]) {
      t.ok(isRight(await held.ask(), held));
      await decay(await formFile(house, held));
    }

    const answer = await well.ask();
    t.ok(isRight(answer, well), 'a refill goes on at the same byte');
    t.equal(upstream.transfers(well.nar).total, 2);
    t.ok(isRight(await well.ask(), well));
    t.equal(upstream.transfers(well.nar).total, 2, 'and is kept');

    const { bytes } = range.object.body;
    const part = await range.ask({ headers: { range: `bytes=${MIB + 3}-${bytes.length - 2}` } });
    t.equal(part.status, 206);
    t.ok(part.complete && part.body.equals(bytes.subarray(MIB + 3, -1)), 'in a range as well');

    upstream.script(down.nar, status(500));
    const cut = await down.ask();
    if (at === 0) {
      t.equal(cut.status, 404, 'with the upstream down it is a miss: no byte had left');
      t.ok(cut.complete);
      return;
    }
    const right = down.object.body.bytes;
    t.equal(cut.complete, false, 'with the upstream down it is cut');
    t.equal(cut.ended, 'reset');
    // A reset takes with it what the client's kernel had not handed on.
    t.ok(cut.bodyBytes <= at, 'before the MiB that rotted');
    t.ok(cut.body.equals(right.subarray(0, cut.bodyBytes)), 'and never a wrong byte');
    t.equal((await down.ask()).status, 404, 'then it is a miss');
  });

t.test('rot in a small form, before and behind memory', { buffered: true }, async (t) => {
  const rig = await opened(t, { 'store.memoryBytes': '0' });
  const held = await rig.add(small('tiny'));
  t.ok(isRight(await held.ask(), held));
  // Small forms are written behind the answer.
  await flipByte(await untilFiled(rig.house, held), 100);
  t.ok(isRight(await held.ask(), held), 'it is filled again before a byte leaves');
  t.equal(rig.upstream.transfers(held.nar).total, 2);
});

t.test('a drip below the floor', { buffered: true }, async (t) => {
  // A minute passes in two seconds: 10 kB/s of the house's are 300 kB/s of the world's.
  const clock = fastClock(30);
  const { add, misses, upstream } = await opened(
    t,
    { 'release.follow': 'never', 'release.budget': '280s', 'upstream.idle': '60s', 'upstream.firstByte': '120s' },
    { clock },
  );
  const dripping = await add({ seed: 'drips', kind: 'none', sizeBytes: 200_000 }, drip(100));
  const answer = await dripping.ask();
  t.equal(answer.status, 404);
  t.same(misses(), ['floor']);
  await until(() => upstream.transfers(dripping.nar).open === 0);
  const crawling = await add({ seed: 'crawls', kind: 'none', sizeBytes: 2_500_000 }, slow(900_000));
  t.ok(isRight(await crawling.ask(), crawling), 'above it, slow is no fault');
});

t.test('a dozen clients who stall take nobody else down', { buffered: true }, async (t) => {
  const { add, house } = await opened(t, {});
  const held = await add({ seed: 'stalls', kind: 'none', sizeBytes: 12 * MIB });
  t.ok(isRight(await held.ask(), held));
  const goOn = Promise.withResolvers<void>();
  const stalled = Array.from({ length: 12 }, () =>
    held.ask({ keepBody: false, timeoutMs: 60_000, stall: { afterBytes: 100_000, until: goOn.promise } }),
  );
  const quick = await held.ask();
  t.ok(isRight(quick, held));
  goOn.resolve();
  for (const { complete, bodySha256 } of await Promise.all(stalled))
    t.ok(complete && bodySha256 === held.object.digest.sha256);
  await house.close();
});

t.test('a client that leaves in the middle of an answer from the store', { buffered: true }, async (t) => {
  const { add, house } = await opened(t, {});
  const held = await add({ seed: 'leaves', kind: 'none', sizeBytes: 12 * MIB });
  t.ok(isRight(await held.ask(), held));
  for (let count = 0; count < 10; count += 1) {
    t.equal((await held.ask({ abortAfterBytes: 100_000 })).ended, 'aborted');
  }
  const connection = new HttpConnection(house.nix);
  await connection.opened();
  connection.close();
  await house.close();
  t.pass('no file stays open: refuseLeaks looks');
});
