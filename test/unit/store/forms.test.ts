// Keeping and finding: what comes back is what was kept, under its own name, once.

import { join } from 'node:path';
import t from 'tap';
import { MIB } from '../../../src/store/form.ts';
import { encodedBody, filesBelow, identityBody, keep, openForms, pathOf, readAll } from '../../support/store-rig.ts';

for (const durable of [false, true])
  for (const size of [0, 4096, MIB, MIB + 1, 3 * MIB + 7])
    t.test(`${size} bytes, ${durable ? 'synced' : 'unsynced'}: kept, found, read`, async (t) => {
      const { store, dir } = await openForms(t, { durable });
      const body = identityBody(size, size);
      t.equal(await store.find(body.proof.digest, 'identity'), undefined);
      const kept = await keep(store, body);
      const found = await store.find(body.proof.digest, 'identity');
      for (const form of [kept, found ?? kept]) {
        t.match(form, { ...body.proof, fileBytes: size });
        t.ok((await readAll(form)).equals(body.bytes));
        t.equal(form.body === undefined, size > MIB);
      }
      t.equal(kept.body?.equals(body.bytes) ?? true, true);
      await store.close();
      const onDisk = await filesBelow(dir);
      t.same([...onDisk.keys()], [pathOf(dir, body.proof)]);
      t.equal(store.stats().bytes, onDisk.get(pathOf(dir, body.proof)));

      const again = await openForms(t, { dir });
      t.same(again.store.encodings(body.proof.digest), ['identity']);
      const reread = await again.store.find(body.proof.digest, 'identity');
      t.ok(reread && (await readAll(reread)).equals(body.bytes));
      t.match(again.store.stats(), { objects: 1, bytes: store.stats().bytes, spoolBytes: 0 });
    });

t.test('ranges, in pieces of at most one MiB', async (t) => {
  const { store } = await openForms(t);
  const body = identityBody('ranges', 3 * MIB + 500);
  const form = await keep(store, body);
  const ends = [0, 1, MIB, 2 * MIB - 1, 2 * MIB + 3, 3 * MIB, 3 * MIB + 500];
  for (const start of ends)
    for (const end of ends.filter((end) => end >= start)) {
      const pieces = await Array.fromAsync(form.read(start, end));
      if (!pieces.every((piece) => piece.length > 0 && piece.length <= MIB)) t.fail(`pieces of ${start}-${end}`);
      if (!Buffer.concat(pieces).equals(body.bytes.subarray(start, end))) t.fail(`bytes of ${start}-${end}`);
    }
  for (const [start, end] of [
    [-1, 1],
    [2, 1],
    [0, 3 * MIB + 501],
    [Number.NaN, 1],
  ] as const)
    await t.rejects(form.read(start, end).next(), RangeError);
});

t.test('lent pieces are empty once the next is asked for, but for those of a form in memory', async (t) => {
  const { store } = await openForms(t);
  const large = identityBody('lent', 3 * MIB + 500);
  const lent: Buffer[] = [];
  let at = 0;
  for await (const piece of (await keep(store, large)).lend(5, large.bytes.length)) {
    const [first] = lent.slice(-1);
    t.notOk(first?.length, 'the one before');
    t.ok(piece.equals(large.bytes.subarray(5 + at, 5 + at + piece.length)), `its bytes from ${at} on`);
    at += piece.length;
    lent.push(piece);
  }
  t.equal(at, large.bytes.length - 5);

  const left = (await keep(store, large)).lend(0, large.bytes.length);
  const { value: held } = await left.next();
  await left.return();
  t.ok(held?.equals(large.bytes.subarray(0, MIB)), 'who leaves keeps what may still be under way');

  const small = identityBody('lent', 500);
  const kept = await keep(store, small);
  const pieces = await Array.fromAsync(kept.lend(0, 500));
  t.ok(Buffer.concat(pieces).equals(small.bytes));
  t.ok((await readAll(kept)).equals(small.bytes), 'and again');
});

t.test('a reader that leaves early closes the file', async (t) => {
  const { store } = await openForms(t);
  const form = await keep(store, identityBody('early', 4 * MIB));
  for await (const piece of form.read(0, form.fileBytes)) {
    t.equal(piece.length, MIB);
    break;
  }
});

t.test('each encoding of a digest is a form of its own', async (t) => {
  const { store } = await openForms(t);
  const bodies = [
    encodedBody('nar', 1, 2 * MIB, 'xz'),
    encodedBody('nar', 2, 900, 'zstd'),
    encodedBody('nar', 3, 700, 'br'),
  ];
  for (const body of bodies) await keep(store, body);
  const { digest } = encodedBody('nar', 1, 1).proof;
  t.same(store.encodings(digest), ['zstd', 'xz', 'br']);
  for (const { proof, bytes } of bodies) {
    const form = await store.find(digest, proof.encoding);
    t.ok(form && (await readAll(form)).equals(bytes));
  }
  t.equal(await store.find(digest, 'gzip'), undefined);
  t.equal(await store.find({ ...digest, sizeBytes: 99 }, 'zstd'), undefined, 'the size is part of the digest');
  await store.drop(digest, 'xz');
  await store.drop(digest, 'xz');
  t.same(store.encodings(digest), ['zstd', 'br']);
});

