// One owner per directory: refused while it lives, also from another network namespace, accepted once it is killed.

import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { ownDirectory } from '../../../src/store/owner.ts';
import { killChild, startChild } from '../../support/store-killed-child.ts';

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
