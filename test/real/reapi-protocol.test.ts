// The edges of REAPI: one table, asked of cleanmiss alone, of cleanmiss over a real bazel-remote, and of bazel-remote itself.

import { setTimeout as after } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { startBazelRemote } from '../support/bazel-remote.ts';
import { startHouse } from '../support/house.ts';
import { actions } from './reapi-protocol/actions.ts';
import { batches } from './reapi-protocol/batches.ts';
import { others } from './reapi-protocol/others.ts';
import { reads } from './reapi-protocol/reads.ts';
import { type Row, type Way, Wire, ways } from './reapi-protocol/wire.ts';
import { writes } from './reapi-protocol/writes.ts';

const rows: Readonly<Record<string, readonly Row[]>> = { reads, writes, batches, actions, others };

const open = async (scope: Test): Promise<Record<Way, Wire>> => {
  const behind = await startBazelRemote(scope);
  const itself = await startBazelRemote(scope);
  const alone = await startHouse(scope);
  const upstream = `127.0.0.1:${behind.grpcPort}`;
  const over = await startHouse(scope, {
    'bazel.upstream': `grpc://${upstream}`,
  });
  const wires = {
    alone: new Wire('alone', alone.bazel),
    over: new Wire('over', over.bazel, upstream),
    remote: new Wire('remote', `127.0.0.1:${itself.grpcPort}`),
  };
  for (const way of ways) scope.teardown(() => wires[way].close());
  return wires;
};

const ROW_MS = 30_000;
const noAnswer = async (): Promise<string> => {
  await after(ROW_MS, undefined, { ref: false });
  return `no answer within ${ROW_MS} ms`;
};

t.test('every row, on every way', async (t) => {
  const wires = await open(t);
  for (const [group, its] of Object.entries(rows)) {
    await t.test(group, async (t) => {
      for (const row of its) {
        const { reason, ask, sees, differs = {} } = row;
        const seen = await Promise.all(ways.map((way) => Promise.race([ask(wires[way]), noAnswer()])));
        for (const [index, way] of ways.entries()) {
          const { sees: expected, why } = differs[way] ?? { sees, why: 'as everywhere' };
          t.strictSame(seen[index], expected, `${way}: ${reason} (${why})`);
        }
      }
    });
  }
});
