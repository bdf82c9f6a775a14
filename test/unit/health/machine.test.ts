// The state machine of health: its table, and what no sequence of events may ever break.

import fc from 'fast-check';
import t from 'tap';
import type { Finding, MachineEvent } from '../../../src/health/finding.ts';
import { canAck, initialState, remembering, restored, step } from '../../../src/health/machine.ts';
import { type EvidenceRow, type FaultClass, latches, type MachineState } from '../../../src/health/state.ts';
import { isMachineState } from '../../../src/health/state-schema.ts';
import { writesUnder } from '../../../src/health/writes.ts';

const START = Date.UTC(2026, 4, 1);

const row = (fault: FaultClass | 'OK', at = START): EvidenceRow => ({
  at,
  bucket: 'attic',
  operation: 'get-canary',
  class: fault,
  status: 200,
  code: null,
  requestId: 'r',
  ms: 2,
  serverVersion: null,
  marker: null,
});

const round = (fault: FaultClass | 'OK', proof: Finding['proof'] = null): MachineEvent => ({
  kind: 'round',
  finding: { class: fault, proof, seen: { storeId: null, canaries: [], listed: [] }, withoutCanary: [] },
  evidence: [row(fault)],
});

const sign: MachineEvent = { kind: 'sign', class: 'INDEX_LOST_SUSPECTED', row: row('INDEX_LOST_SUSPECTED') };
const tick: MachineEvent = { kind: 'tick' };

/** A state and its time, moved on by events that lie so far apart. */
class Run {
  state = initialState(START);
  now = START;

  after(ms: number, event: MachineEvent): this {
    this.now += ms;
    this.state = step(this.state, event, this.now);
    return this;
  }

  rounds(count: number, event: MachineEvent, everyMs = 1_000): this {
    for (let done = 0; done < count; done++) this.after(everyMs, event);
    return this;
  }

  /** Five good rounds, thirty seconds, and a write that landed. */
  recover(): this {
    return this.rounds(16, round('OK'), 2_000).after(2_000, round('OK', 'OK'));
  }

  writes(heldMs = 0): string {
    return writesUnder(this.state, this.now, heldMs).kind;
  }
}

const green = () => new Run().after(1_000, round('OK'));

