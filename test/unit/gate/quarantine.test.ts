// Quarantine: in force at once, lifted only by who saw it and only once that is on disk, over restarts and bad disks.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Write } from '../../../src/gate/gate.ts';
import { isLoosened, type Order, orderFor, parseScope, type Scope } from '../../../src/gate/orders.ts';
import { gateRig } from '../../support/gate-rig.ts';

const terms = { reason: 'drill', ticket: null, expires: null };
const by = (seen: number | null = null) => ({ by: 'me', seen });
const write = (front: Write['front'], tenant: string | null = ''): Write => ({ front, tenant, operation: 'PUT' });
const unwritable = { code: 'STATE_UNWRITABLE' };

t.test('scopes', (t) => {
  const names = [
    'global',
    'nix',
    'bazel',
    'cache:main',
    'cache:a.b-c_d',
    'cache:',
    'cache:a/b',
    'cache:a b',
    'all',
    '',
    'Nix',
    'cache:é',
  ];
  t.strictSame(
    names.filter((name) => parseScope(name) !== null),
    ['global', 'nix', 'bazel', 'cache:main', 'cache:a.b-c_d'],
  );
  const order = (scope: Scope): Order => ({ ...terms, scope, since: 0, by: 'me', generation: 1 });
  const rows: { reason: string; scopes: Scope[]; write: Write; meets: Scope | undefined }[] = [
    { reason: 'nothing', scopes: [], write: write('nix'), meets: undefined },
    { reason: 'everything', scopes: ['global'], write: write('bazel'), meets: 'global' },
    { reason: 'the front', scopes: ['nix'], write: write('nix', 'main'), meets: 'nix' },
    { reason: 'the other front', scopes: ['nix'], write: write('bazel', 'main'), meets: undefined },
    { reason: 'its cache', scopes: ['cache:main'], write: write('nix', 'main'), meets: 'cache:main' },
    { reason: 'another cache', scopes: ['cache:main'], write: write('nix', 'mainz'), meets: undefined },
    { reason: 'no cache', scopes: ['cache:main'], write: write('nix', ''), meets: undefined },
    { reason: 'an instance is no cache', scopes: ['cache:main'], write: write('bazel', 'main'), meets: undefined },
    {
      reason: 'a cache that only the body names',
      scopes: ['cache:main'],
      write: write('nix', null),
      meets: 'cache:main',
    },
    { reason: 'the widest is named', scopes: ['cache:a', 'nix', 'global'], write: write('nix', 'a'), meets: 'global' },
  ];
  for (const { reason, scopes, write, meets } of rows)
    t.equal(orderFor(scopes.map(order), write)?.scope, meets, reason);
  t.end();
});

t.test('what loosens', (t) => {
  const until = (expires: number | null) => ({ ...terms, expires });
  t.equal(isLoosened(until(null), until(5)), true);
  t.equal(isLoosened(until(9), until(5)), true);
  t.equal(isLoosened(until(5), until(9)), false);
  t.equal(isLoosened(until(5), until(null)), false);
  t.equal(isLoosened(until(5), { ...until(5), reason: 'another' }), false);
  t.end();
});

t.test('on and off', async (t) => {
  const rig = await gateRig(t);
  const { quarantine } = rig;
  let changes = 0;
  rig.changes.listen(() => changes++);
  const setting = quarantine.on('nix', terms, by());
  t.match(quarantine.find(write('nix')), { reason: 'drill', by: 'me' }, 'in force before anything was written');
  t.equal(changes, 1);
  const set = await setting;
  t.match(set, { kind: 'done', isNew: true, isKept: true });
  const generation = set.kind === 'done' ? set.order.generation : 0;

  t.match(await quarantine.off('nix', null, by()), { kind: 'unseen' });
  t.match(await quarantine.off('nix', null, by(generation - 1)), { kind: 'stale' });
  t.match(await quarantine.off('global', null, by(generation)), { kind: 'absent' });
  t.ok(quarantine.find(write('nix')));
  t.strictSame(await quarantine.off('nix', 'over', by(generation)), { kind: 'lifted' });
  t.notOk(quarantine.find(write('nix')));
  t.strictSame(await rig.actions(), ['quarantine.on nix', 'quarantine.off nix']);
  t.match(await rig.audit.rows(1, 1), [{ text: 'over', before: { reason: 'drill' }, after: null }]);
  t.match(await rig.json('quarantine.json'), { orders: [] });
});

t.test('an earlier end is a loosening, everything else is not', async (t) => {
  const { quarantine, clock } = await gateRig(t);
  const at = (hours: number) => ({ ...terms, expires: clock.now() + hours * 3_600_000 });
  const first = await quarantine.on('global', at(2), by());
  const generation = first.kind === 'done' ? first.order.generation : 0;
  t.match(
    await quarantine.on('global', at(2), by()),
    { kind: 'done', isNew: false, order: { generation } },
    'the same again is nothing',
  );
  t.match(await quarantine.on('global', at(1), by()), { kind: 'unseen' });
  t.match(await quarantine.on('global', at(1), by(generation + 5)), { kind: 'stale' });
  const later = await quarantine.on('global', at(3), by());
  t.match(later, { kind: 'done', isNew: false, order: { since: clock.now(), generation: generation + 1 } });
  t.match(await quarantine.on('global', at(1), by(generation)), { kind: 'stale' }, 'of what they saw, nothing is left');
  t.match(await quarantine.on('global', at(1), by(generation + 1)), {
    kind: 'done',
    order: { expires: at(1).expires },
  });
});

