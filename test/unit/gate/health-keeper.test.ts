// Health as the gate sees it: worse at once, better only once that is on disk, and a latch that outlives every restart.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { HealthKeeper } from '../../../src/gate/health-keeper.ts';
import { initialState, restored } from '../../../src/health/machine.ts';
import { gateRig } from '../../support/gate-rig.ts';
import { HealthScript } from '../../support/health-script.ts';

const open = async (t: Test, earlier?: Awaited<ReturnType<typeof gateRig>>) => {
  const rig = earlier === undefined ? await gateRig(t) : await earlier.restarted();
  const keeper = await HealthKeeper.open({ ...rig.ports, incidents: rig.incidents });
  const now = rig.clock.now();
  const watch = new HealthScript(rig.clock, keeper.saved === null ? initialState(now) : restored(keeper.saved, now));
  keeper.follow(watch);
  t.teardown(() => keeper.close());
  const rounds = async (fault: 'OK' | 'INDEX_LOST' | 'BACKEND_5XX', count: number) => {
    for (let done = 0; done < count; done++) {
      await rig.clock.advance(5_000);
      await watch.round(fault);
    }
  };
  return { ...rig, rig, keeper, watch, rounds };
};

t.test('red, recovering, latched, acked', async (t) => {
  const { keeper, watch, rounds, incidents, rig, json } = await open(t);
  await rounds('OK', 1);
  t.match(keeper.current, { state: 'green', incident: null });
  await rounds('INDEX_LOST', 2);
  const id = keeper.current.incident?.id ?? '';
  t.match(keeper.current, { state: 'red', incident: { class: 'INDEX_LOST' } });
  t.match(await json('health.json'), { version: 1, isUncertain: false, machine: { state: 'red', incident: { id } } });
  t.match(await incidents.get(id), { incident: { id, evidence: [{}, {}, { class: 'INDEX_LOST' }] }, refused: [] });
  t.strictSame(await keeper.ack(id, 'too early', 'me'), { kind: 'not-latched' });
  await rounds('OK', 8);
  t.equal(keeper.current.state, 'latched');
  t.strictSame(await keeper.ack('other', 'wrong', 'me'), { kind: 'unknown-incident' });
  t.strictSame(await keeper.ack(id, 'I looked', 'me'), { kind: 'acked', isKept: true });
  t.match(keeper.current, { state: 'green', incident: null });
  t.match(await incidents.get(id), { incident: { ackedBy: 'me', ackNote: 'I looked' } });
  t.strictSame(await rig.actions(), [
    `incident.opened ${id}`,
    `incident.recovered ${id}`,
    `incident.acked ${id}`,
    `incident.closed ${id}`,
  ]);
  t.equal(watch.current, keeper.current);
});

t.test('a latch outlives a kill at every point', async (t) => {
  let house = await open(t);
  await house.rounds('OK', 1);
  await house.rounds('INDEX_LOST', 2);
  const id = house.keeper.current.incident?.id ?? '';
  for (const point of ['red', 'recovering', 'latched']) {
    if (point === 'recovering') await house.rounds('OK', 1);
    if (point === 'latched') await house.rounds('OK', 8);
    t.equal(house.keeper.current.state, point);
    house = await open(t, house.rig);
    t.match(house.keeper.current, { state: 'unknown', incident: { id } }, `killed while ${point}`);
    if (point === 'red') await house.rounds('INDEX_LOST', 1);
  }
  await house.rounds('OK', 8);
  t.strictSame(await house.keeper.ack(id, 'seen', 'me'), { kind: 'acked', isKept: true });
  const after = await open(t, house.rig);
  t.match(after.keeper.current, { state: 'unknown', incident: null }, 'and an ack does, too');
});

t.test('a disk that takes nothing', async (t) => {
  const { keeper, watch, rounds, disk, clock, rig } = await open(t);
  await rounds('OK', 1);
  disk.isBroken = true;
  await rounds('BACKEND_5XX', 3);
  t.match(keeper.current, { state: 'red' }, 'red is red at once');
  t.match(keeper.trouble, { kind: 'state-unwritable' });
  await rounds('OK', 8);
  t.match(watch.current, { state: 'green', incident: null });
  t.match(keeper.current, { incident: { class: 'BACKEND_5XX' } }, 'green is not, while it cannot be written down');
  disk.isBroken = false;
  await clock.advance(30_000);
  while (keeper.trouble !== null) await new Promise((resolve) => setImmediate(resolve));
  t.match(keeper.current, { state: 'green', incident: null });
  t.strictSame(
    (await rig.actions()).map((action) => action.split(' ')[0]),
    ['incident.opened', 'incident.recovered', 'incident.closed'],
    'and the log misses nothing',
  );
});

t.test('an ack that cannot be written down takes effect when it is', async (t) => {
  const { keeper, rounds, disk, clock } = await open(t);
  await rounds('OK', 1);
  await rounds('INDEX_LOST', 2);
  await rounds('OK', 8);
  const id = keeper.current.incident?.id ?? '';
  disk.isBroken = true;
  t.strictSame(await keeper.ack(id, 'seen', 'me'), { kind: 'acked', isKept: false });
  t.match(keeper.current, { state: 'latched', incident: { id } });
  disk.isBroken = false;
  await clock.advance(1_000);
  while (keeper.trouble !== null) await new Promise((resolve) => setImmediate(resolve));
  t.match(keeper.current, { state: 'green', incident: null });
});

t.test('no file is not green', async (t) => {
  const { keeper, watch, disk, clock, json } = await open(t);
  disk.isBroken = true;
  await watch.round();
  t.equal(watch.current.state, 'green');
  t.equal(keeper.current.state, 'unknown', 'not before there is a file');
  t.match(keeper.trouble, { kind: 'state-unwritable' });
  disk.isBroken = false;
  await clock.advance(1_000);
  while (keeper.trouble !== null) await new Promise((resolve) => setImmediate(resolve));
  t.equal(keeper.current.state, 'green');
  t.match(await json('health.json'), { machine: { state: 'green' } });
});

t.test('a corrupt file stops writes until an operator vouches for it', async (t) => {
  const first = await open(t);
  await first.rounds('OK', 1);
  const path = join(first.dir, 'health.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace('"green"', '"grean"'));
  const second = await open(t, first.rig);
  t.match(second.keeper.trouble, { kind: 'state-corrupt' });
  await second.rounds('OK', 1);
  const third = await open(t, second.rig);
  t.match(third.keeper.trouble, { kind: 'state-corrupt' }, 'over another restart, too');
  await third.keeper.assumeClear('looked', 'me');
  t.equal(third.keeper.trouble, null);
  t.equal((await open(t, third.rig)).keeper.trouble, null);
});
