// A real S3 server loses its bucket index, and everything else that may happen to one: each is seen for what it is.

import { randomUUID } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { type CanaryReport, initCanaries, rememberedBy } from '../../src/health/canary.ts';
import { canaryBytes, canaryKey } from '../../src/health/canary-bytes.ts';
import { initialState, remembering } from '../../src/health/machine.ts';
import { S3Store } from '../../src/health/s3-store.ts';
import type { HealthState, MachineState } from '../../src/health/state.ts';
import { openS3Watch } from '../../src/health/watch-s3.ts';
import { writesUnder } from '../../src/health/writes.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { startVersitygw, type Versitygw } from '../support/versitygw.ts';
import { until } from '../support/waiting.ts';

refuseLeaks(t);
t.jobs = 4;

const PREFIX = '.cleanmiss/';

const storeOptions = (
  { endpoint, accessKey, secretKey }: Versitygw,
  key: { access?: string; secret?: string } = {},
) => ({
  clock: systemClock,
  endpoint,
  region: 'us-east-1',
  pathStyle: true,
  credentials: { accessKeyId: key.access ?? accessKey, secretAccessKey: key.secret ?? secretKey },
  version: '0',
});

const createBucket = async (gateway: Versitygw, bucket: string): Promise<void> => {
  const { endpoint, region, credentials } = storeOptions(gateway);
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
};

const init = async (gateway: Versitygw, buckets: string[], storeId: string | null = null): Promise<CanaryReport> => {
  const store = new S3Store(storeOptions(gateway));
  const report = await initCanaries({ store, buckets, canaryPrefix: PREFIX, storeId, newStoreId: randomUUID });
  store.close();
  return report;
};

interface Rig {
  readonly gateway: Versitygw;
  readonly report: CanaryReport;
  readonly current: () => MachineState;
  readonly ack: (id: string) => Promise<MachineState>;
  reaches(state: HealthState, withinMs?: number): Promise<MachineState>;
}

const rig = async (
  t: Test,
  { buckets = ['cache'], markers = false, key = {} as { access?: string; secret?: string } } = {},
): Promise<Rig> => {
  const gateway = await startVersitygw(t, { bucket: 'cache' });
  for (const bucket of buckets) if (bucket !== 'cache') await createBucket(gateway, bucket);
  const report = await init(gateway, buckets);
  const { watch, close } = openS3Watch({
    ...storeOptions(gateway, key),
    buckets,
    canaryPrefix: PREFIX,
    intervalMs: 5_000,
    markersDir: markers ? dirname(dirname(gateway.diskPath('x'))) : null,
    state: remembering(initialState(systemClock.now()), rememberedBy(report)),
    mayWrite: () => true,
    random: Math.random,
    log: { warn() {} },
  });
  t.teardown(close);
  watch.start();
  return {
    gateway,
    report,
    current: () => watch.current,
    ack: (id) => watch.apply({ kind: 'ack', id, note: 'relinked', by: 'test' }),
    async reaches(state, withinMs = 15_000) {
      await until(() => watch.current.state === state, withinMs);
      return watch.current;
    },
  };
};

const writes = (state: MachineState): string => writesUnder(state, systemClock.now(), 0).kind;

for (const markers of [true, false]) {
  t.test(`the links are removed, ${markers ? 'with' : 'without'} a look at the drive`, async (t) => {
    const { gateway, reaches, ack, current } = await rig(t, { markers });
    t.equal(writes(await reaches('green')), 'allow');
    await gateway.loseIndex();
    const lostAt = performance.now();
    const red = await reaches('red');
    t.comment(`red after ${(performance.now() - lostAt).toFixed(0)} ms`);
    t.ok(performance.now() - lostAt <= 7_000, 'within seven seconds');
    t.equal(red.incident?.class, markers ? 'INDEX_LOST' : 'INDEX_LOST_SUSPECTED');
    t.equal(writes(red), 'refuse');
    await gateway.relink();
    t.equal(writes(await reaches('recovering')), 'refuse');
    const latched = await reaches('latched', 50_000);
    t.equal(writes(latched), 'refuse');
    t.equal((await ack('0-of-another')).state, 'latched');
    t.equal((await ack(red.incident?.id ?? '')).state, 'green');
    t.equal(writes(current()), 'allow');
  });
}

