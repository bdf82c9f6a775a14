// Rot on our own disk: found before a wrong byte leaves, and never served twice.

import { open, truncate, unlink } from 'node:fs/promises';
import t from 'tap';
import { type Form, MIB } from '../../../src/store/form.ts';
import {
  diskError,
  encodedBody,
  identityBody,
  isFile,
  keep,
  openForms,
  pathOf,
  readAll,
} from '../../support/store-rig.ts';

const flip = async (path: string, position: number): Promise<void> => {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  byte.writeUInt8(byte.readUInt8() ^ 0x40);
  await file.write(byte, 0, 1, position);
  await file.close();
};

/** What left before the error, and the error. */
const readToEnd = async (form: Form, start = 0, end = form.fileBytes): Promise<{ left: Buffer; error: unknown }> => {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of form.read(start, end)) pieces.push(piece);
    return { left: Buffer.concat(pieces), error: undefined };
  } catch (error) {
    return { left: Buffer.concat(pieces), error };
  }
};

const size = 4 * MIB + 100;
const body = identityBody('rots', size);
const rot = { code: 'ROT', blame: 'self' };

for (const position of [0, MIB - 1, 2 * MIB, 4 * MIB - 1, size - 1])
  t.test(`a bit that flips at ${position}`, async (t) => {
    const { store, dir } = await openForms(t);
    const form = await keep(store, body);
    const path = pathOf(dir, body.proof);
    await flip(path, position);
    const { left, error } = await readToEnd(form);
    t.match(error, rot);
    t.ok(left.equals(body.bytes.subarray(0, position - (position % MIB))), 'the MiBs before it left, no other byte');
    t.same(store.encodings(body.proof.digest), []);
    t.equal(await store.find(body.proof.digest, 'identity'), undefined);
    t.ok((await readAll(await keep(store, body))).equals(body.bytes), 'kept anew, it is right again');
    await store.close();
    t.equal(await isFile(path), true);
  });

t.test('a range is not held up by rot outside of its MiBs', async (t) => {
  const { store, dir } = await openForms(t);
  const form = await keep(store, body);
  await flip(pathOf(dir, body.proof), 2 * MIB);
  t.ok((await readAll(form, 5, 2 * MIB)).equals(body.bytes.subarray(5, 2 * MIB)));
  t.ok((await readAll(form, 3 * MIB, size)).equals(body.bytes.subarray(3 * MIB)));
  t.match((await readToEnd(form, 3 * MIB - 1, 3 * MIB)).error, rot);
  await store.close();
  t.equal(await isFile(pathOf(dir, body.proof)), false, 'and what rots is removed');
});

t.test('a file cut while it is read, and one that is gone', async (t) => {
  const { store, dir } = await openForms(t);
  const form = await keep(store, body);
  const path = pathOf(dir, body.proof);
  await truncate(path, 2 * MIB + 10);
  const cut = await readToEnd(form);
  t.match(cut.error, rot);
  t.ok(cut.left.equals(body.bytes.subarray(0, 2 * MIB)));
  const again = await keep(store, body);
  await unlink(path);
  const gone = await readToEnd(again);
  t.match(gone.error, rot);
  t.equal(gone.left.length, 0);
  t.equal(store.stats().objects, 0);
});

t.test('rot is forgotten at once, however much the disk has to do', async (t) => {
  const { store, dir, files } = await openForms(t);
  const form = await keep(store, body);
  const gate = Promise.withResolvers<void>();
  files.onWrite = () => gate.promise;
  for (const seed of [1, 2, 3]) await keep(store, identityBody(seed, 100));
  await truncate(pathOf(dir, body.proof), 10);
  t.match((await readToEnd(form)).error, rot);
  t.equal(await store.find(body.proof.digest, 'identity'), undefined);
  gate.resolve();
  t.ok((await readAll(await keep(store, body))).equals(body.bytes));
  await store.close();
  t.equal(await isFile(pathOf(dir, body.proof)), true);
});

t.test('too many open files say nothing about the bytes', async (t) => {
  const { store, files } = await openForms(t);
  const form = await keep(store, body);
  files.onOpen = () => {
    throw diskError('EMFILE');
  };
  t.match((await readToEnd(form)).error, { code: 'BUSY' });
  files.onOpen = () => {};
  t.same(store.encodings(body.proof.digest), ['identity']);
});

t.test('too many open files when a form is first looked at: a miss now, a hit later', async (t) => {
  const { store, dir } = await openForms(t);
  await keep(store, body);
  await store.close();
  const again = await openForms(t, { dir });
  again.files.onOpen = () => {
    throw diskError('EMFILE');
  };
  t.equal(await again.store.find(body.proof.digest, 'identity'), undefined);
  again.files.onOpen = () => {};
  t.ok(await again.store.find(body.proof.digest, 'identity'));
});

t.test('a reader of an older file that rots does not take the newer one along', async (t) => {
  const { store, dir } = await openForms(t);
  const [older, newer] = [encodedBody('same', 1, size), encodedBody('same', 2, size)];
  const form = await keep(store, older);
  const olderFile = await open(pathOf(dir, older.proof), 'r+');
  const reading = form.read(0, size);
  t.equal((await reading.next()).value?.length, MIB);
  await store.drop(older.proof.digest, 'zstd');
  await keep(store, newer);
  await olderFile.write(Buffer.from('rot'), 0, 3, 3 * MIB);
  await olderFile.close();
  await t.rejects(Array.fromAsync(reading), rot);
  const found = await store.find(newer.proof.digest, 'zstd');
  t.ok(found && (await readAll(found)).equals(newer.bytes));
});

for (const { reason, harm } of [
  { reason: 'body', harm: (path: string) => flip(path, 10) },
  { reason: 'footer', harm: (path: string) => flip(path, 5050) },
  { reason: 'footer', harm: (path: string) => truncate(path, 5100) },
])
  t.test(`a small form whose ${reason} is harmed is not held, whoever looks`, async (t) => {
    const { store, dir } = await openForms(t);
    const small = identityBody('small', 5000);
    await keep(store, small);
    await store.close();
    await harm(pathOf(dir, small.proof));
    const again = await openForms(t, { dir });
    const asked = await Promise.all([1, 2, 3].map(() => again.store.find(small.proof.digest, 'identity')));
    t.same(asked, [undefined, undefined, undefined]);
    t.match(again.log.lines, [{ fields: { reason } }], 'said once');
    t.equal(again.log.lines.length, 1);
    t.ok((await keep(again.store, small)).body?.equals(small.bytes));
    await again.store.close();
    const third = await openForms(t, { dir });
    t.ok((await third.store.find(small.proof.digest, 'identity'))?.body?.equals(small.bytes));
  });

for (const bodySize of [5000, 2 * MIB])
  t.test(`keep of ${bodySize} bytes does not trust a held file that is gone`, async (t) => {
    const { store, dir } = await openForms(t);
    const one = identityBody('gone', bodySize);
    await keep(store, one);
    await store.close();
    const again = await openForms(t, { dir });
    await again.store.find(one.proof.digest, 'identity');
    await unlink(pathOf(dir, one.proof));
    t.ok((await readAll(await keep(again.store, one))).equals(one.bytes));
    await again.store.close();
    t.equal(await isFile(pathOf(dir, one.proof)), true);
    t.equal(again.store.stats().objects, 1);
  });
