// What the builds with a real bazel-remote brought to light, each without one.

import { status } from '@grpc/grpc-js';
import t from 'tap';
import { pause, systemClock } from '../../src/core/clock.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { fail, stall } from '../support/reapi/behaviours.ts';
import { digestOf } from '../support/reapi/cache.ts';
import { startRig } from '../support/reapi-rig.ts';
import { seededBytes } from '../support/seeded.ts';

refuseLeaks(t);

const { NOT_FOUND, UNKNOWN } = status;
const actions = Array.from({ length: 12 }, (_, n) => digestOf(Buffer.from(`action ${n}`)));

t.test('errors that take seconds open the breaker: each would cost a build as much', async (t) => {
  const { upstream, client, end } = await startRig(t, { 'records.freshActions': '0s' });
  // As bazel-remote, whose S3 refuses connections: 4 s each time.
  const late = pause(systemClock, 1_500);
  upstream.script('GetActionResult', stall('before', late), fail(UNKNOWN));
  const few = await Promise.all(actions.slice(0, 3).map((action) => client.getActionResult(action)));
  t.same(
    few.map(({ code }) => code),
    [NOT_FOUND, NOT_FOUND, NOT_FOUND],
  );
  for (const action of actions) t.equal((await client.getActionResult(action)).code, NOT_FOUND);
  t.ok(upstream.callsOf('GetActionResult').length <= 4, 'those asked once more are misses at once, but for a trial');
  await end();
});

t.test('errors that come at once do not', async (t) => {
  const { upstream, client, end } = await startRig(t);
  upstream.script('GetActionResult', fail(UNKNOWN));
  for (const action of actions) t.equal((await client.getActionResult(action)).code, NOT_FOUND);
  t.equal(upstream.callsOf('GetActionResult').length, actions.length);
  await end();
});

t.test('a large blob of another instance, of which our store has a frame of its own making', async (t) => {
  const { upstream, client, end } = await startRig(t);
  const bytes = seededBytes('of another instance', 5_000_000);
  const digest = upstream.cache.add(bytes);
  t.equal((await client.read(digest)).code, status.OK);
  t.equal((await client.read(digest, { encoding: 'zstd' })).code, status.OK, 'made here, of the identity form');
  const elsewhere = await client.read(digest, { encoding: 'zstd', instance: 'elsewhere' });
  t.equal(elsewhere.code, status.OK, elsewhere.details);
  await end();
});
