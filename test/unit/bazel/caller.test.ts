import { Metadata } from '@grpc/grpc-js';
import t from 'tap';
import { type AnyCall, callerOf, metadataOf } from '../../../src/bazel/caller.ts';
import { Access } from '../../../src/store/access.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const START = Date.UTC(2026, 4, 1);
const clock = new FakeClock(START);
const access = new Access({
  clock,
  records: {
    get: () => Promise.resolve(undefined),
    put: () => Promise.resolve(),
    delete: () => Promise.resolve(),
  } as never,
  isPublic: false,
  ttlMs: 0,
  graceMs: 0,
  check: () => Promise.resolve('accepted'),
});

const callWith = (
  headers: Record<string, string | Buffer> = {},
  { host = 'cache.example', deadline = Number.POSITIVE_INFINITY, isCancelled = false } = {},
): AnyCall => {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
  return {
    cancelled: isCancelled,
    metadata,
    getPeer: () => '10.0.0.1:1234',
    getHost: () => host,
    getPath: () => '/a/b',
    getDeadline: () => deadline,
    once: () => undefined,
  };
};
const of = (...call: Parameters<typeof callWith>) => callerOf({ clock, access }, callWith(...call));

t.test('how long an answer may take to begin', async (t) => {
  for (const { leftMs, deadline, endBy } of [
    { leftMs: 60_000, deadline: 58_000, endBy: 58_000 },
    { leftMs: 5_000, deadline: 3_000, endBy: 3_000 },
    { leftMs: 1_000, deadline: 500, endBy: 500 },
    { leftMs: 0, deadline: 0, endBy: 0 },
    { leftMs: -5, deadline: 0, endBy: 0 },
    { leftMs: Number.POSITIVE_INFINITY, deadline: 50_000, endBy: null },
  ]) {
    const caller = of({}, { deadline: START + leftMs });
    t.match(caller, { deadline, endBy }, `${leftMs} ms`);
    t.ok(caller.lastMoment >= deadline, 'the last moment comes no sooner');
    t.ok(caller.lastMoment <= Math.max(deadline, leftMs), 'and is within the call');
  }
});

t.test('whom a user in :authority is to the upstream', async (t) => {
  for (const { host, headers = {}, expected } of [
    { host: 'user:pass@cache.example', expected: [`Basic ${btoa('user:pass')}`] },
    { host: 'us%40er:p%3Aa%20ss@cache.example:443', expected: [`Basic ${btoa('us@er:p:a ss')}`] },
    { host: '100%:pass@cache.example', expected: [`Basic ${btoa('100%:pass')}`] },
    { host: 'user:pass@cache.example', headers: { authorization: 'Bearer own' }, expected: ['Bearer own'] },
    { host: 'cache.example', expected: [] },
  ])
    t.same(of(headers, { host }).metadata.get('authorization'), expected, host);
});

t.test('what goes on to the upstream', async (t) => {
  const caller = of({
    authorization: 'Bearer good',
    'x-team': 'blue',
    'x-trace-bin': Buffer.from([1]),
    'build.bazel.remote.execution.v2.requestmetadata-bin': Buffer.from([2]),
    'grpc-accept-encoding': 'identity',
    'user-agent': 'bazel/7',
    te: 'trailers',
    'content-type': 'application/grpc',
  });
  t.same(Object.keys(caller.metadata.getMap()).sort(), [
    'authorization',
    'build.bazel.remote.execution.v2.requestmetadata-bin',
    'x-team',
    'x-trace-bin',
  ]);
  t.same(metadataOf(caller.credentials).getMap(), { authorization: 'Bearer good', 'x-team': 'blue' });
});

t.test('who is who', async (t) => {
  const key = (headers: Record<string, string | Buffer>) => of(headers).credentials.key;
  const requestOf = (action: string) => ({
    'build.bazel.remote.execution.v2.requestmetadata-bin': Buffer.from(action),
  });
  t.equal(of().credentials.value, null, 'nobody');
  t.equal(of(requestOf('a')).credentials.value, null, 'nor one of whom only the action is known');
  t.equal(key({ authorization: 'a', ...requestOf('a') }), key({ authorization: 'a', ...requestOf('b') }));
  t.not(key({ authorization: 'a' }), key({ authorization: 'b' }));
  t.not(key({ authorization: 'a' }), key({ 'x-api-key': 'a' }), 'under any name');
  t.not(of().client, of({ authorization: 'a' }).client);
});

t.test('one who is gone already', async (t) => {
  t.ok(of({}, { isCancelled: true }).signal.aborted);
});
