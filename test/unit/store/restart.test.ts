// After a stop, a kill or a loss of power: what was promised is there, and what was half done is gone.

import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { ownDirectory } from '../../../src/store/owner.ts';
import { RecordStore } from '../../../src/store/records.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { killChild, startChild } from '../../support/store-killed-child.ts';
import { filesBelow, identityBody, keep, openForms, readAll } from '../../support/store-rig.ts';

t.test('killed in the middle of a spool, and right after durable keeps and puts', async (t) => {
  const dir = t.testdir();
  await killChild(await startChild('fill', dir));
  t.equal((await readdir(join(dir, 'spool'))).length, 1, 'it was in the middle of it');
  const { store, log } = await openForms(t, { dir });
  t.same(await readdir(join(dir, 'spool')), []);
  for (const body of [identityBody('small', 5000), identityBody('large', 3_000_000)]) {
    const form = await store.find(body.proof.digest, 'identity');
    t.ok(form && (await readAll(form)).equals(body.bytes));
  }
  t.equal(store.stats().objects, 2);
  const records = await RecordStore.open({ dir, clock: new FakeClock(), durable: true, log });
  t.same(await records.get('a'), { n: 2 }, 'the last put');
  t.equal(await records.get('b'), 'two');
  await records.close();
  t.same(log.lines, []);
});

t.test('what is not ours is left alone', async (t) => {
  const dir = t.testdir({ spool: { 'print.job': 'x', '7.spool': 'ours', '8.form': 'ours', '9.spool': {} }, forms: {} });
  const strange = [
    'forms/readme',
    'forms/aa',
    'forms/bb/note.txt',
    `forms/bb/${'a'.repeat(64)}-5.zstd`,
    'forms/cc/dd/ee',
  ];
  for (const name of strange) {
    await mkdir(join(dir, name, '..'), { recursive: true });
    await writeFile(join(dir, name), 'x'.repeat(100));
  }
  const { store } = await openForms(t, { dir });
  t.equal(store.stats().objects, 0);
  await store.close();
  const left = [...(await filesBelow(dir)).keys()].map((path) => path.slice(dir.length + 1));
  t.same(left.sort(), ['spool/print.job', ...strange].sort());
});

t.test('names that no digest has are not forms, and a file too short for a footer is removed', async (t) => {
  const hash = 'ab'.repeat(32);
  const names = [`${hash}-05.zstd`, `${hash}-5.bzip2`, `${hash}-5`, `${hash.toUpperCase()}-5.xz`, `${hash}--5.xz`];
  const dir = t.testdir({ forms: { ab: Object.fromEntries(names.map((name) => [name, 'x'.repeat(99)])) } });
  await writeFile(join(dir, 'forms', 'ab', `${hash}-5.xz`), '');
  const { store } = await openForms(t, { dir });
  t.equal(store.stats().objects, 0);
  t.same((await readdir(join(dir, 'forms', 'ab'))).sort(), names.sort());
});

t.test('a store opens where its owner may, and says so where it cannot', async (t) => {
  const dir = t.testdir();
  const owner = await ownDirectory(dir);
  const { store } = await openForms(t, { dir });
  await keep(store, identityBody('owned', 10));
  await store.close();
  await owner.release();
  t.same((await readdir(dir)).sort(), ['OWNER.lock', 'forms', 'spool']);
  const blocked = t.testdir({ forms: 'a file' });
  await t.rejects(openForms(t, { dir: blocked }), { code: 'DISK' });
});
