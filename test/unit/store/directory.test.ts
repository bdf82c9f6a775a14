// The directory of a store: one owner, one layout, and what is found there after a stop, a kill or a loss of power.

import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { settleFormat } from '../../../src/store/format.ts';
import { ownDirectory } from '../../../src/store/owner.ts';
import { RecordStore } from '../../../src/store/records.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { killChild, startChild } from '../../support/store-killed-child.ts';
import { filesBelow, identityBody, keep, openForms, readAll } from '../../support/store-rig.ts';

t.test('a second owner is refused while the first lives, told who it is, and let in after SIGKILL', async (t) => {
  const dir = join(t.testdir(), 'a', 'b');
  const child = await startChild('own', dir);
  const refusal = { code: 'OWNED', blame: 'client', message: new RegExp(`${dir} .*pid ${child.pid} `) };
  await t.rejects(ownDirectory(dir), refusal);
  await killChild(child);
  const ours = await ownDirectory(dir);
  t.match(await readFile(join(dir, 'OWNER'), 'utf8'), `pid ${process.pid} on`);
  await t.rejects(ownDirectory(dir), { code: 'OWNED' }, 'also within one process');
  await ours.release();
  await ours.release();
  const again = await ownDirectory(dir);
  await again.release();
});

const canUnshare = spawnSync('unshare', ['-n', 'true']).status === 0;

t.test('containers that share a volume have no socket in common', { skip: !canUnshare }, async (t) => {
  const dir = t.testdir();
  const child = await startChild('own', dir, ['unshare', '-n']);
  t.teardown(() => killChild(child));
  await t.rejects(ownDirectory(dir), { code: 'OWNED' });
});

t.test('a place that cannot be a directory is a fault of the disk', async (t) => {
  const dir = t.testdir({ file: '' });
  await t.rejects(ownDirectory(join(dir, 'file')), { code: 'DISK' });
});

t.test('a place where nothing can be made is refused, and not tried for ever', async (t) => {
  for (const dir of ['/proc/nope', '/proc/nope/deeper']) await t.rejects(ownDirectory(dir), { code: 'DISK' });
});

t.test('an empty directory gets a number, and keeps it', async (t) => {
  const dir = t.testdir();
  t.equal(await settleFormat(dir), 'new');
  t.equal(await readFile(join(dir, 'FORMAT'), 'utf8'), '1\n');
  t.equal(await settleFormat(dir), 'same');
});

for (const text of ['2\n', '99', 'zwei', '', '-1', '1e0'])
  t.test(`${JSON.stringify(text)} is refused, and left as it is`, async (t) => {
    const dir = t.testdir({ FORMAT: text });
    await t.rejects(settleFormat(dir), { code: 'FORMAT', message: /this cleanmiss knows 1/ });
    t.equal(await readFile(join(dir, 'FORMAT'), 'utf8'), text);
  });

for (const older of ['0\n', undefined])
  t.test(`forms under ${older === undefined ? 'no FORMAT' : 'an older one'} are found again by scan`, async (t) => {
    const { store, dir } = await openForms(t);
    const body = identityBody('kept', 3000);
    await keep(store, body);
    await store.close();
    if (older !== undefined) await writeFile(join(dir, 'FORMAT'), older);
    await writeFile(join(dir, 'FORMAT.new'), 'left by a crash');
    t.equal(await settleFormat(dir), 'older');
    t.equal(await readFile(join(dir, 'FORMAT'), 'utf8'), '1\n');
    const again = await openForms(t, { dir });
    t.ok(await again.store.find(body.proof.digest, 'identity'));
  });

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