t.test('over a restart', async (t) => {
  const rig = await gateRig(t);
  await rig.quarantine.on('cache:main', { reason: 'why', ticket: 'T-1', expires: null }, by());
  const { quarantine } = await rig.restarted();
  t.match(quarantine.orders, [{ scope: 'cache:main', reason: 'why', ticket: 'T-1', by: 'me', since: rig.clock.now() }]);
  t.equal(quarantine.trouble, null);
  t.match(await quarantine.off('cache:main', null, by(quarantine.get('cache:main')?.generation)), { kind: 'lifted' });
  t.strictSame((await rig.restarted()).quarantine.orders, []);
});

t.test('it ends by the wall clock, and warns an hour before', async (t) => {
  const rig = await gateRig(t);
  const { quarantine, clock, logged } = rig;
  await quarantine.on('global', { ...terms, expires: clock.now() + 2 * 3_600_000 }, by());
  await clock.advance(3_599_000);
  t.strictSame(logged, []);
  await clock.advance(60_000);
  t.match(logged, [{ level: 'warn', message: /ends soon/ }]);
  await clock.advance(1_800_000);
  t.equal(logged.length, 1, 'once');
  t.ok(quarantine.find(write('nix')));
  clock.jumpWall(3_600_000);
  await clock.advance(60_000);
  await untilSettled(() => quarantine.orders.length === 0);
  t.notOk(quarantine.find(write('nix')), 'the wall was put forward');
  t.strictSame(await rig.actions(), ['quarantine.on global', 'quarantine.expired global']);
});

t.test('it ended while nobody ran', async (t) => {
  const rig = await gateRig(t);
  await rig.quarantine.on('global', { ...terms, expires: rig.clock.now() + 1_000 }, by());
  rig.quarantine.close();
  rig.clock.jumpWall(5_000);
  const { quarantine } = await rig.restarted();
  await untilSettled(() => quarantine.orders.length === 0);
  t.match(await rig.json('quarantine.json'), { orders: [] });
});

t.test('a disk that takes nothing', async (t) => {
  const rig = await gateRig(t);
  const { quarantine, disk, clock } = rig;
  const first = await quarantine.on('nix', terms, by());
  const generation = first.kind === 'done' ? first.order.generation : 0;
  disk.isBroken = true;

  t.test('what loosens is refused, and stays in force', async (t) => {
    await t.rejects(quarantine.off('nix', null, by(generation)), unwritable);
    await t.rejects(quarantine.on('nix', { ...terms, expires: clock.now() + 1 }, by(generation)), unwritable);
    t.match(quarantine.get('nix'), { generation });
  });

  t.test('what tightens is in force, though nobody would know it after a restart', async (t) => {
    t.match(await quarantine.on('bazel', terms, by()), { kind: 'done', isNew: true, isKept: false });
    t.ok(quarantine.find(write('bazel')));
    t.match(quarantine.trouble, { kind: 'state-unwritable' });
  });

  t.test('it is written as soon as that can be done', async (t) => {
    disk.isBroken = false;
    await clock.advance(30_000);
    await untilSettled(() => quarantine.trouble === null);
    t.match(await rig.json('quarantine.json'), { orders: [{ scope: 'nix' }, { scope: 'bazel' }] });
    t.ok((await rig.actions()).includes('quarantine.on bazel'));
  });
});

t.test('what ends while the disk takes nothing stays in force', async (t) => {
  const { quarantine, disk, clock } = await gateRig(t);
  await quarantine.on('nix', { ...terms, expires: clock.now() + 1_000 }, by());
  disk.isBroken = true;
  await clock.advance(5_000);
  t.ok(quarantine.find(write('nix')));
  disk.isBroken = false;
  await clock.advance(120_000);
  await untilSettled(() => quarantine.orders.length === 0);
});

t.test('a corrupt file', async (t) => {
  const rig = await gateRig(t);
  await rig.quarantine.on('nix', terms, by());
  const path = join(rig.dir, 'quarantine.json');
  writeFileSync(path, readFileSync(path, 'utf8').slice(0, 40));
  const after = await rig.restarted();
  t.match(after.quarantine.trouble, { kind: 'state-corrupt' });
  t.match(readFileSync(`${path}.corrupt`, 'utf8'), /^\{"version":1/, 'it is kept for people to look at');
  await after.quarantine.on('bazel', terms, by());

  const again = await after.restarted();
  t.match(again.quarantine.trouble, { kind: 'state-corrupt' }, 'over another restart, too');
  t.match(again.quarantine.orders, [{ scope: 'bazel' }]);
  again.disk.isBroken = true;
  await t.rejects(again.quarantine.assumeClear('I looked', 'me'), unwritable);
  t.match(again.quarantine.trouble, { kind: 'state-corrupt' });
  again.disk.isBroken = false;
  await again.quarantine.assumeClear('I looked', 'me');
  t.equal(again.quarantine.trouble, null);
  t.match(again.quarantine.orders, [{ scope: 'bazel' }], 'what was ordered since stays');
  t.equal((await again.restarted()).quarantine.trouble, null);
});

t.test('a tightening meets a lifting that is under way', async (t) => {
  const rig = await gateRig(t);
  const { quarantine } = rig;
  const first = await quarantine.on('nix', terms, by());
  const lifting = quarantine.off('nix', null, by(first.kind === 'done' ? first.order.generation : 0));
  const again = quarantine.on('nix', { ...terms, reason: 'no, wait' }, by());
  t.match(await again, { kind: 'done', isKept: true });
  await lifting;
  t.match(quarantine.find(write('nix')), { reason: 'no, wait' });
  t.match((await rig.restarted()).quarantine.orders, [{ scope: 'nix', reason: 'no, wait' }]);
});

/** What was set off writes to a real disk: no turn of the loop is certain to be enough. */
const untilSettled = async (isTrue: () => boolean): Promise<void> => {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve));
};
