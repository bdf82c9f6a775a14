// Turns by key, bounded work in the background, and directory syncs that are shared.

import { mkdirSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { Backlog } from '../../../src/store/backlog.ts';
import { DirectorySyncs } from '../../../src/store/directory-syncs.ts';
import { Turns } from '../../../src/store/turns.ts';

t.test('one action at a time per key, in order, past an error; other keys do not wait', async (t) => {
  const turns = new Turns();
  const said: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = turns.run('a', async () => {
    await gate.promise;
    said.push('a1');
    throw new Error('a1 failed');
  });
  const second = turns.run('a', async () => said.push('a2'));
  await turns.run('b', async () => said.push('b'));
  gate.resolve();
  await t.rejects(first, /a1 failed/);
  await second;
  await turns.idle();
  t.same(said, ['b', 'a1', 'a2']);
});

t.test('a backlog lets two run, makes others wait for room, and survives an action that fails', async (t) => {
  const errors: unknown[] = [];
  const backlog = new Backlog({ maxJobs: 3, maxBytes: 100 }, (error) => errors.push(error));
  const gates = [1, 2, 3].map(() => Promise.withResolvers<void>());
  let running = 0;
  for (const gate of gates)
    void backlog.add(10, async () => {
      running++;
      await gate.promise;
    });
  let hasRoom = false;
  const room = backlog.room().then(() => {
    hasRoom = true;
  });
  await turn();
  t.equal(running, 2);
  t.equal(hasRoom, false);
  gates[0]?.reject(new Error('no'));
  await room;
  t.equal(backlog.jobs, 2);
  gates[1]?.resolve();
  gates[2]?.resolve();
  await backlog.idle();
  t.equal(backlog.jobs, 0);
  t.match(errors, [/no/]);
});

t.test('a backlog is bounded by bytes as well', async (t) => {
  const backlog = new Backlog({ maxJobs: 300, maxBytes: 100 }, t.error);
  const gate = Promise.withResolvers<void>();
  void backlog.add(100, () => gate.promise);
  let hasRoom = false;
  const room = backlog.room().then(() => {
    hasRoom = true;
  });
  await turn();
  t.equal(hasRoom, false);
  gate.resolve();
  await room;
});

t.test('a hundred renames at once share two syncs of their directory; the error goes to all who wait', async (t) => {
  const dir = t.testdir();
  const syncs = new DirectorySyncs();
  const first = syncs.sync(dir);
  await turn();
  const others = Array.from({ length: 99 }, () => syncs.sync(dir));
  t.equal(new Set(others).size, 1);
  t.not(others[0], first);
  await Promise.all([first, ...others]);
  const missing = `${dir}/missing`;
  await t.rejects(syncs.sync(missing), { code: 'ENOENT' });
  mkdirSync(missing);
  await t.resolves(syncs.sync(missing), 'and the next one tries again');
});
