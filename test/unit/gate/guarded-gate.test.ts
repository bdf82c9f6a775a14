// The gate: allows, holds and refuses by one function, with one constant sentence for one state of affairs.

import t, { type Test } from 'tap';
import type { Decision, Write } from '../../../src/gate/gate.ts';
import { GuardedGate, type GuardedGateParts } from '../../../src/gate/guarded-gate.ts';
import type { Trouble } from '../../../src/gate/persistence.ts';
import type { FaultClass } from '../../../src/health/state.ts';
import { gateRig } from '../../support/gate-rig.ts';
import { HealthScript } from '../../support/health-script.ts';

const push: Write = { front: 'nix', tenant: 'main', operation: 'PUT narinfo', subject: 'abc' };
const build: Write = { front: 'bazel', tenant: '', operation: 'UpdateActionResult' };

const open = async (t: Test, { isWatched = true } = {}) => {
  const rig = await gateRig(t);
  const health = new HealthScript(rig.clock);
  health.onChange(() => rig.changes.notify());
  const refused: unknown[][] = [];
  let trouble: Trouble | null = null;
  const parts: GuardedGateParts = {
    clock: rig.clock,
    health: isWatched ? health : null,
    quarantine: rig.quarantine,
    trouble: () => trouble,
    changes: rig.changes,
    onRefused: (write, { reason }, incidentId) => void refused.push([write.subject, reason, incidentId]),
  };
  const setTrouble = (kind: Trouble['kind'] | null) => {
    trouble = kind === null ? null : { kind, since: rig.clock.now() };
    rig.changes.notify();
  };
  const rounds = async (fault: FaultClass | 'OK', count: number) => {
    for (let done = 0; done < count; done++) {
      await rig.clock.advance(1_000);
      await health.round(fault);
    }
  };
  return { ...rig, gate: new GuardedGate(parts), health, refused, setTrouble, rounds };
};

const sentenceOf = (decision: Decision): string => (decision.allow ? '' : decision.sentence);

t.test('nobody watches', async (t) => {
  const { gate, quarantine } = await open(t, { isWatched: false });
  t.strictSame(await gate.decide(push), { allow: true });
  t.strictSame(gate.stance('nix'), { writes: 'allowed', reason: null });
  await quarantine.on('nix', { reason: 'drill', ticket: 'T-1', expires: null }, { by: 'me', seen: null });
  t.match(await gate.decide(push), {
    allow: false,
    by: 'quarantine',
    reason: 'drill',
    sentence: 'This cache takes no writes since 2026-05-01T00:00:00.000Z: quarantine (nix): drill [T-1]. Reads go on.',
    retryAfterSeconds: undefined,
  });
  t.strictSame(await gate.decide(build), { allow: true });
  t.strictSame(gate.stance('nix'), { writes: 'refused', reason: 'drill' });
  t.strictSame(gate.stance('bazel'), { writes: 'allowed', reason: null });
});

t.test('unknown at start: held until the first green', async (t) => {
  const { gate, clock, health } = await open(t);
  const held = gate.decide(push);
  t.equal(gate.held, 1);
  t.match(gate.stance('nix'), { writes: 'refused', reason: 'UNKNOWN' });
  await clock.advance(14_000);
  t.equal(gate.held, 1);
  await health.round();
  t.strictSame(await held, { allow: true });
  t.equal(gate.held, 0);
  t.equal(clock.armed, 0, 'no timer is left');
});

t.test('unknown for too long', async (t) => {
  const { gate, clock, refused } = await open(t);
  const held = gate.decide(push);
  await clock.advance(15_000);
  t.match(await held, { allow: false, by: 'health', reason: 'UNKNOWN', retryAfterSeconds: 15 });
  t.match(await gate.decide(build), { allow: false, reason: 'UNKNOWN' }, 'and the next is not held');
  t.strictSame(refused, [
    ['abc', 'UNKNOWN', null],
    [undefined, 'UNKNOWN', null],
  ]);
});

