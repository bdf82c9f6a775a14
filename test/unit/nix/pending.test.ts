// NARs that wait for their narinfo: bounded, over restarts, and each put at the price of one.

import t, { type Test } from 'tap';
import { PendingNars } from '../../../src/nix/pending.ts';
import type { Records } from '../../../src/store/records.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { identityBody, keep, openForms } from '../../support/store-rig.ts';

const MAX_RECORD_BYTES = 4 * 2 ** 20;

/** In memory, as JSON has them, and no larger than the store's. */
class MemoryRecords implements Records {
  readonly rows = new Map<string, string>();
  largest = 0;

  async get(key: string): Promise<unknown> {
    const row = this.rows.get(key);
    return row === undefined ? undefined : JSON.parse(row);
  }

  async put(key: string, value: unknown): Promise<void> {
    const row = JSON.stringify(value);
    this.largest = Math.max(this.largest, row.length);
    if (row.length > MAX_RECORD_BYTES) throw new Error('LARGE');
    this.rows.set(key, row);
  }

  async delete(key: string): Promise<void> {
    this.rows.delete(key);
  }
}

const scene = async (t: Test) => {
  const { store: forms } = await openForms(t);
  const { proof, bytes } = identityBody('nar', 100);
  const form = await keep(forms, { proof, bytes });
  const file = { fileHash: form.fileHash, fileBytes: 100 };
  const records = new MemoryRecords();
  const clock = new FakeClock();
  const open = (maxStoreBytes = 2 ** 40) => PendingNars.open(records, forms, clock, maxStoreBytes);
  return { form, file, records, clock, open };
};

const urlOf = (n: number): string => `nar/${String(n).padStart(52, '0')}.nar.xz`;

t.test('however many wait, the next is taken, and written at the price of few', async (t) => {
  const { form, file, records, open } = await scene(t);
  const pending = await open();
  for (let n = 0; n < 13_000; n++) await pending.add('main', urlOf(n), form, file);
  t.equal(pending.find('main', urlOf(0)), undefined, 'the oldest went');
  t.equal(pending.find('main', urlOf(2999)), undefined);
  t.ok(pending.find('main', urlOf(3000)));
  t.ok(records.largest < 64 * 1024, `${records.largest} bytes a put`);
  const again = await open();
  t.equal(again.find('main', urlOf(2999)), undefined);
  for (const n of [3000, 12_999]) t.same(again.find('main', urlOf(n)), pending.find('main', urlOf(n)));
});

t.test('one that is visible, or older than a day, waits no more, also after a restart', async (t) => {
  const { form, file, clock, open } = await scene(t);
  const pending = await open();
  await pending.add('main', 'old', form, file);
  await clock.advance(23 * 3_600_000);
  await pending.add('main', 'seen', form, file);
  const seen = pending.find('main', 'seen');
  if (seen !== undefined) await pending.remove(seen);
  await clock.advance(3_600_000);
  await pending.add('main', 'new', form, file);
  await pending.add('other', 'new', form, file);
  for (const one of [pending, await open()]) {
    t.equal(one.find('main', 'old'), undefined);
    t.equal(one.find('main', 'seen'), undefined);
    t.ok(one.find('main', 'new'));
    t.ok(one.find('other', 'new'));
  }
});

t.test('put again under its URL, it counts once', async (t) => {
  const { form, file, open } = await scene(t);
  // A tenth of it: room for two.
  const pending = await open(2_000);
  for (const url of ['a', 'b', 'b', 'b']) await pending.add('main', url, form, file);
  t.ok(pending.find('main', 'a'));
  await pending.add('main', 'c', form, file);
  t.equal(pending.find('main', 'a'), undefined);
  t.ok(pending.find('main', 'b'));
});

t.test('what one record held before is read, and spread', async (t) => {
  const { form, file, records, clock, open } = await scene(t);
  const { digest, encoding } = form;
  const older = { cache: 'main', url: 'nar/x', ...file, digest, encoding, at: clock.now() };
  await records.put('pending-nars', [older]);
  t.same((await open()).find('main', 'nar/x'), older);
  t.equal(records.rows.has('pending-nars'), false);
  t.same((await open()).find('main', 'nar/x'), older);
});