for (const size of [5000, 2 * MIB])
  t.test(`kept again, ${size} bytes are held once, as they were first`, async (t) => {
    const { store, dir } = await openForms(t);
    const [first, other] = [encodedBody('same', 1, size), encodedBody('same', 2, size + 10)];
    // Whichever comes first: all get the same.
    const forms = await Promise.all([keep(store, first), keep(store, other), keep(store, first)]);
    const winner = [first, other].find(({ proof }) => proof.fileHash === forms[0]?.fileHash);
    for (const form of [...forms, await keep(store, other), await keep(store, first)])
      t.ok(winner && (await readAll(form)).equals(winner.bytes));
    t.equal(store.stats().objects, 1);
    t.equal(store.stats().spoolBytes, 0);
    await store.close();
    t.same([...(await filesBelow(dir)).values()], [store.stats().bytes]);
  });

t.test('a hundred small bodies, found at once and after they were written', async (t) => {
  const { store, dir } = await openForms(t, { memoryBytes: 20_000 });
  const bodies = Array.from({ length: 100 }, (_, index) => identityBody(index, 1000 + index));
  const check = async () => {
    for (const { proof, bytes } of bodies)
      if (!(await store.find(proof.digest, 'identity'))?.body?.equals(bytes)) t.fail(`${bytes.length} bytes`);
  };
  await Promise.all(bodies.map((body) => keep(store, body)));
  await check();
  await store.close();
  t.equal((await filesBelow(join(dir, 'forms'))).size, 100);
});

t.test('keep waits while too much is to be written', async (t) => {
  const { store, dir, files } = await openForms(t);
  const gate = Promise.withResolvers<void>();
  files.onWrite = () => gate.promise;
  let kept = 0;
  const keeping = Promise.all(
    Array.from({ length: 300 }, async (_, index) => {
      await keep(store, identityBody(index, 100));
      kept++;
    }),
  );
  await new Promise((resolve) => setImmediate(resolve));
  const further = keep(store, identityBody('further', 100)).then(() => kept++);
  for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve));
  t.ok(kept < 301);
  gate.resolve();
  await keeping;
  await further;
  t.equal(kept, 301);
  await store.close();
  t.equal((await filesBelow(dir)).size, 301);
});

t.test('bytes that are not those of the verdict do not become a form', async (t) => {
  const { store } = await openForms(t);
  const small = encodedBody('other', 1, 500);
  const spool = store.spool();
  await spool.append(Buffer.from('not these'));
  await t.rejects(store.keep(spool, small.proof), { code: 'ROT', blame: 'self' });
  t.equal(String(await spool.read(0, 3)), 'not', 'and the spool is as it was');
  await t.rejects(store.keep(spool, { ...identityBody('x', 9).proof, fileHash: small.proof.fileHash }), {
    code: 'ROT',
  });
  await spool.discard();
  await t.rejects(store.keep(spool, small.proof), { code: 'ROT' }, 'a discarded spool holds nothing');
  const other = await openForms(t, { dir: t.testdir({ other: {} }) });
  await t.rejects(other.store.keep({ ...spool } as typeof spool, small.proof), TypeError);
  t.equal(store.stats().objects, 0);
});

t.test('dropped while it is being looked for, it stays dropped', async (t) => {
  const first = await openForms(t);
  const body = identityBody('dropped', 5000);
  await keep(first.store, body);
  await first.store.close();
  const { store } = await openForms(t, { dir: first.dir });
  const finding = store.find(body.proof.digest, 'identity');
  await store.drop(body.proof.digest, 'identity');
  await finding;
  t.equal(await store.find(body.proof.digest, 'identity'), undefined);
});

t.test('whether another body stood under the name within the hour', async (t) => {
  const { store, clock } = await openForms(t);
  const hour = 3_600_000;
  const [first, second] = [encodedBody('replaced', 1, 2000), encodedBody('replaced', 2, 2000)];
  const { digest } = first.proof;
  const replaced = () => store.replacedWithin(digest, 'zstd', hour);
  await keep(store, first);
  await store.drop(digest, 'zstd');
  await keep(store, first);
  t.equal(replaced(), false, 'the same again');
  await clock.advance(5 * hour);
  await store.drop(digest, 'zstd');
  await clock.advance(hour - 1000);
  await keep(store, second);
  t.equal(replaced(), true, 'the first left less than an hour ago');
  t.equal(store.replacedWithin(digest, 'xz', hour), false);
  await clock.advance(2000);
  t.equal(replaced(), false);
});

t.test('a closed store finds and takes nothing', async (t) => {
  const { store } = await openForms(t);
  const body = identityBody('closed', 100);
  await keep(store, body);
  const spool = store.spool();
  await store.close();
  await store.close();
  t.equal(await store.find(body.proof.digest, 'identity'), undefined);
  await t.rejects(store.keep(spool, body.proof), { code: 'CLOSED' });
});
