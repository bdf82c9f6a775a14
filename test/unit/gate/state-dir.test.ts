// Small files: whole or not at all, and absent is not corrupt is not unwritable.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { isCode } from '../../../src/core/errors.ts';
import { StateDir } from '../../../src/gate/state-dir.ts';
import { BrokenDisk } from '../../support/broken-disk.ts';

const asText = (value: unknown): string => {
  if (typeof value === 'object' && value !== null && 'text' in value) return String(value.text);
  throw new Error('no text');
};

t.test('what is there', async (t) => {
  const dir = t.testdir({ 'cut.json': '{"text":', 'other.json': '[1]', 'ours.json': '{"text":"x"}', folder: {} });
  writeFileSync(join(dir, 'huge.json'), Buffer.alloc(5 * 1024 * 1024, 0x20));
  const state = new StateDir(dir);
  t.strictSame(await state.read('none.json', asText), { kind: 'absent' });
  t.strictSame(await state.read('ours.json', asText), { kind: 'read', value: 'x' });
  for (const name of ['cut.json', 'other.json', 'huge.json', 'folder']) {
    t.match(await state.read(name, asText), { kind: 'corrupt', detail: String }, name);
  }
});

t.test('written, it is read again, and nothing is left beside it', async (t) => {
  const dir = t.testdir();
  const state = new StateDir(dir);
  await state.write('a.json', { text: 'one' });
  await state.write('a.json', { text: 'two' });
  await state.write('deep/b.json', { text: 'three' });
  t.strictSame(await state.read('a.json', asText), { kind: 'read', value: 'two' });
  t.strictSame(await state.list('deep', '.json'), ['b.json']);
  t.strictSame(await state.list('nowhere', '.json'), []);
  t.strictSame(readdirSync(dir).sort(), ['a.json', 'deep']);
  await state.remove('a.json');
  await state.remove('a.json');
  t.strictSame(await state.read('a.json', asText), { kind: 'absent' });
});

t.test('a disk that takes nothing', async (t) => {
  const dir = t.testdir();
  const disk = new BrokenDisk();
  const state = new StateDir(dir, disk.open);
  await state.write('a.json', { text: 'before' });
  disk.isBroken = true;
  const error = await state.write('a.json', { text: 'after' }).catch((error: unknown) => error);
  t.ok(isCode(error, 'STATE_UNWRITABLE'));
  t.equal(readFileSync(join(dir, 'a.json'), 'utf8'), '{"text":"before"}\n', 'it says what it said');
});
