// Rot on our own disk: found before a wrong byte leaves, and never served twice.

import { open, truncate, unlink } from 'node:fs/promises';
import t from 'tap';
import { type Form, MIB } from '../../../src/store/form.ts';
import {
  diskError,
  encodedBody,
  type FakeFiles,
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

for (const code of ['EMFILE', 'EACCES', 'ESTALE', 'ENOMEM', 'EIO'])
  for (const bodySize of [5000, 2 * MIB])
    t.test(`kept again while the disk says ${code}: the only copy of ${bodySize} bytes stays`, async (t) => {
      const { store, dir, files } = await openForms(t, { durable: true });
      const one = identityBody('only copy', bodySize);
      await keep(store, one);
      const spool = store.spool();
      await spool.append(one.bytes);
      files.onOpen = () => {
        throw diskError(code);
      };
      await t.rejects(store.keep(spool, one.proof), { code: code === 'EMFILE' ? 'BUSY' : 'DISK' });
      files.onOpen = () => {};
      await store.close();
      t.equal(await isFile(pathOf(dir, one.proof)), true);
      const again = await openForms(t, { dir, durable: true });
      const form = await again.store.find(one.proof.digest, 'identity');
      t.ok(form && (await readAll(form)).equals(one.bytes));
    });

t.test('kept again, not durable, while nothing can be opened: memory has it, and the file stays', async (t) => {
  const { store, dir, files } = await openForms(t);
  const one = identityBody('acknowledged', 5000);
  await keep(store, one);
  await store.close();
  const again = await openForms(t, { dir });
  again.files.onOpen = () => {
    throw diskError('EMFILE');
  };
  t.ok((await keep(again.store, one)).body?.equals(one.bytes));
  await again.store.close();
  t.equal(await isFile(pathOf(dir, one.proof)), true);
  t.match(again.store.stats(), { objects: 1 }, 'and counts');
  files.onOpen = () => {};
  const third = await openForms(t, { dir });
  t.ok((await third.store.find(one.proof.digest, 'identity'))?.body?.equals(one.bytes));
});

t.test('what cannot be read is replaced by what is kept anew', async (t) => {
  const { store, dir } = await openForms(t);
  const one = encodedBody('same', 1, 5000);
  const two = encodedBody('same', 2, 5000);
  await keep(store, one);
  await store.close();
  const again = await openForms(t, { dir });
  again.files.onOpen = (path) => {
    if (path.includes('/forms/')) throw diskError('EIO');
  };
  t.ok((await keep(again.store, two)).body?.equals(two.bytes));
  await again.store.close();
  t.equal(again.store.stats().objects, 1);
  const third = await openForms(t, { dir });
  t.ok((await third.store.find(two.proof.digest, 'zstd'))?.body?.equals(two.bytes));
});

t.test('EIO when a form is first looked at: a miss now, a hit later', async (t) => {
  const { store, dir } = await openForms(t);
  const small = identityBody('small', 5000);
  for (const one of [small, body]) await keep(store, one);
  await store.close();
  const again = await openForms(t, { dir });
  again.files.onOpen = () => {
    throw diskError('EIO');
  };
  for (const { proof } of [small, body]) t.equal(await again.store.find(proof.digest, 'identity'), undefined);
  again.files.onOpen = () => {};
  for (const { proof, bytes } of [small, body]) {
    const form = await again.store.find(proof.digest, 'identity');
    t.ok(form && (await readAll(form)).equals(bytes));
  }
});

/** From the third MiB on the disk reads nothing. */
const breakReads = (files: FakeFiles): (() => void) => {
  const open = files.open.bind(files);
  files.open = async (path, flags) => {
    const file = await open(path, flags);
    // One of the overloads of `read`, which is the one that the store calls.
    const read = file.read.bind(file) as (b: Buffer, o: number, l: number, p: number) => Promise<unknown>;
    const broken = (buffer: Buffer, offset: number, length: number, position: number) =>
      path.includes('/forms/') && position >= 2 * MIB && position < 3 * MIB
        ? Promise.reject(diskError('EIO'))
        : read(buffer, offset, length, position);
    return Object.assign(file, { read: broken });
  };
  return () => {
    files.open = open;
  };
};

t.test('EIO in the middle of a body: its file stays, it is a miss for a minute, then found again', async (t) => {
  const { store, dir, clock, files } = await openForms(t, { durable: true });
  const form = await keep(store, body);
  const mend = breakReads(files);
  const { left, error } = await readToEnd(form);
  t.match(error, rot);
  t.ok(left.equals(body.bytes.subarray(0, 2 * MIB)));
  mend();
  t.equal(await store.find(body.proof.digest, 'identity'), undefined, 'else every answer would be cut there');
  t.equal(await isFile(pathOf(dir, body.proof)), true);
  await clock.advance(60_000);
  const found = await store.find(body.proof.digest, 'identity');
  t.ok(found && (await readAll(found)).equals(body.bytes));
});

t.test('EIO in the middle of a body that is kept anew: it is found at once', async (t) => {
  const { store, files } = await openForms(t);
  const form = await keep(store, body);
  const mend = breakReads(files);
  t.match((await readToEnd(form)).error, rot);
  mend();
  await keep(store, body);
  const found = await store.find(body.proof.digest, 'identity');
  t.ok(found && (await readAll(found)).equals(body.bytes));
  t.equal(store.stats().objects, 1);
});

t.test('forms that cannot be read are told of once a minute', async (t) => {
  const { store, dir } = await openForms(t);
  const bodies = [1, 2, 3, 4, 5].map((seed) => identityBody(seed, 2000));
  for (const one of bodies) await keep(store, one);
  await store.close();
  const again = await openForms(t, { dir });
  again.files.onOpen = () => {
    throw diskError('EMFILE');
  };
  for (const { proof } of bodies) await again.store.find(proof.digest, 'identity');
  t.equal(again.log.lines.length, 1);
  await again.clock.advance(60_000);
  for (const { proof } of bodies) await again.store.find(proof.digest, 'identity');
  t.equal(again.log.lines.length, 2);
});

t.test('a footer whose count of MiBs has rotted is damage, not something to read some day', async (t) => {
  const { store, dir } = await openForms(t, { maxBytes: 2 ** 40 });
  await keep(store, body);
  await store.close();
  const path = pathOf(dir, body.proof);
  const file = await open(path, 'r+');
  // As in a form of 3 GiB, of which most is a hole: its file could hold so long a footer.
  const trailer = Buffer.alloc(48);
  await file.read(trailer, 0, 48, (await file.stat()).size - 48);
  trailer.writeUInt32BE(90_000_000, 4);
  await file.truncate(3 * 2 ** 30 - 48);
  await file.write(trailer, 0, 48, 3 * 2 ** 30 - 48);
  await file.close();
  const again = await openForms(t, { dir, maxBytes: 2 ** 40 });
  t.equal(await again.store.find(body.proof.digest, 'identity'), undefined);
  t.match(again.log.lines, [{ fields: { reason: 'footer' } }]);
  await again.store.close();
  t.equal(await isFile(path), false);
});
