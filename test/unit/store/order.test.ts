// Turns by key, bounded work in the background, and directory syncs that are shared.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { Backlog } from '../../../src/store/backlog.ts';
import { DirectorySyncs } from '../../../src/store/directory-syncs.ts';
import { moveInto } from '../../../src/store/publish.ts';
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

t.test('a backlog keeps its order and its count, however many wait', async (t) => {
  const backlog = new Backlog({ maxJobs: 3, maxBytes: 100 }, t.error);
  const done: number[] = [];
  for (let n = 0; n < 1000; n++) void backlog.add(0, async () => void done.push(n));
  await backlog.room();
  for (let n = 1000; n < 1500; n++) void backlog.add(0, async () => void done.push(n));
  await backlog.idle();
  t.same(
    done,
    Array.from({ length: 1500 }, (_, n) => n),
  );
  t.equal(backlog.jobs, 0);
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

/** Says which directories are synced, and holds or fails those syncs as a test likes. */
class WatchedSyncs extends DirectorySyncs {
  readonly begun: string[] = [];
  fate: (dir: string) => Promise<void> = () => Promise.resolve();

  override async sync(dir: string): Promise<void> {
    this.begun.push(dir);
    await this.fate(dir);
    await super.sync(dir);
  }
}

t.test('whoever renames into a directory just made waits until its own name is on disk', async (t) => {
  const dir = t.testdir({ a: 'a', b: 'b', c: 'c' });
  const shard = join(dir, 'shard');
  const syncs = new WatchedSyncs();
  const parent = Promise.withResolvers<void>();
  syncs.fate = (of) => (of === dir ? parent.promise : Promise.resolve());
  const moved: string[] = [];
  const move = async (name: string) => {
    await moveInto(join(dir, name), join(shard, name), { syncs, isDurable: true });
    moved.push(name);
  };
  const first = move('a');
  while (!syncs.begun.includes(dir)) await turn();
  const second = move('b');
  for (let turns = 0; turns < 50; turns++) await turn();
  t.same(moved, [], 'the second comes to a directory that is there, and whose name may yet be lost');
  parent.resolve();
  await Promise.all([first, second]);
  syncs.begun.length = 0;
  await move('c');
  t.same(syncs.begun, [shard], 'from then on it stands');
});

t.test('a directory whose own name could not be synced is not relied on', async (t) => {
  const dir = t.testdir({ a: 'a', b: 'b' });
  const syncs = new WatchedSyncs();
  syncs.fate = (of) => (of === dir ? Promise.reject(new Error('EIO')) : Promise.resolve());
  const move = (name: string) => moveInto(join(dir, name), join(dir, 'shard', name), { syncs, isDurable: true });
  await t.rejects(move('a'), /EIO/);
  await t.rejects(move('b'), /EIO/);
});

t.test('a directory made by one that need not last is synced by the next that must', async (t) => {
  const dir = t.testdir({ a: 'a', b: 'b' });
  const syncs = new WatchedSyncs();
  await moveInto(join(dir, 'a'), join(dir, 'shard', 'a'), { syncs, isDurable: false });
  t.same(syncs.begun, []);
  await moveInto(join(dir, 'b'), join(dir, 'shard', 'b'), { syncs, isDurable: true });
  t.same(syncs.begun, [join(dir, 'shard'), dir]);
});

t.test('where the directory cannot be opened, nothing is renamed', async (t) => {
  const dir = t.testdir({ a: 'a', shard: {} });
  const syncs = new DirectorySyncs();
  let isRenamed = false;
  // A directory that cannot be opened, as without a file descriptor left.
  const missing = join(dir, 'missing');
  await t.rejects(
    syncs.during(missing, async () => {
      isRenamed = true;
    }),
    { code: 'ENOENT' },
  );
  t.equal(isRenamed, false);
  await t.resolves(syncs.during(join(dir, 'shard'), async () => {}));
});