t.test('the server hangs, and goes on', async (t) => {
  const { gateway, reaches } = await rig(t);
  await reaches('green');
  gateway.pause();
  t.teardown(() => gateway.resume());
  t.match((await reaches('red', 30_000)).incident, { class: 'SLOW', isLatching: false });
  gateway.resume();
  t.equal((await reaches('green', 60_000)).lastIncident?.class, 'SLOW');
});

t.test('the server is gone', async (t) => {
  const { gateway, reaches } = await rig(t);
  await reaches('green');
  await gateway.stop();
  t.match((await reaches('red')).incident, { class: 'UNREACHABLE', isLatching: false });
});

for (const [reason, key] of [
  ['a wrong secret', { secret: 'another' }],
  ['an unknown key', { access: 'nobody' }],
] as const) {
  t.test(reason, async (t) => {
    const { reaches } = await rig(t, { key });
    t.match((await reaches('red')).incident, { class: 'CREDENTIALS', isLatching: false });
  });
}

t.test('one bucket of two is gone', async (t) => {
  const { gateway, reaches } = await rig(t, { buckets: ['cache', 'tofu-state'] });
  await reaches('green');
  await gateway.loseIndex();
  t.match((await reaches('red')).incident, { class: 'BUCKET_ABSENT', isLatching: true });
});

t.test('an empty bucket shadows the data', async (t) => {
  const { gateway, reaches } = await rig(t, { markers: true });
  await reaches('green');
  await gateway.loseIndex();
  await createBucket(gateway, 'cache');
  t.match((await reaches('red')).incident, { class: 'CANARY_LOST', isLatching: true });
});

t.test('the canary is answered with other bytes, with none, or by another store', async (t) => {
  const { gateway, report, reaches } = await rig(t);
  await reaches('green');
  const file = gateway.diskPath(canaryKey(PREFIX));
  const bytes = canaryBytes(report.storeId, 'cache');
  await writeFile(file, Buffer.from(bytes).fill('x', 500));
  t.match((await reaches('red')).incident, { class: 'BODY_BROKEN', isLatching: false });
  await writeFile(file, '');
  await writeFile(file, bytes);
  await reaches('recovering');
  await writeFile(file, canaryBytes('another-store', 'cache'));
  t.equal((await reaches('red')).incident?.isLatching, true, 'that one latches');
  t.equal(JSON.stringify((await reaches('red')).incident).includes(gateway.secretKey), false);
});

t.test('canary init writes once, and overwrites nothing', async (t) => {
  const gateway = await startVersitygw(t, { bucket: 'cache' });
  await createBucket(gateway, 'second');
  const first = await init(gateway, ['cache']);
  t.match(first.canaries, [{ bucket: 'cache', key: '.cleanmiss/canary', result: 'written', sha256: /^[0-9a-f]{64}$/ }]);
  const again = await init(gateway, ['cache', 'second', 'absent']);
  t.equal(again.storeId, first.storeId, 'the canary that is there names the store');
  t.match(again.canaries, [
    { result: 'kept' },
    { result: 'written' },
    { bucket: 'absent', result: 'failed', reason: 'NoSuchBucket' },
  ]);
  const other = await init(gateway, ['cache'], 'another-store');
  t.match(other.canaries, [{ result: 'foreign', reason: /is a canary of the store/ }]);
  await writeFile(gateway.diskPath(canaryKey(PREFIX)), 'somebody else’s');
  t.match((await init(gateway, ['cache'])).canaries, [{ result: 'foreign', reason: 'other bytes lie there' }]);
  await rename(gateway.diskPath(canaryKey(PREFIX)), gateway.diskPath('aside'));
  t.match(
    (await init(gateway, ['cache'], first.storeId)).canaries,
    [{ result: 'written' }],
    'one that is gone is written',
  );
  t.same(rememberedBy(again), { storeId: first.storeId, canaries: ['cache', 'second'], listed: [] });
});
