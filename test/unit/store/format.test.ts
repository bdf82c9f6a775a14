// The layout's number: written, recognised, refused when newer, rewritten when older.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { settleFormat } from '../../../src/store/format.ts';
import { identityBody, keep, openForms } from '../../support/store-rig.ts';

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
