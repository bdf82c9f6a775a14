// The ledger: what was proven where, in a place of its own, and found there however much else is recorded.

import t, { type Test } from 'tap';
import { Ledger } from '../../../src/store/ledger.ts';
import { RecordStore, type RecordStoreOptions } from '../../../src/store/records.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { CollectedLog, diskError, FakeFiles, sha256 } from '../../support/store-rig.ts';

const open = async (t: Test, options: Partial<RecordStoreOptions> = {}) => {
  const clock = new FakeClock();
  const files = new FakeFiles();
  const dir = options.dir ?? t.testdir();
  const records = await RecordStore.open({ dir, clock, durable: true, log: new CollectedLog(), files, ...options });
  t.teardown(() => records.close());
  return { records, clock, files, dir };
};

const digestOf = (seed: string | number) => ({ sha256: sha256(`${seed}`), sizeBytes: `${seed}`.length });

t.test('found for the tenant that brought it, over a restart', async (t) => {
  const { records, clock, dir } = await open(t, { folder: 'ledger' });
  const digest = digestOf('a');
  await new Ledger(records, clock).add('lab', digest);
  await records.close();
  const again = await open(t, { dir, folder: 'ledger' });
  const ledger = new Ledger(again.records, clock);
  t.same(await ledger.find('lab', digest.sha256), { ...digest, provenAt: clock.now() });
  t.equal(await ledger.find('other', digest.sha256), undefined);
});

t.test('a hundred known digests, and a hundred unknown, cost no look at the disk', async (t) => {
  const { records, clock, files } = await open(t, { folder: 'ledger' });
  const older = await open(t);
  const ledger = new Ledger(records, clock, older.records);
  for (let n = 0; n < 100; n++) await ledger.add('lab', digestOf(n));
  let opened = 0;
  for (const disk of [files, older.files])
    disk.onOpen = () => {
      opened++;
    };
  for (let n = 0; n < 200; n++) t.equal((await ledger.find('lab', digestOf(n).sha256)) !== undefined, n < 100);
  t.equal(opened, 0);
});

t.test('a row that is asked for outlives those that are not, though it was written first', async (t) => {
  const { records, clock } = await open(t, { folder: 'ledger', maxRecords: 10, memoryEntries: 2 });
  // The files' own times are those of the world.
  clock.jumpWall(Date.now() - clock.now());
  const ledger = new Ledger(records, clock);
  // All in one directory: which one is trimmed is left to chance.
  const digests = Array.from({ length: 20_000 }, (_, n) => digestOf(n)).filter(({ sha256: one }) =>
    sha256(`ledger\nlab\n${one}`).startsWith('7a'),
  );
  const [hot, ...cold] = digests;
  t.ok(hot !== undefined && cold.length > 50);
  if (hot === undefined) return;
  await ledger.add('lab', hot);
  for (const digest of cold) {
    await ledger.add('lab', digest);
    await clock.advance(3_600_000);
    await ledger.find('lab', hot.sha256);
    await records.close();
  }
  t.ok(await ledger.find('lab', hot.sha256));
  const left = await Promise.all(cold.map(({ sha256: one }) => ledger.find('lab', one)));
  t.equal(left.filter((row) => row !== undefined).length, 9);
});

t.test('a row among the records of the store, where rows once lay, is found and moved', async (t) => {
  const digest = digestOf('old');
  const older = await open(t);
  await new Ledger(older.records, older.clock).add('lab', digest);
  const own = await open(t, { folder: 'ledger' });
  const ledger = new Ledger(own.records, own.clock, older.records);
  const row = { ...digest, provenAt: older.clock.now() };
  own.files.onOpen = () => {
    throw diskError('ENOSPC');
  };
  t.same(await ledger.find('lab', digest.sha256), row, 'also where it cannot be moved');
  own.files.onOpen = () => {};
  t.same(await ledger.find('lab', digest.sha256), row);
  const key = `ledger\nlab\n${digest.sha256}`;
  t.ok(await own.records.get(key));
  t.equal(await older.records.get(key), undefined);
  t.same(await new Ledger(own.records, own.clock).find('lab', digest.sha256), row);
});
