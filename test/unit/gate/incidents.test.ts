// Incidents on disk: bounded, with what was refused meanwhile, over restarts.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Incident } from '../../../src/health/state.ts';
import { gateRig } from '../../support/gate-rig.ts';

const incident = (id: string, openedAt = 0): Incident => ({
  id,
  class: 'INDEX_LOST',
  openedAt,
  recoveredAt: null,
  ackedAt: null,
  ackNote: null,
  ackedBy: null,
  isLatching: true,
  evidence: [],
});

const write = (subject?: string) => ({
  front: 'nix' as const,
  tenant: 'main',
  operation: 'PUT nar',
  ...(subject !== undefined && { subject }),
});

t.test('refused writes are listed, once each', async (t) => {
  const rig = await gateRig(t);
  const { incidents, clock } = rig;
  await incidents.refused('none', write('x'));
  await incidents.record(incident('a'));
  await incidents.refused('a', write('one'));
  await incidents.refused('a', write('one'));
  await incidents.refused('a', write());
  t.match(await incidents.get('a'), { refusedTotal: 3, refused: [{ subject: 'one', front: 'nix', at: clock.now() }] });
  t.equal(await incidents.get('none'), undefined);

  const early = await rig.restarted();
  t.match(await early.incidents.get('a'), { refusedTotal: 0 }, 'not on disk yet');
  await incidents.flush();
  const { incidents: later } = await rig.restarted();
  t.match(await later.get('a'), { refusedTotal: 3, refused: [{ subject: 'one' }] });
  await later.refused('a', write('two'));
  t.match(await later.get('a'), { refusedTotal: 4, refused: [{ subject: 'one' }, { subject: 'two' }] }, 'it goes on');
  await later.record({ ...incident('a'), ackedAt: 5 });
  t.match(await later.get('a'), { incident: { ackedAt: 5 }, refusedTotal: 4 });
});

t.test('written down within seconds', async (t) => {
  const { incidents, clock, json, disk, logged } = await gateRig(t);
  await incidents.record(incident('a'));
  await incidents.refused('a', write('one'));
  disk.isBroken = true;
  await clock.advance(5_000);
  while (logged.length === 0) await new Promise((resolve) => setImmediate(resolve));
  t.match(logged, [{ message: /what was refused cannot be written/ }]);
  disk.isBroken = false;
  await incidents.refused('a', write('two'));
  await clock.advance(5_000);
  await incidents.flush();
  t.match(await json('incidents/a.json'), { refused: [{ subject: 'one' }, { subject: 'two' }] });
});

t.test('bounded', async (t) => {
  const rig = await gateRig(t);
  const { incidents } = rig;
  for (let at = 0; at < 105; at++) await incidents.record(incident(`i${at}`, at));
  t.equal(incidents.list().length, 100);
  t.match(incidents.list()[0], { id: 'i104' }, 'newest first');
  t.notOk(incidents.has('i4'));
  t.equal((await rig.restarted()).incidents.list().length, 100, 'on disk, too');
  for (let at = 0; at < 5_010; at++) await incidents.refused('i104', write(`s${at}`));
  const record = await incidents.get('i104');
  t.equal(record?.refused.length, 5_000);
  t.equal(record?.refusedTotal, 5_010);
});

t.test('one that cannot be read is no reason not to start', async (t) => {
  const rig = await gateRig(t);
  await rig.incidents.record(incident('a'));
  writeFileSync(join(rig.dir, 'incidents/b.json'), '{"incident":{}}');
  const { incidents, logged } = await rig.restarted();
  t.strictSame(
    incidents.list().map(({ id }) => id),
    ['a'],
  );
  t.match(logged, [{ fields: { name: 'b.json' } }]);
});
