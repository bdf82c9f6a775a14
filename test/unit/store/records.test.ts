// Records: what was put last comes back; what is damaged, foreign or too much is not there.

import { readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { MIB } from '../../../src/store/form.ts';
import { RecordStore, type RecordStoreOptions } from '../../../src/store/records.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { CollectedLog, diskError, FakeFiles, filesBelow, refuseOpenFiles, sha256 } from '../../support/store-rig.ts';

type Test = { testdir(): string; teardown(action: () => void): unknown };

const openRecords = async (t: Test, options: Partial<RecordStoreOptions> = {}) => {
  t.teardown(() => refuseOpenFiles(dir));
  const dir = options.dir ?? t.testdir();
  const log = new CollectedLog();
  const files = new FakeFiles();
  const clock = new FakeClock();
  const records = await RecordStore.open({ dir, clock, durable: false, log, files, ...options });
  const pathOf = (key: string) => join(dir, 'records', sha256(key).slice(0, 2), `${sha256(key)}.json`);
  /** Records on disk. */
  const count = async () =>
    [...(await filesBelow(join(dir, 'records'))).keys()].filter((path) => !path.includes('/records/tmp/')).length;
  return { records, dir, log, files, clock, pathOf, count };
};

const value = { narinfo: 'StorePath: /nix/store/…\n', ünïcode: [1, null, -0.5], nested: { __proto: true } };

for (const durable of [false, true])
  t.test(`put, got, deleted, and there after a restart (${durable ? 'durable' : 'behind an upstream'})`, async (t) => {
    const { records, dir, count } = await openRecords(t, { durable });
    t.equal(await records.get('a'), undefined);
    await records.put('a', value);
    await records.put('b', 'two');
    await records.put('nothing', null);
    t.same(await records.get('a'), value);
    t.equal(await records.get('nothing'), null);
    await records.delete('b');
    await records.delete('never put');
    t.equal(await records.get('b'), undefined);
    await records.close();
    t.equal(await count(), 2);
    const again = (await openRecords(t, { dir, durable })).records;
    t.same(await Promise.all([1, 2, 3].map(() => again.get('a'))), [value, value, value]);
    t.equal(await again.get('b'), undefined);
    t.equal(await again.get('nothing'), null);
    await again.close();
    t.same(await readdir(join(dir, 'records', 'tmp')), []);
  });

t.test('a record written out by hand is read; the file says what it is', async (t) => {
  const { records, pathOf } = await openRecords(t, { durable: true });
  await records.put('key', { n: 1 });
  const rest = ',"key":"key","value":{"n":1}}';
  t.equal(await readFile(pathOf('key'), 'utf8'), `{"checksum":"${sha256(rest)}"${rest}`);
  t.same(JSON.parse(await readFile(pathOf('key'), 'utf8')).value, { n: 1 });
  await records.close();
});

const another = ',"key":"another","value":1}';
const damages: readonly { readonly reason: string; readonly text: (right: string) => string }[] = [
  { reason: 'one letter changed', text: (right) => right.replace('right', 'wrong') },
  { reason: 'the checksum changed', text: (right) => right.replace(/"checksum":"./, '"checksum":"x') },
  { reason: 'cut', text: (right) => right.slice(0, -1) },
  { reason: 'cut to nothing', text: () => '' },
  { reason: 'more behind it', text: (right) => `${right} ` },
  { reason: 'no JSON under a right checksum', text: () => `{"checksum":"${sha256('x')}"x` },
  { reason: 'no value under a right checksum', text: () => `{"checksum":"${sha256(',"key":"key"}')}","key":"key"}` },
  { reason: 'another’s record', text: () => `{"checksum":"${sha256(another)}"${another}` },
  { reason: 'too long', text: (right) => right.replace('right', 'r'.repeat(5000)) },
];

for (const { reason, text } of damages)
  t.test(`not there: ${reason}`, async (t) => {
    const { records, dir, pathOf } = await openRecords(t, { durable: true });
    await records.put('key', 'right');
    await records.put('whole', 1);
    await records.close();
    await writeFile(pathOf('key'), text(await readFile(pathOf('key'), 'utf8')));
    const again = await openRecords(t, { dir, maxRecordBytes: 4096 });
    t.same(await Promise.all([again.records.get('key'), again.records.get('key')]), [undefined, undefined]);
    t.equal(again.log.lines.length, 1);
    t.equal(await again.count(), 1, 'and its file is removed');
    t.equal(await again.records.get('whole'), 1);
    await again.records.put('key', 'new');
    t.equal(await again.records.get('key'), 'new');
    await again.records.close();
    t.equal(await again.count(), 2);
  });

t.test('a record filed under another’s name is not that other’s', async (t) => {
  const { records, dir, pathOf } = await openRecords(t, { durable: true });
  await records.put('one', 1);
  await records.put('two', 2);
  await records.close();
  await writeFile(pathOf('two'), await readFile(pathOf('one')));
  const again = (await openRecords(t, { dir })).records;
  t.equal(await again.get('two'), undefined);
  t.equal(await again.get('one'), 1);
  await again.close();
});

t.test('whatever is put, deleted and asked at once, each key ends as it was last told', async (t) => {
  const step = fc.record({
    kind: fc.constantFrom('put', 'put', 'get', 'delete'),
    key: fc.constantFrom('a', 'b', 'c'),
    value: fc.jsonValue({ maxDepth: 1 }),
  });
  const base = t.testdir();
  let run = 0;
  const property = fc.asyncProperty(fc.array(step, { maxLength: 20 }), fc.boolean(), async (steps, durable) => {
    const dir = join(base, String(run++));
    // A memory of one: most are read from disk.
    const { records, count } = await openRecords(t, { dir, durable, memoryEntries: 1 });
    const told = new Map<string, unknown>();
    await Promise.all(
      steps.map(({ kind, key, value }) => {
        if (kind === 'put') told.set(key, value);
        if (kind === 'delete') told.delete(key);
        return kind === 'put' ? records.put(key, value) : kind === 'get' ? records.get(key) : records.delete(key);
      }),
    );
    const check = async (store: RecordStore) => {
      for (const key of ['a', 'b', 'c']) {
        const found = await store.get(key);
        if (JSON.stringify(found) !== JSON.stringify(told.get(key)))
          throw new Error(`${key}: ${JSON.stringify(found)}`);
      }
    };
    await check(records);
    await records.close();
    if ((await count()) !== told.size) throw new Error(`${await count()} records`);
    const again = (await openRecords(t, { dir })).records;
    await check(again);
    await again.close();
  });
  await fc.assert(property, { numRuns: 25 });
});

t.test('behind an upstream a put is seen at once, and close puts are one write', async (t) => {
  const { records, files, count } = await openRecords(t);
  const gate = Promise.withResolvers<void>();
  files.onWrite = () => gate.promise;
  for (let n = 0; n <= 50; n++) await records.put('key', n);
  t.equal(await records.get('key'), 50);
  t.equal(await count(), 0);
  gate.resolve();
  await records.close();
  t.equal(await count(), 1);
  t.ok(files.writes.length <= 2);
});

t.test('a put while the record before it is being read', async (t) => {
  const { records, dir } = await openRecords(t, { durable: true });
  await records.put('key', 'old');
  await records.close();
  const again = (await openRecords(t, { dir })).records;
  const getting = again.get('key');
  await again.put('key', 'new');
  t.equal(await getting, 'old', 'asked before');
  await again.close();
  t.equal(await again.get('key'), 'new');
});

t.test('a full disk behind an upstream: memory holds it, one line says it, nothing older comes back', async (t) => {
  const { records, files, log, clock, dir } = await openRecords(t);
  await records.put('key', 'old');
  await records.close();
  files.onWrite = () => {
    throw diskError('ENOSPC');
  };
  await records.put('key', 'new');
  await records.put('other', 1);
  await records.close();
  t.equal(await records.get('key'), 'new');
  t.equal(log.lines.length, 1);
  await clock.advance(60_000);
  await records.put('other', 2);
  await records.close();
  t.equal(log.lines.length, 2);
  const again = (await openRecords(t, { dir })).records;
  t.equal(await again.get('key'), undefined);
  await again.close();
});

t.test('a full disk without an upstream: the put is refused, and what was there stays', async (t) => {
  const { records, files } = await openRecords(t, { durable: true });
  await records.put('key', 'old');
  files.onWrite = () => {
    throw diskError('ENOSPC');
  };
  await t.rejects(records.put('key', 'new'), { code: 'DISK', blame: 'self' });
  t.equal(await records.get('key'), 'old');
  files.onWrite = () => {};
  await records.put('key', 'new');
  t.equal(await records.get('key'), 'new');
  await records.close();
});

t.test('too large: refused where it was to last, else forgotten with the one before', async (t) => {
  const large = 'x'.repeat(MIB);
  const durable = (await openRecords(t, { durable: true, maxRecordBytes: MIB })).records;
  await durable.put('key', 'old');
  await t.rejects(durable.put('key', large), { code: 'LARGE' });
  t.equal(await durable.get('key'), 'old');
  await durable.close();
  const { records, log, count } = await openRecords(t, { dir: t.testdir(), maxRecordBytes: MIB });
  await records.put('key', 'old');
  await records.put('key', large);
  t.equal(await records.get('key'), undefined);
  t.equal(log.lines.length, 1);
  await records.close();
  t.equal(await count(), 0);
});

for (const code of ['EMFILE', 'EIO'])
  t.test(`a file that cannot be read now is no damage (${code})`, async (t) => {
    const { records, dir } = await openRecords(t, { durable: true });
    await records.put('key', 1);
    await records.close();
    const again = await openRecords(t, { dir });
    again.files.onOpen = () => {
      throw diskError(code);
    };
    t.equal(await again.records.get('key'), undefined);
    again.files.onOpen = () => {};
    t.equal(await again.records.get('key'), 1);
    await again.records.close();
  });

for (const durable of [false, true])
  t.test(`puts that make files ask for room (${durable ? 'durable' : 'not durable'})`, async (t) => {
    let hasRoom = true;
    let asked = 0;
    const allow = async (bytes: number) => {
      asked += bytes;
      if (!hasRoom) throw diskError('ENOSPC');
    };
    const { records, count, dir, log } = await openRecords(t, { durable, allow });
    await records.put('a', 1);
    await records.close();
    t.equal(asked, 4096, 'a block, whatever the record');
    hasRoom = false;
    await records.put('a', 2);
    const put = records.put('b', 1);
    if (durable) await t.rejects(put, { code: 'ENOSPC' });
    else await put;
    await records.close();
    t.equal(await records.get('a'), 2, 'what has a file takes no more');
    t.equal(await records.get('b'), durable ? undefined : 1, 'memory has room');
    t.equal(log.lines.length, durable ? 0 : 1);
    t.equal(await count(), 1);
    const again = (await openRecords(t, { dir })).records;
    t.equal(await again.get('a'), 2);
    await again.close();
  });

t.test('what is read is not the oldest: uses are written to the files, once an hour', async (t) => {
  const { records, dir, pathOf, clock } = await openRecords(t, { durable: true });
  await records.put('hot', 1);
  await records.put('warm', 1);
  const wroteAt = (await stat(pathOf('hot'))).mtimeMs;
  await clock.advance(3_599_000);
  await records.get('hot');
  await records.close();
  t.equal((await stat(pathOf('hot'))).mtimeMs, wroteAt, 'not within the hour');
  await clock.advance(1_000);
  await records.get('hot');
  await records.close();
  t.equal((await stat(pathOf('hot'))).mtimeMs, clock.now(), 'from memory');
  const again = await openRecords(t, { dir });
  again.clock.jumpWall(wroteAt + 7_200_000 - again.clock.now());
  await again.records.get('warm');
  await again.records.close();
  t.equal((await stat(pathOf('warm'))).mtimeMs, again.clock.now(), 'and from disk');
});

for (const durable of [false, true])
  t.test(`no more than so many: the oldest of a directory goes (${durable ? 'durable' : 'not durable'})`, async (t) => {
    const { records, dir, count } = await openRecords(t, { durable, maxRecords: 10 });
    for (let n = 0; n < 25; n++) await records.put(String(n), n);
    await records.close();
    t.equal(await count(), 10);
    t.equal((await filesBelow(dir)).size, 10);
  });

t.test('of a directory the oldest goes, by its time', async (t) => {
  // These have the first two digits of their hashes in common.
  const keys = Array.from({ length: 3000 }, (_, n) => `key ${n}`).filter((key) => sha256(key).startsWith('7a'));
  t.ok(keys.length >= 5);
  const { records, dir, pathOf } = await openRecords(t, { durable: true });
  for (const key of keys) await records.put(key, key);
  const [first = '', oldest = '', ...others] = keys;
  await utimes(pathOf(oldest), 1000, 1000);
  await records.close();
  const again = (await openRecords(t, { dir, durable: true, maxRecords: keys.length - 1 })).records;
  t.equal(await again.get(oldest), undefined);
  for (const key of [first, ...others]) t.equal(await again.get(key), key);
  await again.close();
});