t.test('rounds make states', (t) => {
  const rows: { reason: string; run: Run; state: string; writes: string; class: FaultClass | null }[] = [
    { reason: 'nothing known', run: new Run(), state: 'unknown', writes: 'hold', class: null },
    { reason: 'one good round', run: green(), state: 'green', writes: 'allow', class: null },
    {
      reason: 'a blip refuses nothing: the second look decides',
      run: green().after(5_000, round('INDEX_LOST')),
      state: 'doubtful',
      writes: 'hold',
      class: 'INDEX_LOST',
    },
    {
      reason: 'an ambiguous blip is not even held for',
      run: green().after(5_000, round('SLOW')),
      state: 'doubtful',
      writes: 'allow',
      class: 'SLOW',
    },
    {
      reason: 'a blip is forgotten',
      run: green().after(5_000, round('INDEX_LOST')).after(1_000, round('OK')).after(5_000, round('INDEX_LOST')),
      state: 'doubtful',
      writes: 'hold',
      class: 'INDEX_LOST',
    },
    {
      reason: 'twice the same definite class',
      run: green().rounds(2, round('INDEX_LOST')),
      state: 'red',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
    {
      reason: 'two definite classes are one doubt: the round under which the index went saw half of it',
      run: green().after(5_000, round('VIEW_SPLIT')).after(1_000, round('INDEX_LOST')),
      state: 'doubtful',
      writes: 'hold',
      class: 'VIEW_SPLIT',
    },
    {
      reason: 'and the class that is said twice is the incident’s',
      run: green().after(5_000, round('VIEW_SPLIT')).rounds(2, round('INDEX_LOST')),
      state: 'red',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
    {
      reason: 'suspected and corroborated are one',
      run: green().after(5_000, round('INDEX_LOST_SUSPECTED')).after(1_000, round('INDEX_LOST')),
      state: 'red',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
    {
      reason: 'two ambiguous rounds are not enough',
      run: green().rounds(2, round('SLOW')),
      state: 'doubtful',
      writes: 'allow',
      class: 'SLOW',
    },
    {
      reason: 'three are, of whatever class',
      run: green().after(1_000, round('SLOW')).after(1_000, round('BACKEND_5XX')).after(1_000, round('UNREACHABLE')),
      state: 'red',
      writes: 'refuse',
      class: 'UNREACHABLE',
    },
    {
      reason: 'a definite one among them names the incident',
      run: green().after(1_000, round('SLOW')).after(1_000, round('BUCKET_ABSENT')).after(1_000, round('SLOW')),
      state: 'red',
      writes: 'refuse',
      class: 'BUCKET_ABSENT',
    },
    {
      reason: 'unknown turns red as well',
      run: new Run().rounds(3, round('UNREACHABLE')),
      state: 'red',
      writes: 'refuse',
      class: 'UNREACHABLE',
    },
    {
      reason: 'real traffic is evidence by itself',
      run: green().after(1_000, sign),
      state: 'doubtful',
      writes: 'hold',
      class: 'INDEX_LOST_SUSPECTED',
    },
    {
      reason: 'which a round confirms',
      run: green().after(1_000, sign).after(50, round('INDEX_LOST')),
      state: 'red',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
    {
      reason: 'a burst of signs is one',
      run: green().after(1_000, sign).rounds(9, sign, 100),
      state: 'doubtful',
      writes: 'hold',
      class: 'INDEX_LOST_SUSPECTED',
    },
    {
      reason: 'one good round of a red',
      run: green().rounds(3, round('SLOW')).after(2_000, round('OK')),
      state: 'recovering',
      writes: 'refuse',
      class: 'SLOW',
    },
    {
      reason: 'a bad one after it',
      run: green().rounds(3, round('SLOW')).rounds(4, round('OK')).after(2_000, round('SLOW')),
      state: 'red',
      writes: 'refuse',
      class: 'SLOW',
    },
    {
      reason: 'good reads without a proven write',
      run: green().rounds(3, round('SLOW')).rounds(60, round('OK'), 2_000),
      state: 'recovering',
      writes: 'refuse',
      class: 'SLOW',
    },
    {
      reason: 'a proven write too soon',
      run: green().rounds(3, round('SLOW')).rounds(6, round('OK', 'OK'), 1_000),
      state: 'recovering',
      writes: 'refuse',
      class: 'SLOW',
    },
    {
      reason: 'all three',
      run: green().rounds(3, round('SLOW')).recover(),
      state: 'green',
      writes: 'allow',
      class: null,
    },
    {
      reason: 'a write proof that fails',
      run: green().rounds(3, round('SLOW')).rounds(16, round('OK'), 2_000).after(2_000, round('OK', 'SLOW')),
      state: 'red',
      writes: 'refuse',
      class: 'SLOW',
    },
    {
      reason: 'a class that latches',
      run: green().rounds(2, round('INDEX_LOST')).recover(),
      state: 'latched',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
    {
      reason: 'a latched store that has a blip',
      run: green().rounds(2, round('INDEX_LOST')).recover().after(5_000, round('SLOW')),
      state: 'latched',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
    {
      reason: 'a latched store that turns bad',
      run: green().rounds(2, round('INDEX_LOST')).recover().rounds(3, round('SLOW')),
      state: 'red',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
    {
      reason: 'writes that stall while reads are well: one failed proof is a blip',
      run: green().after(5_000, round('OK', 'SLOW')).rounds(5, round('OK')),
      state: 'doubtful',
      writes: 'allow',
      class: 'SLOW',
    },
    {
      reason: 'three are none',
      run: green()
        .after(5_000, round('OK', 'SLOW'))
        .after(9_000, round('OK', 'SLOW'))
        .after(9_000, round('OK', 'SLOW')),
      state: 'red',
      writes: 'refuse',
      class: 'SLOW',
    },
    { reason: 'silence', run: green().after(20_001, tick), state: 'unknown', writes: 'hold', class: null },
    {
      reason: 'silence past the hold',
      run: green().after(20_001, tick).after(15_000, tick),
      state: 'unknown',
      writes: 'refuse',
      class: null,
    },
    {
      reason: 'red needs no proof to stay red',
      run: green().rounds(3, round('SLOW')).after(3_600_000, tick),
      state: 'red',
      writes: 'refuse',
      class: 'SLOW',
    },
    {
      reason: 'silence while recovering',
      run: green().rounds(2, round('INDEX_LOST')).after(2_000, round('OK')).after(21_000, tick),
      state: 'unknown',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
    {
      reason: 'and a good round after it',
      run: green().rounds(2, round('INDEX_LOST')).after(2_000, round('OK')).after(21_000, tick).after(1, round('OK')),
      state: 'recovering',
      writes: 'refuse',
      class: 'INDEX_LOST',
    },
  ];
  for (const { reason, run, state, writes, class: fault } of rows) {
    t.equal(run.state.state, state, reason);
    t.equal(run.writes(), writes, `${reason}: writes`);
    t.equal(run.state.class, fault, `${reason}: class`);
    t.ok(isMachineState(JSON.parse(JSON.stringify(run.state))), `${reason}: plain JSON`);
  }
  t.equal(green().after(5_000, round('INDEX_LOST')).writes(2_000), 'allow', 'a hold of two seconds ends');
  t.end();
});

t.test('which classes latch', (t) => {
  const latching = [
    'INDEX_LOST',
    'INDEX_LOST_SUSPECTED',
    'BUCKET_ABSENT',
    'CANARY_LOST',
    'VIEW_SPLIT',
    'BACKEND_REPLACED',
  ];
  for (const fault of latching) {
    const { incident } = green().rounds(2, round(fault as FaultClass)).state; // One of the list above.
    t.equal(incident?.isLatching, true, fault);
  }
  for (const fault of ['SLOW', 'TLS', 'CREDENTIALS', 'PROTOCOL', 'QUORUM', 'BODY_BROKEN', 'STARTING'] as const) {
    t.equal(green().rounds(3, round(fault)).state.incident?.isLatching, false, fault);
  }
  t.end();
});

t.test('three reds within an hour latch', (t) => {
  const thrice = (pauseMs: number) => {
    const run = green();
    for (let time = 0; time < 3; time++) {
      run.rounds(3, round('SLOW'));
      if (time < 2) run.recover().rounds(Math.floor(pauseMs / 10_000), round('OK'), 10_000);
    }
    return run.state;
  };
  t.equal(thrice(60_000).incident?.isLatching, true);
  t.equal(thrice(1_800_000).incident?.isLatching, false, 'not over more than an hour');
  const once = green().rounds(3, round('SLOW'));
  for (let time = 0; time < 5; time++) once.after(2_000, round('OK')).after(2_000, round('SLOW'));
  t.equal(once.state.incident?.isLatching, false, 'a recovery that failed is the same red');
  t.end();
});

t.test('an incident', (t) => {
  const run = green().rounds(3, round('SLOW'));
  const id = run.state.incident?.id;
  t.match(id, /^1-20260501T\d{6}Z$/);
  run.after(2_000, round('CANARY_LOST'));
  t.match(run.state.incident, { id, class: 'CANARY_LOST', isLatching: true }, 'gets its first definite class');
  run.after(2_000, round('INDEX_LOST'));
  t.match(run.state.incident, { id, class: 'CANARY_LOST' }, 'and keeps it');
  run.rounds(100, round('SLOW'));
  t.equal(run.state.incident?.evidence.length, 50, 'holds fifty rows');
  t.equal(run.state.incident?.evidence[0]?.class, 'OK', 'from before it began');
  t.equal(canAck(run.state, id ?? ''), 'not-latched');
  run.recover();
  t.equal(canAck(run.state, 'other'), 'unknown-incident');
  t.equal(canAck(run.state, id ?? ''), 'ok');
  run.after(1_000, { kind: 'ack', id: 'other', note: '', by: '' });
  t.equal(run.state.state, 'latched', 'is acked by its id only');
  run.after(1_000, { kind: 'ack', id: id ?? '', note: 'moved the mount back', by: 'op' });
  t.match(run.state, {
    state: 'green',
    incident: null,
    lastIncident: { id, ackNote: 'moved the mount back', ackedBy: 'op', ackedAt: run.now },
  });
  t.equal(canAck(run.state, id ?? ''), 'unknown-incident', 'and once');
  const bad = green().rounds(2, round('INDEX_LOST')).recover().after(1_000, round('SLOW'));
  bad.after(1, { kind: 'ack', id: bad.state.incident?.id ?? '', note: 'n', by: 'b' });
  t.equal(bad.state.state, 'doubtful', 'an ack is no good round');
  const quiet = green().rounds(2, round('VIEW_SPLIT')).recover();
  const silent = step(
    quiet.state,
    { kind: 'ack', id: quiet.state.incident?.id ?? '', note: '', by: '' },
    quiet.now + 21_000,
  );
  t.equal(silent.state, 'unknown', 'nor is it one after a silence');
  t.not(silent.incident, null);
  t.end();
});

t.test('a restart', (t) => {
  const latched = green().rounds(2, round('INDEX_LOST')).recover();
  const run = new Run();
  run.now = latched.now + 60_000;
  run.state = restored(JSON.parse(JSON.stringify(latched.state)), run.now);
  t.equal(run.state.state, 'unknown');
  t.equal(run.writes(), 'refuse');
  run.after(1_000, round('OK'));
  t.equal(run.state.state, 'recovering', 'proves health again');
  run.recover();
  t.match(run.state, { state: 'latched', incident: { id: latched.state.incident?.id } }, 'and is latched as before');
  const known = remembering(initialState(START), { storeId: 's', canaries: ['a'], listed: [] });
  t.same(restored(known, START + 1).baseline, { storeId: 's', canaries: ['a'], listed: [] }, 'what was seen was seen');
  t.equal(restored(green().state, START).state, 'unknown');
  t.end();
});

t.test('what is on disk is checked', (t) => {
  const { state } = green().rounds(2, round('INDEX_LOST'));
  t.ok(isMachineState(state));
  t.notOk(isMachineState({ ...state, incident: null }), 'red without an incident');
  t.notOk(isMachineState({ ...state, class: 'FINE' }));
  t.notOk(isMachineState({ ...state, reds: ['x'] }));
  t.notOk(isMachineState(null));
  t.notOk(isMachineState({}));
  t.end();
});

const faults: readonly FaultClass[] = [
  'UNREACHABLE',
  'SLOW',
  'CREDENTIALS',
  'BACKEND_5XX',
  'QUORUM',
  'INDEX_LOST',
  'INDEX_LOST_SUSPECTED',
  'BUCKET_ABSENT',
  'CANARY_LOST',
  'VIEW_SPLIT',
  'BODY_BROKEN',
  'BACKEND_REPLACED',
];

interface Happening {
  readonly afterMs: number;
  /** Of the wall clock, beside the time that passes. */
  readonly jumpMs: number;
  readonly event: MachineEvent | 'ack' | 'restart';
}

const anyFault = fc.constantFrom(...faults);
const anyProof = fc.oneof(
  { weight: 4, arbitrary: fc.constant(null) },
  { weight: 4, arbitrary: fc.constant('OK' as const) },
  anyFault,
);
const anyEvent = fc.oneof(
  { weight: 8, arbitrary: anyProof.map((proof) => round('OK', proof)) },
  { weight: 6, arbitrary: anyFault.map((fault) => round(fault)) },
  { weight: 2, arbitrary: fc.constant(tick) },
  { weight: 1, arbitrary: fc.constant(sign) },
  { weight: 1, arbitrary: fc.constant({ kind: 'ack', id: 'of-nothing', note: '', by: '' } as const) },
);
const happenings = (others: readonly ('ack' | 'restart')[], jumps = true): fc.Arbitrary<Happening[]> =>
  fc.array(
    fc.record({
      afterMs: fc.oneof(fc.integer({ min: 0, max: 6_000 }), fc.integer({ min: 0, max: 60_000 })),
      jumpMs: jumps
        ? fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, fc.integer({ min: -7_200_000, max: 7_200_000 }))
        : fc.constant(0),
      event: fc.oneof(
        { weight: 9, arbitrary: anyEvent as fc.Arbitrary<Happening['event']> },
        fc.constantFrom(...others),
      ),
    }),
    { maxLength: 120 },
  );

/** Calls `see` after each. */
const play = (
  all: readonly Happening[],
  see: (after: MachineState, now: number, before: MachineState, happening: Happening) => void,
): { state: MachineState; now: number } => {
  let now = START;
  let state = initialState(now);
  for (const happening of all) {
    const before = state;
    now += happening.afterMs + happening.jumpMs;
    if (happening.event === 'restart') state = restored(JSON.parse(JSON.stringify(state)), now);
    else if (happening.event === 'ack') {
      state = step(state, { kind: 'ack', id: state.incident?.id ?? '', note: 'n', by: 'b' }, now);
    } else state = step(state, happening.event, now);
    see(state, now, before, happening);
  }
  return { state, now };
};

const RUNS = { numRuns: 2_000 };

t.test('no write passes in red, recovering, latched or unknown, whatever happens', (t) => {
  fc.assert(
    fc.property(happenings(['ack', 'restart']), fc.integer({ min: 0, max: 100_000 }), (all, laterMs) => {
      play(all, (state, now) => {
        for (const [at, heldMs] of [
          [now, 0],
          [now + laterMs, laterMs],
          [now - laterMs, laterMs],
        ] as const) {
          const { kind } = writesUnder(state, at, heldMs);
          const isClosed = !['green', 'doubtful'].includes(state.state) || state.incident !== null;
          if (isClosed && kind === 'allow') throw new Error(`${state.state} allows`);
          if (kind === 'hold' && heldMs >= 15_000) throw new Error('held for ever');
          if (state.state !== 'unknown' && isClosed && kind !== 'refuse') throw new Error(`${state.state} holds`);
        }
      });
    }),
    RUNS,
  );
  t.end();
});

t.test('green and doubtful rest on a good round of the last 20 s, or on the ack after it', (t) => {
  fc.assert(
    fc.property(happenings(['ack', 'restart'], false), (all) => {
      let goodAt = Number.NEGATIVE_INFINITY;
      play(all, (state, now, _, { event }) => {
        if (typeof event !== 'string' && event.kind === 'round') goodAt = now;
        if (writesUnder(state, now, 0).kind === 'allow' && now - goodAt > 20_000) throw new Error('stale');
      });
    }),
    RUNS,
  );
  t.end();
});

t.test('a latch survives everything but its ack', (t) => {
  fc.assert(
    fc.property(happenings(['restart']), (all) => {
      let latchedId: string | null = null;
      play(all, ({ incident }, _now, _before, _happening) => {
        if (latchedId !== null && incident?.id !== latchedId) throw new Error('the latch is gone');
        if (latchedId !== null && !incident?.isLatching) throw new Error('the latch is off');
        if (incident?.isLatching) latchedId = incident.id;
      });
    }),
    RUNS,
  );
  t.end();
});

t.test('an ack opens only what is latched, and closes only its incident', (t) => {
  fc.assert(
    fc.property(happenings(['ack', 'restart']), (all) => {
      play(all, (state, _now, before, { event }) => {
        const isOver = before.incident !== null && state.incident === null;
        if (!isOver) return;
        if (before.incident.isLatching && event !== 'ack') throw new Error('closed without an ack');
        if (event === 'ack' && before.state !== 'latched') throw new Error('acked before it recovered');
        if (state.lastIncident?.id !== before.incident.id) throw new Error('forgotten');
        if (state.lastIncident.recoveredAt === null) throw new Error('closed and not recovered');
      });
    }),
    RUNS,
  );
  t.end();
});

t.test('an incident keeps its first definite class, and its latch its reason', (t) => {
  const definite = new Set<FaultClass>(faults.slice(4));
  fc.assert(
    fc.property(happenings(['restart']), (all) => {
      play(all, ({ incident }, _now, before) => {
        if (incident === null || before.incident?.id !== incident.id) return;
        if (definite.has(before.incident.class) && incident.class !== before.incident.class) throw new Error('renamed');
        if (latches(incident.class) && !incident.isLatching) throw new Error('does not latch');
      });
    }),
    RUNS,
  );
  t.end();
});

t.test('from everywhere good rounds lead to green, through the ack where it is latched, and bad ones to red', (t) => {
  fc.assert(
    fc.property(happenings(['ack', 'restart']), anyFault, (all, fault) => {
      const { state, now } = play(all, () => {});
      const well = new Run();
      Object.assign(well, { state, now });
      well.recover().recover();
      if (well.state.state === 'latched') {
        well.after(1_000, { kind: 'ack', id: well.state.incident?.id ?? '', note: 'n', by: 'b' });
      }
      if (well.state.state !== 'green') throw new Error(`stuck in ${well.state.state}`);
      const ill = new Run();
      Object.assign(ill, { state, now });
      ill.rounds(3, round(fault));
      if (ill.state.state !== 'red') throw new Error(`${ill.state.state} after three bad rounds`);
    }),
    RUNS,
  );
  t.end();
});

t.test('one bad round after a good one refuses nothing', (t) => {
  fc.assert(
    fc.property(happenings(['ack', 'restart']), anyFault, (all, fault) => {
      const { state, now } = play(all, () => {});
      const run = new Run();
      Object.assign(run, { state, now });
      run.after(1_000, round('OK', 'OK'));
      if (run.state.state !== 'green') return;
      run.after(5_000, round(fault));
      if (run.writes() === 'refuse' || run.writes(2_000) !== 'allow') throw new Error('refuses');
    }),
    RUNS,
  );
  t.end();
});

t.test('a clock that jumps back prolongs nothing', (t) => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          stepMs: fc.integer({ min: 500, max: 1_000 }),
          backMs: fc.oneof({ weight: 30, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 9e6 })),
        }),
        { minLength: 60, maxLength: 120 },
      ),
      (moves) => {
        for (const begin of [new Run(), green()]) {
          // Ticks alone: what is unknown is refused 15 s on, what was green is unknown 20 s on, by the time that passed.
          let passedMs = 0;
          let hidden = 0;
          for (const { stepMs, backMs } of moves) {
            passedMs += stepMs;
            // A jump hides at most the step that it fell into.
            hidden += backMs > 0 ? stepMs : 0;
            begin.after(stepMs - backMs, tick);
            const limitMs = begin.state.state === 'unknown' && begin.state.roundAt === null ? 15_000 : 20_000;
            if (passedMs - hidden > limitMs + 1_000 && begin.writes() === 'allow') throw new Error('still allows');
            if (passedMs - hidden > 36_000 && begin.writes() !== 'refuse') throw new Error(`still ${begin.writes()}`);
          }
        }
      },
    ),
    RUNS,
  );
  const recovering = green().rounds(3, round('SLOW')).rounds(15, round('OK'), 2_000);
  recovering.after(-3_600_000, round('OK')).after(2_000, round('OK')).after(2_000, round('OK', 'OK'));
  t.equal(recovering.state.state, 'green', 'nor a recovery');
  const waiting = new Run().after(10_000, tick);
  t.same(writesUnder(waiting.state, waiting.now - 3_600_000, 0), { kind: 'hold', forMs: 5_000 }, 'nor a hold');
  t.end();
});
