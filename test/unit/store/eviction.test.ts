// The store stays within its bytes: what is used least goes first, pinned last, and readers are not disturbed.

import { utimes } from 'node:fs/promises';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { Backlog } from '../../../src/store/backlog.ts';
import { MIB, type ProvenForm } from '../../../src/store/form.ts';
import type { FormStore } from '../../../src/store/forms.ts';
import { asProven, HeldForms } from '../../../src/store/held-forms.ts';
import { MemoryForm } from '../../../src/store/memory-form.ts';
import { Turns } from '../../../src/store/turns.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import {
  type Body,
  CollectedLog,
  encodedBody,
  FakeFiles,
  filesBelow,
  identityBody,
  isFile,
  keep,
  openForms,
  pathOf,
  refuseOpenFiles,
} from '../../support/store-rig.ts';

/** Body and footer of what `identityBody` makes with this many bytes. */
const diskBytes = (size: number): number =>
  size +
  32 * Math.ceil(size / MIB) +
  JSON.stringify({
    sha256: 'x'.repeat(64),
    sizeBytes: size,
    encoding: 'identity',
    fileBytes: size,
    fileHash: 'x'.repeat(64),
  }).length +
  48;

const size = 10_000;
const bodies = ['a', 'b', 'c', 'd'].map((seed) => identityBody(seed, size));
const [a, b, c, d] = bodies as [Body, Body, Body, Body];

/** By letter. Looking is use: the order becomes that of the letters. */
const heldOf = async (store: FormStore): Promise<string> => {
  const found = await Promise.all(bodies.map((body) => store.find(body.proof.digest, 'identity')));
  return [...'abcd'].filter((_, index) => found[index] !== undefined).join('');
};

t.test('the least recently used goes, from memory and disk alike', async (t) => {
  const { store, dir } = await openForms(t, { maxBytes: 3 * diskBytes(size), spoolShare: 1 });
  for (const body of [a, b, c]) await keep(store, body);
  t.equal(store.stats().bytes, 3 * diskBytes(size));
  await store.find(a.proof.digest, 'identity');
  await keep(store, d);
  t.equal(await store.find(b.proof.digest, 'identity'), undefined);
  t.equal(await heldOf(store), 'acd');
  t.match(store.stats(), { objects: 3, bytes: 3 * diskBytes(size) });
  await store.close();
  t.equal(await isFile(pathOf(dir, b.proof)), false);
  t.equal((await filesBelow(dir)).size, 3);
});

t.test('a form that two keep counts once, and both uses count', async (t) => {
  const { store } = await openForms(t, { maxBytes: 3 * diskBytes(size), spoolShare: 1 });
  for (const body of [a, b, c, a]) await keep(store, body);
  t.equal(store.stats().objects, 3);
  await keep(store, d);
  t.equal(await heldOf(store), 'acd');
});

const openHeld = (t: Test, maxBytes: number) => {
  const behind = new Backlog({ maxJobs: 256, maxBytes: MIB }, t.error);
  const turns = new Turns();
  const parts = { formsDir: t.testdir(), maxBytes, memoryBytes: 0, clock: new FakeClock(), files: new FakeFiles() };
  return { held: new HeldForms({ ...parts, log: new CollectedLog(), turns, behind }), behind, turns };
};

const formOf = ({ proof, bytes }: Body): ProvenForm =>
  asProven(new MemoryForm({ ...proof, fileBytes: bytes.length }, bytes));

const entryOf = (name: string, sizeBytes: number, fileHash: string) => ({
  name,
  diskBytes: sizeBytes,
  stampedAtMs: 0,
  pending: undefined,
  fileHash,
});

t.test('a body that evicts thousands holds up nobody: they go as one job', async (t) => {
  const { held, behind, turns } = openHeld(t, 1_000_000);
  for (let n = 0; n < 1000; n++) await held.found(`${n}.zstd`, 1000, 0);
  // The disk is busy with the first of them.
  const gate = Promise.withResolvers<void>();
  void turns.run('0.zstd', () => gate.promise);
  held.admit(entryOf('evicts.zstd', 1_000_000, 'x'), formOf(encodedBody('evicts', 1, 10)));
  t.equal(held.index.objects, 1);
  t.equal(behind.jobs, 1);
  await behind.room();
  gate.resolve();
  await behind.idle();
});

t.test('identity forms that go push out no trace of what was replaced', async (t) => {
  const { held, behind } = openHeld(t, MIB);
  for (const seed of [1, 2]) {
    const form = formOf(encodedBody('replaced', seed, 100));
    held.admit(entryOf('replaced.zstd', 1000, form.fileHash), form);
  }
  const hour = 3_600_000;
  t.equal(held.replacedWithin('replaced.zstd', hour), true);
  const form = formOf(identityBody('goes', 100));
  // More than there is room for traces.
  for (let n = 0; n < 20_000; n++) {
    const entry = entryOf(`${n}.identity`, 1000, form.fileHash);
    held.admit(entry, form);
    void held.remove(entry);
  }
  t.equal(held.replacedWithin('replaced.zstd', hour), true, 'no other bytes can ever stand under their names');
  await behind.idle();
});

