// The markers: what lies on the drive, looked at by a process that may hang.

import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../../src/core/clock.ts';
import { Markers } from '../../../src/health/markers.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { until } from '../../support/waiting.ts';

refuseLeaks(t);

// Nothing of a watch keeps the process alive: that is the servers' to do, and here ours.
const alive = setInterval(() => {}, 60_000);
t.teardown(() => clearInterval(alive));

const children = (): number[] =>
  readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
        return (
          rest.split(' ')[1] === `${process.pid}` &&
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('markers-child')
        );
      } catch {
        return false; // It has just ended.
      }
    })
    .map(Number);

t.test('present, absent, unknown', async (t) => {
  const dir = t.testdir({ disk: { nix: {}, 'a-file': 'x' } });
  const disk = join(dir, 'disk');
  symlinkSync('nix', join(disk, 'linked'));
  symlinkSync('nowhere', join(disk, 'dangling'));
  const markers = new Markers({
    clock: systemClock,
    dir: disk,
    buckets: ['nix', 'bazel', 'a-file', 'linked', 'dangling'],
  });
  t.teardown(() => markers.close());
  t.same(Object.fromEntries(await markers.look()), {
    nix: 'present',
    bazel: 'absent',
    'a-file': 'absent',
    linked: 'present',
    dangling: 'absent',
  });
  mkdirSync(join(disk, 'bazel'));
  t.equal((await markers.look()).get('bazel'), 'present');
  t.equal(children().length, 1, 'one process for all looks');
  const environment = readFileSync(`/proc/${children()[0]}/environ`, 'utf8');
  t.notMatch(environment, /HOME|PATH=/, 'which has none of our environment');
  rmSync(disk, { recursive: true });
  mkdirSync(disk);
  t.equal((await markers.look()).get('nix'), 'unknown', 'an empty directory is an unmounted volume');
  rmSync(disk, { recursive: true });
  t.equal((await markers.look()).get('nix'), 'unknown', 'none is none to look at');
  markers.close();
  t.equal((await markers.look()).get('nix'), 'unknown', 'closed');
  await until(() => children().length === 0);
});

t.test('a directory that cannot be read', async (t) => {
  // Not by its mode, which binds everyone but root: a link that leads back to itself.
  const dir = join(t.testdir({}), 'loop');
  symlinkSync(dir, dir);
  const markers = new Markers({ clock: systemClock, dir, buckets: ['nix'] });
  t.teardown(() => markers.close());
  t.equal((await markers.look()).get('nix'), 'unknown');
});

t.test('a look that hangs is given up after a second, and another process looks on', async (t) => {
  const markers = new Markers({ clock: systemClock, dir: t.testdir({ nix: {} }), buckets: ['nix'] });
  t.teardown(() => markers.close());
  t.equal((await markers.look()).get('nix'), 'present');
  const [pid = 0] = children();
  process.kill(pid, 'SIGSTOP');
  const startedAt = performance.now();
  t.equal((await markers.look()).get('nix'), 'unknown');
  t.ok(performance.now() - startedAt < 3_000);
  t.equal((await markers.look()).get('nix'), 'present');
  t.not(children()[0], pid);
  const [second = 0] = children();
  process.kill(second, 'SIGKILL');
  await until(() => !children().includes(second));
  await markers.look();
  t.equal((await markers.look()).get('nix'), 'present', 'one that died is replaced');
});
