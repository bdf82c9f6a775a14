// A disk that is full, slow to say so, or broken: misses, never wrong bytes and never a lost handle.

import { mkdir, open as openFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { isCode } from '../../../src/core/errors.ts';
import { MIB } from '../../../src/store/form.ts';
import {
  bytesOf,
  CollectedLog,
  diskError,
  FakeFiles,
  filesBelow,
  identityBody,
  isFile,
  keep,
  openForms,
  pathOf,
  readAll,
  refuseOpenFiles,
} from '../../support/store-rig.ts';

const floor = 100 * MIB;
const small = identityBody('small', 5000);
const large = identityBody('large', 3 * MIB);
const larger = identityBody('larger', 6 * MIB);

t.test('the floor is looked at with the first byte, and every 64 MiB of all spools', async (t) => {
  const { store, files } = await openForms(t, { freeBytesFloor: floor, maxBytes: 1024 * MIB });
  files.freeBytes = floor;
  files.statfsCalls = 0;
  const [one, two] = [store.spool(), store.spool()];
  const chunk = bytesOf('chunk', MIB);
  for (let mibs = 0; mibs < 40; mibs++) await Promise.all([one.append(chunk), two.append(chunk)]);
  t.equal(files.statfsCalls, 2, 'the first bytes of both came together');
  files.freeBytes = floor - 1;
  const filling = (async () => {
    for (;;) await one.append(chunk);
  })();
  await t.rejects(filling, { code: 'DISK', blame: 'self' });
  t.ok(one.bytes < 40 * MIB + 64 * MIB);
  await t.rejects(
    (async () => {
      for (;;) await two.append(chunk);
    })(),
    { code: 'DISK' },
    'low once, every write looks',
  );
  await one.discard();
  files.freeBytes = floor;
  await t.resolves(store.spool().append(Buffer.concat([chunk, chunk])));
});

t.test('forms make room for the floor, as far as they go and no further; pinned ones stay', async (t) => {
  const { store, files, dir } = await openForms(t, { freeBytesFloor: floor });
  const [one, two, three] = [1, 2, 3].map((seed) => identityBody(seed, 2 * MIB));
  if (!one || !two || !three) throw new Error('three');
  for (const body of [one, two, three]) await keep(store, body);
  store.pin(one.proof.digest, 'identity');
  const before = (await filesBelow(dir)).size;
  // What is free grows as files go.
  const statfs = files.statfs.bind(files);
  files.statfs = async (path) => {
    files.freeBytes = floor - 10 + 2 * MIB * (before - (await filesBelow(dir)).size);
    return await statfs(path);
  };
  t.ok((await readAll(await keep(store, large))).equals(large.bytes));
  t.ok(await store.find(one.proof.digest, 'identity'));
  t.equal(await store.find(two.proof.digest, 'identity'), undefined);
  t.ok(await store.find(three.proof.digest, 'identity'));
});

t.test('room is made while everything is kept, found and dropped: nothing waits for ever', async (t) => {
  const bodies = [200, 3000, MIB + 5, MIB + 6].map((bytes, seed) => identityBody(`room ${seed}`, bytes));
  const step = fc.record({
    index: fc.nat(3),
    kind: fc.constantFrom('keep', 'keep', 'find', 'drop'),
    isLow: fc.boolean(),
  });
  const base = t.testdir();
  let run = 0;
  const property = fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.boolean(), async (steps, durable) => {
    const dir = `${base}/${run++}`;
    const rig = await openForms({ testdir: () => dir, teardown: () => {} }, { durable, freeBytesFloor: floor });
    const { store, files } = rig;
    let looks = 0;
    // Low at first, and then, now and again, better for what was removed.
    files.statfs = async () => ({ bavail: floor - (steps[looks++ % steps.length]?.isLow ? MIB : 0), bsize: 1 });
    await Promise.all(
      steps.map(async ({ index, kind }) => {
        const { proof, bytes } = bodies[index] ?? small;
        if (kind === 'drop') return await store.drop(proof.digest, 'identity');
        const form = await (kind === 'find'
          ? store.find(proof.digest, 'identity')
          : keep(store, { proof, bytes })
        ).catch((error: unknown) => {
          if (!isCode(error, 'DISK')) throw error;
        });
        if (form?.body && !form.body.equals(bytes)) throw new Error('other bytes');
      }),
    );
    await store.close();
    const onDisk = [...(await filesBelow(dir)).values()].reduce((sum, one) => sum + one, 0);
    if (onDisk !== store.stats().bytes) throw new Error(`${onDisk} on disk, ${store.stats().bytes} counted`);
  });
  await fc.assert(property, { numRuns: 20, timeout: 5000 });
  refuseOpenFiles(base);
});

