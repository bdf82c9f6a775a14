// A spool gives back what was appended, at every moment, and lets go of everything on every path.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { MIB } from '../../../src/store/form.ts';
import { bytesOf, diskError, identityBody, openForms, readAll } from '../../support/store-rig.ts';

const content = bytesOf('spool', 7 * MIB + 12_345);

const spooled = async (dir: string): Promise<string[]> => await readdir(join(dir, 'spool'));

t.test('up to one MiB stays in memory, one byte more makes a file', async (t) => {
  const { store, dir, files } = await openForms(t);
  const spool = store.spool();
  await spool.append(content.subarray(0, MIB));
  t.equal(files.statfsCalls, 0);
  t.same(await spooled(dir), []);
  t.ok((await spool.read(0, MIB)).equals(content.subarray(0, MIB)));
  await spool.append(content.subarray(MIB, MIB + 1));
  while ((await spooled(dir)).length === 0) await turn();
  t.equal(files.statfsCalls, 1);
  t.ok((await spool.read(5, MIB + 1)).equals(content.subarray(5, MIB + 1)));
  await spool.discard();
  await spool.discard();
  t.same(await spooled(dir), []);
  t.equal(store.stats().spoolBytes, 0);
});

t.test('with more memory, more waits there', async (t) => {
  const { store, dir } = await openForms(t, { spoolMemoryBytes: 3 * MIB });
  const body = identityBody('more memory', 3 * MIB);
  const spool = store.spool();
  await spool.append(body.bytes);
  await turn();
  t.same(await spooled(dir), []);
  const form = await store.keep(spool, body.proof);
  t.ok((await readAll(form)).equals(body.bytes));
});

t.test('the chunks stay their owner’s: what becomes of them later is not seen', async (t) => {
  const { store } = await openForms(t);
  const spool = store.spool();
  const chunk = Buffer.from('proof');
  await spool.append(chunk);
  chunk.fill(0);
  t.equal(String(await spool.read(0, 5)), 'proof');
});

t.test('whatever the pieces, and while appends go on, reads are right', async (t) => {
  const { store } = await openForms(t);
  const piece = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 3 * MIB }));
  const spot = fc.record({ start: fc.nat(content.length), bytes: fc.nat(MIB) });
  const property = fc.asyncProperty(fc.array(piece, { maxLength: 6 }), fc.array(spot), async (pieces, spots) => {
    const spool = store.spool();
    for (const size of pieces) {
      const appending = spool.append(content.subarray(spool.bytes, spool.bytes + size));
      const { bytes } = spool;
      const reads = spots
        .map(({ start, bytes: wanted }) => ({ start, end: Math.min(bytes, start + wanted) }))
        .filter(({ start, end }) => start <= end);
      for (const { start, end } of reads)
        if (!(await spool.read(start, end)).equals(content.subarray(start, end))) throw new Error(`${start}-${end}`);
      await appending;
    }
    await spool.discard();
  });
  await fc.assert(property, { numRuns: 25 });
});

t.test('writes are whole MiBs, one at a time, and an append waits for the disk', async (t) => {
  const { store, files } = await openForms(t);
  const gate = Promise.withResolvers<void>();
  let inFlight = 0;
  files.onWrite = async () => {
    t.equal(++inFlight, 1);
    await gate.promise;
    inFlight--;
  };
  const spool = store.spool();
  let appended = 0;
  const appending = (async () => {
    for (let at = 0; at < content.length; at += 64 * 1024) {
      await spool.append(content.subarray(at, at + 64 * 1024));
      appended = spool.bytes;
    }
  })();
  while (inFlight === 0) await turn();
  for (let turns = 0; turns < 50; turns++) await turn();
  t.equal(appended, 4 * MIB, 'no more than four MiB wait');
  gate.resolve();
  await appending;
  t.ok((await spool.read(6 * MIB, 7 * MIB)).equals(content.subarray(6 * MIB, 7 * MIB)));
  await spool.discard();
  t.ok(files.writes.every((bytes) => bytes >= MIB && bytes % MIB === 0));
});

t.test('discard during an append that waits, during a read, and before the file is open', async (t) => {
  const { store, dir, files } = await openForms(t);
  const gate = Promise.withResolvers<void>();
  files.onWrite = () => gate.promise;
  const spool = store.spool();
  const appending = spool.append(content);
  await turn();
  const discarding = spool.discard();
  await t.rejects(appending, { code: 'DISCARDED' });
  await t.rejects(spool.read(0, 10), { code: 'DISCARDED' });
  await t.rejects(spool.append(content), { code: 'DISCARDED' });
  await t.rejects(spool.reset(), { code: 'DISCARDED' });
  gate.resolve();
  await discarding;

  const read = store.spool();
  await read.append(content);
  const reading = read.read(10, 20).catch((error: unknown) => error);
  await read.discard();
  t.match(await reading, { code: 'DISCARDED' });

  const early = store.spool();
  const first = early.append(content.subarray(0, 2 * MIB));
  await early.discard();
  await first;
  t.same(await spooled(dir), []);
  t.equal(store.stats().spoolBytes, 0);
});

