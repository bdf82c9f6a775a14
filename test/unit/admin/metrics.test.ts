// Metrics: every series is there before anything happened, and counts what is reported.

import t from 'tap';
import { Metrics } from '../../../src/admin/metrics.ts';
import type { Readings } from '../../../src/admin/status.ts';

const idle: Readings = {
  store: { bytes: 0, maxBytes: 10, objects: 0 },
  fillsActive: 0,
  spoolBytes: 0,
  suspects: { open: 0, held: 0 },
  breakers: {},
  redirectsRefused: [],
};

/** `name{labels}` and value of every line of ours. */
const series = async (metrics: Metrics, readings = idle) => {
  const lines = (await metrics.scrape(readings)).split('\n').filter((line) => line.startsWith('cleanmiss_'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
};

t.test('primed at 0', async (t) => {
  const found = await series(new Metrics(['nix']));
  t.strictSame(new Set(found.values()), new Set([0]));
  for (const name of [
    'cleanmiss_requests_total{front="nix",result="fill"}',
    'cleanmiss_verdicts_total{front="nix",verdict="proven",reason="none"}',
    'cleanmiss_verdicts_total{front="nix",verdict="refuted",reason="hash"}',
    'cleanmiss_verdicts_total{front="nix",verdict="absent",reason="none"}',
    'cleanmiss_verdicts_total{front="nix",verdict="unavailable",reason="first-byte"}',
    'cleanmiss_upstream_transfers_total{front="nix"}',
    'cleanmiss_writes_refused_total{front="nix",reason="quarantine"}',
    'cleanmiss_upstream_breaker{front="nix",state="open"}',
    'cleanmiss_suspects_open',
    'cleanmiss_store_bytes',
    'cleanmiss_fills_active',
    'cleanmiss_spool_bytes',
  ]) {
    t.ok(found.has(name), name);
  }
  t.notOk(
    [...found.keys()].some((name) => name.includes('bazel')),
    'a front that is not there has no series',
  );
});

t.test('counts', async (t) => {
  const metrics = new Metrics(['nix', 'bazel']);
  metrics.request('nix', 'hit');
  metrics.request('nix', 'hit');
  metrics.verdict('bazel', 'refuted', 'long');
  metrics.transfer('nix');
  metrics.writeRefused('bazel', 'health');
  const counted = [...(await series(metrics))].filter(([, value]) => value > 0);
  t.strictSame(counted, [
    ['cleanmiss_requests_total{front="nix",result="hit"}', 2],
    ['cleanmiss_verdicts_total{front="bazel",verdict="refuted",reason="long"}', 1],
    ['cleanmiss_upstream_transfers_total{front="nix"}', 1],
    ['cleanmiss_writes_refused_total{front="bazel",reason="health"}', 1],
  ]);
});

t.test('gauges are of the moment', async (t) => {
  const metrics = new Metrics(['nix']);
  const busy: Readings = {
    ...idle,
    fillsActive: 3,
    spoolBytes: 7,
    suspects: { open: 2, held: 9 },
    breakers: { nix: 'open' },
  };
  const first = await series(metrics, busy);
  t.equal(first.get('cleanmiss_fills_active'), 3);
  t.equal(first.get('cleanmiss_spool_bytes'), 7);
  t.equal(first.get('cleanmiss_suspects_open'), 2);
  t.equal(first.get('cleanmiss_upstream_breaker{front="nix",state="open"}'), 1);
  t.equal(first.get('cleanmiss_upstream_breaker{front="nix",state="closed"}'), 0);
  const then = await series(metrics, { ...idle, breakers: { nix: 'closed' } });
  t.equal(then.get('cleanmiss_fills_active'), 0);
  t.equal(then.get('cleanmiss_upstream_breaker{front="nix",state="open"}'), 0);
  t.equal(then.get('cleanmiss_upstream_breaker{front="nix",state="closed"}'), 1);
});

t.test('the process is measured too, and two registries do not meet', async (t) => {
  t.match(await new Metrics(['nix']).scrape(idle), 'process_cpu_seconds_total');
  t.match(await new Metrics(['nix']).scrape(idle), 'process_cpu_seconds_total');
});
