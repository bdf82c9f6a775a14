// Measures cleanmiss beside the same work done direct and by nginx: `npm run bench -- [--json] [--only NAME]…`

import { parseArgs } from 'node:util';
import type { Scope } from '../test/support/real/scope.ts';
import { bazelBuilds } from './bazel-build.ts';
import { bazelReaders, bazelReads, bazelWrites } from './bazel-large.ts';
import { bazelMixed } from './bazel-mixed.ts';
import { bazelSmall } from './bazel-small.ts';
import { bazelStalled } from './bazel-stalled.ts';
import { busyNarinfo } from './busy-narinfo.ts';
import type { Figure } from './figure.ts';
import { cold, coldBehindSlowWire, stored } from './large-nar.ts';
import { hugeNar, stalledReaders } from './memory.ts';
import { narinfos, smallBodies } from './small-requests.ts';
import { asTable } from './table.ts';

/*
 * Trust the ratios, not the numbers: every round measures all three ways within seconds of each other, and a ratio is the
 * median of its rounds' ratios. nginx is one worker, as cleanmiss is one process; nothing is pinned to a core.
 */
const figures: Readonly<Record<string, (scope: Scope) => Promise<Figure | Figure[]>>> = {
  narinfo: narinfos,
  small: smallBodies,
  cold,
  stored,
  wire: coldBehindSlowWire,
  busy: busyNarinfo,
  stalled: stalledReaders,
  huge: hugeNar,
  'bazel-small': bazelSmall,
  'bazel-read': bazelReads,
  'bazel-write': bazelWrites,
  'bazel-mixed': bazelMixed,
  'bazel-readers': bazelReaders,
  'bazel-stalled': bazelStalled,
  'bazel-build': bazelBuilds,
};

const { values: options } = parseArgs({
  options: { json: { type: 'boolean', default: false }, only: { type: 'string', multiple: true, default: [] } },
});
const names = options.only.length === 0 ? Object.keys(figures) : options.only;
const measuredFigures: Figure[] = [];
for (const name of names) {
  const measure = figures[name];
  if (measure === undefined) throw new Error(`--only ${name}: accepted: ${Object.keys(figures).join(', ')}`);
  await using opened = new AsyncDisposableStack();
  const startedAt = performance.now();
  measuredFigures.push(
    ...[await measure({ teardown: (action) => opened.defer(async () => void (await action())) })].flat(),
  );
  console.error(`${name}: ${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
}
console.log(options.json ? JSON.stringify(measuredFigures, null, 2) : asTable(measuredFigures));