t.test('reset forgets, and starts again, also after a failure', async (t) => {
  const { store, dir, files } = await openForms(t);
  const spool = store.spool();
  await spool.append(content);
  await spool.reset();
  t.equal(spool.bytes, 0);
  t.same(await spooled(dir), []);
  await spool.append(content.subarray(100));
  t.ok((await spool.read(MIB, 2 * MIB)).equals(content.subarray(100 + MIB, 100 + 2 * MIB)));
  files.onWrite = () => {
    throw diskError('ENOSPC');
  };
  await spool.reset();
  await t.rejects(spool.append(content), { code: 'DISK' });
  await t.rejects(spool.append(content), { code: 'DISK' }, 'the spool is useless');
  files.onWrite = () => {};
  await spool.reset();
  await spool.append(content);
  t.ok((await spool.read(0, MIB)).equals(content.subarray(0, MIB)));
  await spool.discard();
  t.equal(store.stats().spoolBytes, 0);
});

t.test('an append that waits across a reset belongs to what was forgotten', async (t) => {
  const { store, files } = await openForms(t);
  const gate = Promise.withResolvers<void>();
  files.onWrite = () => gate.promise;
  const spool = store.spool();
  const appending = spool.append(content).then(
    () => 'appended',
    (error: unknown) => error,
  );
  await turn();
  gate.resolve();
  await spool.reset();
  await spool.append(content.subarray(0, 10));
  t.match(await appending, { code: 'DISCARDED' });
  t.equal(spool.bytes, 10);
  await spool.discard();
});

t.test('all spools together hold a share of the store, no more', async (t) => {
  const { store } = await openForms(t, { maxBytes: 16 * MIB });
  const [first, second] = [store.spool(), store.spool()];
  await first.append(content.subarray(0, 3 * MIB));
  await second.append(content.subarray(0, MIB));
  t.equal(store.stats().spoolBytes, 4 * MIB);
  await t.rejects(second.append(Buffer.from('!')), { code: 'BUSY' });
  await t.rejects(second.append(Buffer.from('')), { code: 'BUSY' }, 'the spool is useless');
  t.ok((await second.read(0, MIB)).equals(content.subarray(0, MIB)), 'but for reading');
  await first.discard();
  await second.discard();
  t.equal(store.stats().spoolBytes, 0);
  await t.resolves(store.spool().append(content.subarray(0, 4 * MIB)));
});

t.test('what is small takes memory, and no share of the store', async (t) => {
  const { store } = await openForms(t, { maxBytes: 100_000 });
  const spools = Array.from({ length: 128 }, () => store.spool());
  for (const spool of spools) await spool.append(content.subarray(0, MIB));
  t.equal(store.stats().spoolBytes, 128 * MIB);
  await t.rejects(store.spool().append(Buffer.from('!')), { code: 'BUSY' }, 'of which there is an end as well');
  const [first, second] = spools;
  await t.rejects(async () => await first?.append(Buffer.from('!')), { code: 'BUSY' }, 'now it is large');
  await second?.discard();
  await t.resolves(store.spool().append(content.subarray(0, MIB)));
  await store.close();
  t.equal(store.stats().spoolBytes, 0);
});

t.test('reads outside of what was appended, or of more than a MiB, are errors of the caller', async (t) => {
  const { store } = await openForms(t);
  const spool = store.spool();
  await spool.append(content.subarray(0, 2 * MIB));
  for (const [start, end] of [
    [-1, 5],
    [5, 4],
    [0, MIB + 1],
    [2 * MIB, 2 * MIB + 1],
    [Number.NaN, 1],
  ] as const)
    await t.rejects(spool.read(start, end), RangeError);
  t.equal((await spool.read(2 * MIB, 2 * MIB)).length, 0);
});

t.test('sixty-four spools at once', async (t) => {
  const { store } = await openForms(t, { maxBytes: 1024 * MIB });
  const sizes = Array.from({ length: 64 }, (_, index) => MIB + 10_000 * index);
  await Promise.all(
    sizes.map(async (size) => {
      const spool = store.spool();
      for (let at = 0; at < size; at += 300_000) await spool.append(content.subarray(at, Math.min(size, at + 300_000)));
      const end = await spool.read(size - 50_000, size);
      if (!end.equals(content.subarray(size - 50_000, size))) t.fail(`${size} bytes`);
      await spool.discard();
    }),
  );
  t.equal(store.stats().spoolBytes, 0);
});

t.test('closing the store ends its spools', async (t) => {
  const { store, dir } = await openForms(t);
  const spool = store.spool();
  await spool.append(content.subarray(0, 2 * MIB));
  await store.close();
  t.same(await spooled(dir), []);
  await t.rejects(spool.append(content), { code: 'DISCARDED' });
  t.throws(() => store.spool(), { code: 'CLOSED' });
});