t.test('a file system that cannot be asked is a disk that cannot be used', async (t) => {
  const { store, files } = await openForms(t);
  files.statfs = () => Promise.reject(diskError('EIO'));
  await t.rejects(keep(store, large), { code: 'DISK' });
});

for (const code of ['ENOSPC', 'EIO', 'EDQUOT'])
  t.test(`${code} while a large body is spooled`, async (t) => {
    const { store, dir, files } = await openForms(t);
    files.onWrite = () => {
      throw diskError(code);
    };
    await t.rejects(keep(store, larger), { code: 'DISK', blame: 'self' });
    t.equal((await filesBelow(dir)).size, 0);
    t.match(store.stats(), { objects: 0, spoolBytes: 0 });
  });

t.test('a disk that takes a part first', async (t) => {
  const { store, files } = await openForms(t);
  const open = files.open.bind(files);
  files.open = async (path, flags) => {
    const file = await open(path, flags);
    const write = file.write.bind(file);
    // At most 300000 bytes of the first buffer at a time, as write(2) may.
    file.writev = async (buffers, position) => {
      const [first] = buffers;
      const bytes = Math.min(300_000, first?.byteLength ?? 0);
      const { bytesWritten } = first ? await write(first, 0, bytes, position) : { bytesWritten: 0 };
      return { bytesWritten, buffers };
    };
    return file;
  };
  t.ok((await readAll(await keep(store, large))).equals(large.bytes));
  await keep(store, small);
  await store.close();
});

t.test('the disk fills up as a large body is finished: refused, but still to be read', async (t) => {
  const { store, files, dir } = await openForms(t);
  const spool = store.spool();
  await spool.append(large.bytes);
  while (files.writes.length === 0) await turn();
  files.onWrite = () => {
    throw diskError('ENOSPC');
  };
  await t.rejects(store.keep(spool, large.proof), { code: 'DISK' });
  t.ok((await spool.read(2 * MIB, 3 * MIB)).equals(large.bytes.subarray(2 * MIB)));
  files.onWrite = () => {};
  t.ok((await readAll(await store.keep(spool, large.proof))).equals(large.bytes), 'and kept once there is room');
  await store.close();
  t.equal((await filesBelow(dir)).size, 1);
});

t.test('a small body on a full disk lives in memory, and the fault is told once', async (t) => {
  const { store, files, dir, log } = await openForms(t);
  files.onWrite = () => {
    throw diskError('ENOSPC');
  };
  const bodies = [1, 2, 3].map((seed) => identityBody(seed, 2000));
  for (const body of bodies) t.ok((await keep(store, body)).body?.equals(body.bytes));
  while (store.stats().objects > 0) await turn();
  for (const { proof, bytes } of bodies) {
    t.ok((await store.find(proof.digest, 'identity'))?.body?.equals(bytes));
    t.same(store.encodings(proof.digest), ['identity']);
  }
  t.equal(log.lines.length, 1);
  t.equal((await filesBelow(dir)).size, 0);
  files.onWrite = () => {};
  for (const body of bodies) await keep(store, body);
  await store.close();
  t.equal((await filesBelow(dir)).size, 3, 'and on disk once there is room');
});

t.test('below the floor, small bodies stay in memory too', async (t) => {
  const { store, files, dir } = await openForms(t, { freeBytesFloor: floor });
  files.freeBytes = floor - 1;
  await t.rejects(keep(store, large), { code: 'DISK' });
  t.ok(await keep(store, small));
  await store.close();
  t.equal((await filesBelow(dir)).size, 0);
});

