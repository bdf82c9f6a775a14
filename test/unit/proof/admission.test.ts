// Places for fills: so many in all, so many a client, a bounded queue in order, and none is ever lost or given twice.

import fc from 'fast-check';
import t from 'tap';
import { Admission } from '../../../src/proof/admission.ts';
import { turns } from '../../support/proof-rig.ts';

const { signal } = new AbortController();
const busy = { code: 'BUSY', blame: 'self' };

t.test('all places taken', async (t) => {
  const admission = new Admission({ max: 3, perClient: 2 });
  const leaves = await Promise.all(['a', 'b', 'c'].map((client) => admission.enter(client, signal)));
  t.equal(admission.active, 3);
  await t.rejects(admission.enter('d', signal), busy, 'at once');
  leaves[0]?.();
  t.equal(admission.active, 2);
  const leave = await admission.enter('d', signal);
  t.equal(admission.active, 3);
  for (const each of [leave, ...leaves.slice(1)]) each();
  t.equal(admission.active, 0);
});

t.test('one client waits in order, others pass', async (t) => {
  const admission = new Admission({ max: 10, perClient: 2 });
  const leaves = [await admission.enter('a', signal), await admission.enter('a', signal)];
  const order: number[] = [];
  const waiting = [1, 2, 3].map(async (number) => {
    const leave = await admission.enter('a', signal);
    order.push(number);
    return leave;
  });
  const other = await admission.enter('b', signal);
  await turns(1);
  t.same(order, []);
  leaves[0]?.();
  await turns(1);
  t.same(order, [1]);
  leaves[1]?.();
  await turns(1);
  t.same(order, [1, 2]);
  (await waiting[0])?.();
  await turns(1);
  t.same(order, [1, 2, 3]);
  other();
  (await waiting[1])?.();
  (await waiting[2])?.();
  t.equal(admission.active, 0);
});

t.test('a place that was waited for is not taken on the way', async (t) => {
  const admission = new Admission({ max: 10, perClient: 1 });
  const leave = await admission.enter('a', signal);
  const waited = admission.enter('a', signal);
  leave();
  // Before the waiting one's turn of the loop.
  let hasEntered = false;
  const third = admission.enter('a', signal).then((place) => {
    hasEntered = true;
    return place;
  });
  const second = await waited;
  await turns(1);
  t.equal(admission.active, 1, 'one, and never two, for this client');
  t.equal(hasEntered, false);
  second();
  (await third)();
  t.equal(admission.active, 0);
});

t.test('nor by another client, when all others are taken', async (t) => {
  const admission = new Admission({ max: 2, perClient: 1 });
  const leaveA = await admission.enter('a', signal);
  const leaveB = await admission.enter('b', signal);
  const waited = admission.enter('a', signal);
  leaveA();
  await t.rejects(admission.enter('c', signal), busy);
  (await waited)();
  leaveB();
  t.equal(admission.active, 0);
});

t.test('aborted in the queue', async (t) => {
  const admission = new Admission({ max: 10, perClient: 1 });
  const leave = await admission.enter('a', signal);
  const abort = new AbortController();
  const gone = admission.enter('a', abort.signal);
  const next = admission.enter('a', signal);
  const reason = new Error('gone');
  abort.abort(reason);
  t.equal(await gone.catch((error: unknown) => error), reason);
  leave();
  (await next)();
  t.equal(admission.active, 0);
});

t.test('aborted before it would wait', async (t) => {
  const admission = new Admission({ max: 10, perClient: 1 });
  const leave = await admission.enter('a', signal);
  await t.rejects(admission.enter('a', AbortSignal.abort()));
  leave();
  t.equal(admission.active, 0);
});

t.test('aborted just as the turn came: the place is given, and can be given back', async (t) => {
  const admission = new Admission({ max: 10, perClient: 1 });
  const leave = await admission.enter('a', signal);
  const abort = new AbortController();
  const waited = admission.enter('a', abort.signal);
  leave();
  abort.abort();
  (await waited)();
  t.equal(admission.active, 0);
  (await admission.enter('a', signal))();
});

t.test('the queue has an end', async (t) => {
  const admission = new Admission({ max: 10, perClient: 1 });
  const leave = await admission.enter('a', signal);
  const abort = new AbortController();
  const waiting = Array.from({ length: 4096 }, () => admission.enter('a', abort.signal).catch(() => {}));
  await t.rejects(admission.enter('a', signal), busy);
  abort.abort();
  await Promise.all(waiting);
  leave();
  t.equal(admission.active, 0);
});

t.test('a client that was turned away leaves no trace', async (t) => {
  const admission = new Admission({ max: 1, perClient: 16 });
  const leave = await admission.enter('a', signal);
  for (let index = 0; index < 50; index += 1) await t.rejects(admission.enter(`client ${index}`, signal), busy);
  t.equal(admission.clients, 1, 'whoever may choose names must not fill our memory');
  leave();
  t.equal(admission.clients, 0);
});

t.test('a place is given back once, however often it is said', async (t) => {
  const admission = new Admission({ max: 2, perClient: 2 });
  const leave = await admission.enter('a', signal);
  const other = await admission.enter('a', signal);
  leave();
  leave();
  t.equal(admission.active, 1);
  other();
});

t.test('whatever the order of coming, going and giving up', async () => {
  const step = fc.record({ client: fc.nat(3), does: fc.constantFrom('enter', 'leave', 'abort') });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 6 }), async (steps, max) => {
      const perClient = 2;
      const admission = new Admission({ max, perClient });
      const inside: { client: number; leave: () => void }[] = [];
      const aborts: AbortController[] = [];
      let pending = 0;
      const check = (): void => {
        const counts = Map.groupBy(inside, ({ client }) => client);
        if (inside.length > max || [...counts.values()].some((of) => of.length > perClient))
          throw new Error('too many');
      };
      for (const { client, does } of steps) {
        if (does === 'leave') inside.shift()?.leave();
        else if (does === 'abort') aborts.shift()?.abort();
        else {
          const abort = new AbortController();
          aborts.push(abort);
          pending += 1;
          admission
            .enter(String(client), abort.signal)
            .then((leave) => {
              inside.push({ client, leave });
              check();
            })
            .catch(() => {})
            .finally(() => {
              pending -= 1;
            });
        }
        if (client % 2 === 0) await turns(1);
      }
      await turns(1);
      while (inside.length > 0) {
        inside.shift()?.leave();
        await turns(1);
      }
      return pending === 0 && admission.active === 0 && admission.clients === 0;
    }),
    { numRuns: 150 },
  );
});