t.test('a blip refuses nothing', async (t) => {
  const { gate, health, rounds } = await open(t);
  await rounds('OK', 1);
  await health.round('UNREACHABLE');
  t.strictSame(await gate.decide(push), { allow: true }, 'an ambiguous one does not even hold');
  await rounds('OK', 1);
  await health.round('INDEX_LOST');
  const held = gate.decide(push);
  t.equal(gate.held, 1, 'a definite one waits for the second look');
  await rounds('OK', 1);
  t.strictSame(await held, { allow: true });
});

t.test('red refuses, those that were held too', async (t) => {
  const { gate, health, rounds, refused } = await open(t);
  await rounds('OK', 1);
  await health.round('INDEX_LOST');
  const held = gate.decide(push);
  await rounds('INDEX_LOST', 1);
  const first = await held;
  const id = health.current.incident?.id;
  t.match(first, { allow: false, by: 'health', reason: 'INDEX_LOST', retryAfterSeconds: 60 });
  t.match(sentenceOf(first), `its object store is not well (INDEX_LOST, incident ${id}). Reads go on.`);
  t.strictSame(refused, [['abc', 'INDEX_LOST', id]]);

  const sentences = new Set([sentenceOf(first), sentenceOf(await gate.decide(build))]);
  for (let round = 0; round < 50; round++) {
    await rounds('OK', 1);
    sentences.add(sentenceOf(await gate.decide(push)));
  }
  t.equal(health.current.state, 'latched');
  t.equal(sentences.size, 1, 'one sentence from red to latched, for both fronts');
  await health.apply({ kind: 'ack', id: id ?? '', note: 'seen', by: 'me' });
  t.strictSame(await gate.decide(push), { allow: true });
});

t.test('a silent watch is unknown', async (t) => {
  const { gate, clock, rounds } = await open(t);
  await rounds('OK', 1);
  await clock.advance(20_001);
  const held = gate.decide(push);
  t.equal(gate.held, 1);
  await clock.advance(15_000);
  t.match(await held, { allow: false, reason: 'UNKNOWN' });
});

t.test('state that is not to be had', async (t) => {
  const { gate, rounds, setTrouble } = await open(t);
  await rounds('OK', 1);
  for (const kind of ['state-unwritable', 'state-corrupt'] as const) {
    setTrouble(kind);
    t.match(await gate.decide(push), { allow: false, by: 'health', reason: kind, sentence: kind });
    t.match(gate.stance('bazel'), { writes: 'refused', reason: kind });
  }
  setTrouble(null);
  t.strictSame(await gate.decide(push), { allow: true });
});

t.test('a quarantine meets those that are held', async (t) => {
  const { gate, quarantine } = await open(t);
  const held = gate.decide(push);
  await quarantine.on('cache:main', { reason: 'stop', ticket: null, expires: null }, { by: 'me', seen: null });
  t.match(await held, { allow: false, by: 'quarantine', reason: 'stop' });
});

t.test('a client that goes waits for nothing', async (t) => {
  const { gate, clock, refused } = await open(t);
  const gone = new AbortController();
  const held = gate.decide(push, gone.signal);
  gone.abort();
  t.match(await held, { allow: false });
  t.match(await gate.decide(push, AbortSignal.abort()), { allow: false });
  t.equal(gate.held, 0);
  t.equal(clock.armed, 0);
  t.strictSame(refused, [], 'and nobody was refused anything');
});

t.test('no more than 256 are held', async (t) => {
  const { gate, health } = await open(t);
  const held = Array.from({ length: 256 }, () => gate.decide(push));
  t.equal(gate.held, 256);
  t.match(await gate.decide(push), { allow: false, by: 'health', reason: 'UNKNOWN' });
  await health.round();
  const decisions = await Promise.all(held);
  t.ok(decisions.every(({ allow }) => allow));
});