for (const body of [small, large])
  t.test(`durable, ${body.bytes.length} bytes that cannot be synced are not acknowledged`, async (t) => {
    const { store, files, dir } = await openForms(t, { durable: true });
    const open = files.open.bind(files);
    files.open = async (path, flags) => {
      const file = await open(path, flags);
      file.datasync = () => Promise.reject(diskError('EIO'));
      return file;
    };
    await t.rejects(keep(store, body), { code: 'DISK' });
    t.equal(await store.find(body.proof.digest, 'identity'), undefined);
    await store.close();
    t.equal((await filesBelow(dir)).size, 0);
  });

for (const body of [small, large])
  t.test(`durable, ${body.bytes.length} bytes that are held but were never synced are synced now`, async (t) => {
    const { store, files, dir } = await openForms(t);
    const gate = Promise.withResolvers<void>();
    if (body === small) files.onWrite = () => gate.promise;
    await keep(store, body);
    gate.resolve();
    let syncs = 0;
    const open = files.open.bind(files);
    files.open = async (path, flags) => {
      const file = await open(path, flags);
      const datasync = file.datasync.bind(file);
      file.datasync = () => {
        syncs++;
        return datasync();
      };
      return file;
    };
    const keepDurably = async () => {
      const spool = store.spool();
      await spool.append(body.bytes);
      return await store.keep(spool, body.proof, true);
    };
    t.ok((await readAll(await keepDurably())).equals(body.bytes));
    t.equal(syncs, 1);
    await keepDurably();
    t.equal(syncs, 1, 'and not again');
    t.equal(store.stats().objects, 1);
    await store.close();
    t.equal(await isFile(pathOf(dir, body.proof)), true);
  });

for (const body of [small, large])
  t.test(`durable, ${body.bytes.length} bytes whose name cannot be synced are not there after a restart`, async (t) => {
    const { store, dir } = await openForms(t, { durable: true });
    await keep(store, identityBody('before', 10));
    const shard = dirname(pathOf(dir, body.proof));
    await mkdir(shard, { recursive: true });
    const handle = await openFile(dir, 'r');
    // What all directories share: a sync of any fails.
    const prototype: { sync: () => Promise<void> } = Object.getPrototypeOf(handle);
    await handle.close();
    const { sync } = prototype;
    prototype.sync = () => Promise.reject(diskError('EIO'));
    try {
      await t.rejects(keep(store, body), { code: 'DISK' });
    } finally {
      prototype.sync = sync;
    }
    await store.close();
    t.equal(await isFile(pathOf(dir, body.proof)), false);
  });

t.test('a file system with less free than the floor is told of once, at the start', async (t) => {
  const files = new FakeFiles();
  files.freeBytes = floor - 1;
  const low = new CollectedLog();
  const { store, dir } = await openForms(t, { freeBytesFloor: floor, files, log: low });
  t.match(low.lines, [{ fields: { freeBytesFloor: floor, shortBytes: 1 }, message: /too little free/ }]);
  files.freeBytes = floor;
  await keep(store, large);
  await store.close();
  files.freeBytes = floor - MIB;
  const log = new CollectedLog();
  await openForms(t, { dir, freeBytesFloor: floor, files, log });
  t.same(log.lines, [], 'forms can make room');
});

t.test('what others write asks for the floor too', async (t) => {
  const { store, files } = await openForms(t, { freeBytesFloor: floor });
  files.freeBytes = floor - 1;
  await t.rejects(store.allow(64 * MIB), { code: 'DISK' });
});

t.test('what somebody clears away while we run is made again', async (t) => {
  const { store, dir } = await openForms(t);
  await rm(`${dir}/forms`, { recursive: true });
  await rm(`${dir}/spool`, { recursive: true });
  for (const body of [small, large]) await keep(store, body);
  await store.close();
  t.equal((await filesBelow(dir)).size, 2);
});
