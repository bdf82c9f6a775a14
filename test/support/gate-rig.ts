// What the gate keeps, in a directory of its own, on a clock and a disk that tests own.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { AuditLog } from '../../src/gate/audit.ts';
import { Changes } from '../../src/gate/changes.ts';
import { Incidents } from '../../src/gate/incidents.ts';
import { Quarantine } from '../../src/gate/quarantine.ts';
import { StateDir } from '../../src/gate/state-dir.ts';
import { BrokenDisk } from './broken-disk.ts';
import { FakeClock } from './fake-clock.ts';

export interface Logged {
  readonly level: 'info' | 'warn';
  readonly message: string;
  readonly fields: object;
}

/** `dir` is what an earlier rig left: this one is its restart. */
export const gateRig = async (t: Test, { dir = t.testdir(), clock = new FakeClock() } = {}) => {
  const disk = new BrokenDisk();
  const logged: Logged[] = [];
  const say = (level: Logged['level']) => (fields: object, message: string) =>
    void logged.push({ level, message, fields });
  const log = { info: say('info'), warn: say('warn') };
  const state = new StateDir(dir, disk.open);
  const audit = await AuditLog.open({ path: join(dir, 'audit.ndjson'), clock, log, openFile: disk.open });
  const changes = new Changes();
  const ports = { state, clock, log, changes, audit: audit.append.bind(audit) };
  const quarantine = await Quarantine.open(ports);
  const incidents = await Incidents.open({ state, clock, log });
  t.teardown(() => quarantine.close());
  return {
    dir,
    clock,
    disk,
    log,
    logged,
    state,
    audit,
    changes,
    ports,
    quarantine,
    incidents,
    /** A file of the directory, parsed. */
    json: async (name: string): Promise<unknown> => JSON.parse(await readFile(join(dir, name), 'utf8')),
    actions: async () => (await audit.rows(0, 1_000)).map(({ action, subject }) => `${action} ${subject}`),
    restarted: () => gateRig(t, { dir, clock }),
  };
};