t.test('pinned forms go last, but they go', async (t) => {
  const { store } = await openForms(t, { maxBytes: 2 * diskBytes(size), spoolShare: 1 });
  store.pin(a.proof.digest, 'identity');
  await keep(store, a);
  await keep(store, b);
  await keep(store, c);
  t.equal(await heldOf(store), 'ac');
  store.pin(c.proof.digest, 'identity');
  await keep(store, d);
  t.equal(await heldOf(store), 'cd', 'all others pinned: the least recently used of those');
  store.unpin(c.proof.digest, 'identity');
  await keep(store, a);
  t.equal(await heldOf(store), 'ac', 'no longer pinned, it counts as used now');
});

t.test('uses are written to the files, once an hour', async (t) => {
  const first = await openForms(t);
  for (const body of [a, b, c]) await keep(first.store, body);
  await first.store.close();
  const { dir } = first;
  await utimes(pathOf(dir, a.proof), 1000, 1000);
  const second = await openForms(t, { dir });
  // Two hours after the files' own times.
  second.clock.jumpWall(Date.now() + 7_200_000 - second.clock.now());
  await second.store.find(a.proof.digest, 'identity');
  await second.clock.advance(60_000);
  await second.store.find(a.proof.digest, 'identity');
  await second.store.close();
  const third = await openForms(t, { dir, maxBytes: 2 * diskBytes(size), spoolShare: 1 });
  t.ok(await third.store.find(a.proof.digest, 'identity'), 'used last, though written first');
  t.equal(third.store.stats().objects, 2, 'a smaller bound takes effect at once');
  await third.store.close();
  t.equal((await filesBelow(dir)).size, 2);
});

t.test('a body larger than the whole store is refused', async (t) => {
  const { store } = await openForms(t, { maxBytes: 2 * MIB, spoolShare: 2 });
  await keep(store, a);
  await t.rejects(keep(store, identityBody('huge', 2 * MIB)), { code: 'DISK' });
  t.equal(await heldOf(store), 'a', 'and costs no other its place');
  await t.rejects(keep((await openForms(t, { maxBytes: 100, spoolShare: 200, dir: t.testdir() })).store, a), {
    code: 'DISK',
  });
  t.equal(store.stats().spoolBytes, 0);
});

t.test('whoever reads goes on reading while his form is evicted', async (t) => {
  const { store, dir } = await openForms(t, { maxBytes: 8 * MIB, spoolShare: 1 });
  const large = identityBody('read', 5 * MIB);
  const reading = (await keep(store, large)).read(0, 5 * MIB);
  const pieces = [(await reading.next()).value ?? Buffer.alloc(0)];
  await keep(store, identityBody('evicts', 6 * MIB));
  while (await isFile(pathOf(dir, large.proof))) await turn();
  t.equal(await store.find(large.proof.digest, 'identity'), undefined);
  for await (const piece of reading) pieces.push(piece);
  t.ok(Buffer.concat(pieces).equals(large.bytes));
});

t.test('whatever is kept, found, pinned and dropped: bytes are those on disk, within the bound', async (t) => {
  const sizes = [0, 100, 5_000, 20_000, MIB + 50, MIB + 60];
  const all = sizes.map((bytes, index) => identityBody(`property ${index}`, bytes));
  const kinds = ['keep', 'keep', 'keep', 'find', 'drop', 'pin', 'unpin'] as const;
  const step = fc.record({ kind: fc.constantFrom(...kinds), index: fc.nat(all.length - 1) });
  const maxBytes = diskBytes(MIB + 60) + 10_000;
  let run = 0;
  const base = t.testdir();
  const property = fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.boolean(), async (steps, atOnce) => {
    const dir = `${base}/${run++}`;
    const { store } = await openForms({ testdir: () => dir, teardown: () => {} }, { maxBytes, spoolShare: 20 });
    const actions = steps.map(({ kind, index }) => async () => {
      const { proof, bytes } = all[index] ?? a;
      if (kind === 'keep') await keep(store, { proof, bytes });
      else if (kind === 'drop') await store.drop(proof.digest, 'identity');
      else if (kind !== 'find') store[kind](proof.digest, 'identity');
      const form = kind === 'find' ? await store.find(proof.digest, 'identity') : undefined;
      if (form?.body && !form.body.equals(bytes)) throw new Error('other bytes');
      if (store.stats().bytes > maxBytes) throw new Error('too many bytes');
    });
    if (atOnce) await Promise.all(actions.map((action) => action()));
    else for (const action of actions) await action();
    await store.close();
    const onDisk = [...(await filesBelow(dir)).values()];
    const { bytes, objects, spoolBytes } = store.stats();
    if (onDisk.length !== objects || onDisk.reduce((sum, one) => sum + one, 0) !== bytes || spoolBytes !== 0)
      throw new Error(`${onDisk} on disk, ${bytes} bytes in ${objects} objects counted`);
  });
  await fc.assert(property, { numRuns: 25 });
  refuseOpenFiles(base);
});
