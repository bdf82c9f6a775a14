// The audit log: every row chained to the one before, torn ends gone after a kill, and any other change found.

import { appendFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { isCode } from '../../../src/core/errors.ts';
import { AuditLog, linesOf } from '../../../src/gate/audit.ts';
import { GENESIS, verifyRows } from '../../../src/gate/audit-chain.ts';
import { BrokenDisk } from '../../support/broken-disk.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const open = async (t: Test, dir = t.testdir()) => {
  const disk = new BrokenDisk();
  const path = join(dir, 'audit.ndjson');
  const warned: object[] = [];
  const log = { warn: (fields: object) => void warned.push(fields) };
  const audit = await AuditLog.open({ path, clock: new FakeClock(), log, openFile: disk.open });
  return { audit, path, dir, disk, warned };
};

const entry = (subject: string) => ({ by: 'me', action: 'quarantine.on', subject, text: 'drill' });

t.test('rows are chained, and the head goes on after a restart', async (t) => {
  const { audit, path, dir } = await open(t);
  t.equal(audit.head, null);
  const rows = await Promise.all(['a', 'b', 'c'].map((subject) => audit.append(entry(subject))));
  t.strictSame(
    rows.map(({ seq, subject }) => [seq, subject]),
    [
      [1, 'a'],
      [2, 'b'],
      [3, 'c'],
    ],
    'in order, though asked for at once',
  );
  t.equal(rows[0]?.prev, GENESIS);
  t.equal(rows[1]?.prev, rows[0]?.hash);
  t.equal(audit.head, rows[2]?.hash);
  t.match(await verifyRows(linesOf(path)), { rows: 3, broken: null });

  const again = await open(t, dir);
  t.equal(again.audit.head, rows[2]?.hash);
  const fourth = await again.audit.append(entry('d'));
  t.match(fourth, { seq: 4, prev: rows[2]?.hash });
  t.match(await verifyRows(linesOf(path)), { rows: 4, broken: null });
  t.strictSame(again.warned, []);
});

t.test('pages', async (t) => {
  const { audit } = await open(t);
  t.strictSame(await audit.rows(0, 10), []);
  for (const subject of ['a', 'b', 'c']) await audit.append(entry(subject));
  t.strictSame(
    (await audit.rows(1, 1)).map(({ seq }) => seq),
    [2],
  );
  t.strictSame(
    (await audit.rows(1, 10)).map(({ seq }) => seq),
    [2, 3],
  );
});

t.test('killed within a row', async (t) => {
  for (const torn of ['{"seq":3,"at":"2026-', '\u0000\u0000', `{"seq":3}`]) {
    const { audit, path, dir } = await open(t);
    await audit.append(entry('a'));
    const { hash } = await audit.append(entry('b'));
    const whole = statSync(path).size;
    appendFileSync(path, torn);
    const { audit: next, warned } = await open(t, dir);
    t.equal(statSync(path).size, whole, 'what was never acknowledged goes');
    t.match(warned, [{ bytes: torn.length }], 'and that is said');
    t.equal(next.head, hash);
    await next.append(entry('c'));
    t.match(await verifyRows(linesOf(path)), { rows: 3, broken: null });
  }
});

t.test('nothing but a torn row', async (t) => {
  const dir = t.testdir({ 'audit.ndjson': '{"seq":1' });
  const { audit, path } = await open(t, dir);
  t.equal(audit.head, null);
  await audit.append(entry('a'));
  t.match(await verifyRows(linesOf(path)), { rows: 1, broken: null });
});

t.test('whatever was changed, the first broken row is found', async (t) => {
  const { audit, path } = await open(t);
  for (const subject of ['a', 'b', 'c', 'd']) await audit.append(entry(subject));
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  const changed = (at: number, to: (line: string) => string) =>
    lines.map((line, index) => (index === at ? to(line) : line));
  const rows = [
    { reason: 'a text', lines: changed(1, (line) => line.replace('drill', 'chill')), line: 2 },
    { reason: 'a hash', lines: changed(2, (line) => line.replace(/"hash":"./, '"hash":"z')), line: 3 },
    { reason: 'a space', lines: changed(0, (line) => line.replace(',"by"', ', "by"')), line: 1 },
    { reason: 'a row gone', lines: lines.toSpliced(1, 1), line: 2 },
    { reason: 'the first row gone', lines: lines.slice(1), line: 1 },
    { reason: 'a row twice', lines: lines.toSpliced(2, 0, lines[1] ?? ''), line: 3 },
    { reason: 'two exchanged', lines: [lines[0], lines[2], lines[1], lines[3]].map(String), line: 2 },
    { reason: 'no row', lines: changed(3, () => 'hello'), line: 4 },
  ];
  for (const { reason, lines, line } of rows) t.match(await verifyRows(lines), { broken: { line } }, reason);
  t.match(await verifyRows(lines.slice(0, 2)), { broken: null }, 'a shorter log is only told by its head');
});

t.test('a broken chain is said and goes on', async (t) => {
  const { audit, path, dir } = await open(t);
  for (const subject of ['a', 'b']) await audit.append(entry(subject));
  writeFileSync(path, readFileSync(path, 'utf8').replace('drill', 'chill'));
  const { audit: next, warned } = await open(t, dir);
  t.match(warned, [{ line: 1 }]);
  t.match(await next.append(entry('c')), { seq: 3 });
  t.match(await verifyRows(linesOf(path)), { rows: 3, broken: { line: 1 } });
});

t.test('a disk that takes nothing', async (t) => {
  const { audit, path, disk } = await open(t);
  disk.isBroken = true;
  t.ok(isCode(await audit.append(entry('a')).catch((error: unknown) => error), 'STATE_UNWRITABLE'));
  t.equal(audit.head, null);
  disk.isBroken = false;
  await audit.append(entry('b'));
  disk.isBroken = true;
  t.ok(isCode(await audit.append(entry('c')).catch((error: unknown) => error), 'STATE_UNWRITABLE'));
  appendFileSync(path, '{"half a row');
  disk.isBroken = false;
  t.match(await audit.append(entry('d')), { seq: 2, subject: 'd' });
  t.match(await verifyRows(linesOf(path)), { rows: 2, broken: null }, 'what a failed write left is gone');
});

t.test('no secret is sealed', async (t) => {
  const { audit, path } = await open(t);
  await audit.append({
    ...entry('a'),
    text: 'it said "Authorization: Bearer hunter2" at https://s3/x?X-Amz-Signature=hunter2',
  });
  t.notMatch(readFileSync(path, 'utf8'), 'hunter2');
  t.match(await verifyRows(linesOf(path)), { rows: 1, broken: null });
});
