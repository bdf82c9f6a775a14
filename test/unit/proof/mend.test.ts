// Where our disk has rotted under an answer, a refill goes on at the same byte, or nothing goes on at all.

import { open as openFile, unlink } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { type Failure, unavailable } from '../../../src/core/verdict.ts';
import { mended } from '../../../src/proof/mend.ts';
import type { Obtained } from '../../../src/proof/obtain.ts';
import { MIB, type ProvenForm } from '../../../src/store/form.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { encodedBody, identityBody, keep, openForms, pathOf, type Rig } from '../../support/store-rig.ts';

refuseLeaks(t);

const size = 4 * MIB + 100;
const body = identityBody('mended', size);

const flip = async (path: string, position: number): Promise<void> => {
  const file = await openFile(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  byte.writeUInt8(byte.readUInt8() ^ 1);
  await file.write(byte, 0, 1, position);
  await file.close();
};

const proven = (form: ProvenForm): Obtained => ({ kind: 'proven', form, source: 'fill' });

const read = async (
  form: ProvenForm,
  refill: () => Promise<Obtained>,
  start = 0,
  end = form.fileBytes,
): Promise<{ bytes: Buffer; error: unknown }> => {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of mended(form, start, end, refill)) pieces.push(Buffer.from(piece));
    return { bytes: Buffer.concat(pieces), error: undefined };
  } catch (error) {
    return { bytes: Buffer.concat(pieces), error };
  }
};

const rotten = async (t: Test, at: number): Promise<Rig & { form: ProvenForm }> => {
  const rig = await openForms(t);
  const form = await keep(rig.store, body);
  await flip(pathOf(rig.dir, body.proof), at);
  return { ...rig, form };
};

for (const at of [0, 2 * MIB, 2 * MIB + 7, size - 1])
  t.test(`rot at byte ${at}`, async (t) => {
    const { store, form } = await rotten(t, at);
    let refills = 0;
    const { bytes, error } = await read(form, async () => {
      refills += 1;
      return proven(await keep(store, body));
    });
    t.equal(error, undefined);
    t.ok(bytes.equals(body.bytes), 'every byte once, and right');
    t.equal(refills, 1);
  });

t.test('a range goes on within itself', async (t) => {
  const { store, form } = await rotten(t, 2 * MIB + 7);
  const [start, end] = [MIB + 5, 3 * MIB + 5];
  const { bytes } = await read(form, async () => proven(await keep(store, body)), start, end);
  t.ok(bytes.equals(body.bytes.subarray(start, end)));
});

t.test('the whole file gone, before or while it is read', async (t) => {
  const { store, dir } = await openForms(t);
  const form = await keep(store, body);
  await unlink(pathOf(dir, body.proof));
  const { bytes, error } = await read(form, async () => proven(await keep(store, body)));
  t.equal(error, undefined);
  t.ok(bytes.equals(body.bytes));
});

t.test('no refill is asked for where nothing rotted', async (t) => {
  const { store } = await openForms(t);
  const form = await keep(store, body);
  const { bytes } = await read(form, () => Promise.reject(new Error('never')));
  t.ok(bytes.equals(body.bytes));
});

const failures: { reason: string; failure: Failure }[] = [
  { reason: 'absent', failure: { kind: 'absent' } },
  { reason: 'unavailable', failure: unavailable('refused') },
];
for (const { reason, failure } of failures)
  t.test(`a refill that is ${reason}`, async (t) => {
    const { form } = await rotten(t, 2 * MIB);
    const { bytes, error } = await read(form, async () => failure);
    t.match(error, { code: 'ROT' });
    t.ok(bytes.equals(body.bytes.subarray(0, 2 * MIB)), 'what left was right');
  });

t.test('a refill in other bytes is no continuation', async (t) => {
  const { store, dir } = await openForms(t);
  const first = encodedBody('same', 1, size);
  const form = await keep(store, first);
  await flip(pathOf(dir, first.proof), 2 * MIB);
  const { bytes, error } = await read(form, async () => proven(await keep(store, encodedBody('same', 2, size))));
  t.match(error, { code: 'ROT' });
  t.ok(bytes.equals(first.bytes.subarray(0, 2 * MIB)));
});

t.test('a refill that rots as well', async (t) => {
  const { store, dir, form } = await rotten(t, MIB);
  const { bytes, error } = await read(form, async () => {
    const again = await keep(store, body);
    await flip(pathOf(dir, body.proof), 3 * MIB);
    return proven(again);
  });
  t.match(error, { code: 'ROT' });
  t.ok(bytes.equals(body.bytes.subarray(0, 3 * MIB)), 'never a wrong byte');
});

t.test('another fault is no rot', async (t) => {
  const { store, files } = await openForms(t);
  const form = await keep(store, body);
  files.onOpen = () => {
    throw Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
  };
  const { error } = await read(form, () => Promise.reject(new Error('never asked')));
  t.match(error, { code: 'BUSY' });
});

t.test('a reader that leaves closes the file', async (t) => {
  const { store } = await openForms(t);
  const form = await keep(store, body);
  for await (const piece of mended(form, 0, size, () => Promise.reject(new Error('never'))))
    if (piece.length > 0) break;
});
