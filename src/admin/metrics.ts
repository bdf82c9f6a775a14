// Counts what the parts report, and shows it to Prometheus: every series that can exist is there from the start, at 0.

import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { BreakerState } from '../core/breaker.ts';
import type {
  ActionMiss,
  Front,
  RequestResult,
  Telemetry,
  VerdictKind,
  VerdictReason,
  WriteRefusedReason,
} from '../core/telemetry.ts';
import type { RefutedReason, UnavailableReason } from '../core/verdict.ts';
import type { HealthState } from '../health/state.ts';
import type { Readings } from './status.ts';

/** The words of a union as values. As records they do not compile when the union grows and they do not. */
const words = <Word extends string>(all: Readonly<Record<Word, true>>): readonly Word[] => Object.keys(all) as Word[];

const results = words<RequestResult>({ hit: true, fill: true, miss: true });
const actionMisses = words<ActionMiss>({
  absent: true,
  unavailable: true,
  malformed: true,
  tree: true,
  inlined: true,
  suspect: true,
  missing: true,
});
const healthStates = words<HealthState>({
  unknown: true,
  green: true,
  doubtful: true,
  red: true,
  recovering: true,
  latched: true,
});
const breakerStates = words<BreakerState>({ closed: true, open: true });
const writeReasons = words<WriteRefusedReason>({
  health: true,
  quarantine: true,
  proof: true,
  conflict: true,
  busy: true,
  unavailable: true,
});
const refutedReasons = words<RefutedReason>({ hash: true, long: true, short: true, decode: true, trailing: true });
const unavailableReasons = words<UnavailableReason>({
  aborted: true,
  breaker: true,
  busy: true,
  cut: true,
  disk: true,
  empty: true,
  'first-byte': true,
  floor: true,
  idle: true,
  late: true,
  protocol: true,
  redirect: true,
  refused: true,
  short: true,
  status: true,
  unprovable: true,
});
const verdicts: Readonly<Record<VerdictKind, readonly VerdictReason[]>> = {
  proven: ['none'],
  refuted: refutedReasons,
  absent: ['none'],
  denied: ['none'],
  unavailable: unavailableReasons,
};

/** One a process: two would count their process metrics twice. */
export class Metrics implements Telemetry {
  readonly #registry = new Registry();
  readonly #requests;
  readonly #verdicts;
  readonly #transfers;
  readonly #writesRefused;
  readonly #actionResults;
  readonly #breaker;
  readonly #health;
  readonly #quarantines;
  readonly #writesHeld;
  readonly #suspectsOpen;
  readonly #storeBytes;
  readonly #fillsActive;
  readonly #spoolBytes;

  /** `fronts` are those that this house has: no series names another. */
  constructor(fronts: readonly Front[]) {
    const registers = [this.#registry];
    const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
      new Counter({ name, help, labelNames, registers });
    const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
      new Gauge({ name, help, labelNames, registers });

    this.#requests = counter(
      'cleanmiss_requests_total',
      'Reads of bodies, by how they were answered.',
      'front',
      'result',
    );
    this.#verdicts = counter('cleanmiss_verdicts_total', 'Fills, by how they ended.', 'front', 'verdict', 'reason');
    this.#transfers = counter('cleanmiss_upstream_transfers_total', 'Requests for bodies sent upstream.', 'front');
    this.#writesRefused = counter('cleanmiss_writes_refused_total', 'Writes that were refused.', 'front', 'reason');
    this.#actionResults = counter(
      'cleanmiss_action_results_total',
      'Asks for action results, by how they were answered.',
      'result',
      'reason',
    );
    this.#breaker = gauge('cleanmiss_upstream_breaker', '1 for the state that the breaker is in.', 'front', 'state');
    this.#health = gauge('cleanmiss_health_state', '1 for the state of health; none where nobody watches.', 'state');
    this.#quarantines = gauge('cleanmiss_quarantines_active', 'Standing orders to refuse writes.');
    this.#writesHeld = gauge('cleanmiss_writes_held', 'Writes that wait for health to be known.');
    this.#suspectsOpen = gauge('cleanmiss_suspects_open', 'Suspects that our store does not hold.');
    this.#storeBytes = gauge('cleanmiss_store_bytes', 'Encoded bytes in the store.');
    this.#fillsActive = gauge('cleanmiss_fills_active', 'Fills in flight.');
    this.#spoolBytes = gauge('cleanmiss_spool_bytes', 'Bytes that wait for their verdict.');
    collectDefaultMetrics({ register: this.#registry });
    for (const front of fronts) this.#prime(front);
    this.#actionResults.inc({ result: 'hit', reason: 'none' }, 0);
    for (const reason of actionMisses) this.#actionResults.inc({ result: 'miss', reason }, 0);
    for (const state of healthStates) this.#health.set({ state }, 0);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  request(front: Front, result: RequestResult): void {
    this.#requests.inc({ front, result });
  }

  verdict(front: Front, verdict: VerdictKind, reason: VerdictReason): void {
    this.#verdicts.inc({ front, verdict, reason });
  }

  transfer(front: Front): void {
    this.#transfers.inc({ front });
  }

  actionResult(answer: 'hit' | ActionMiss): void {
    this.#actionResults.inc(answer === 'hit' ? { result: 'hit', reason: 'none' } : { result: 'miss', reason: answer });
  }

  writeRefused(front: Front, reason: WriteRefusedReason): void {
    this.#writesRefused.inc({ front, reason });
  }

  /** The text that Prometheus reads, with the gauges as of now. */
  scrape(now: Readings): Promise<string> {
    this.#suspectsOpen.set(now.suspects.open);
    this.#storeBytes.set(now.store.bytes);
    this.#fillsActive.set(now.fillsActive);
    this.#spoolBytes.set(now.spoolBytes);
    this.#quarantines.set(now.guard?.orders.length ?? 0);
    this.#writesHeld.set(now.guard?.writesHeld ?? 0);
    for (const state of healthStates) this.#health.set({ state }, state === now.guard?.health?.state ? 1 : 0);
    for (const front of ['nix', 'bazel'] as const) {
      const current = now.breakers[front];
      if (current === undefined) continue;
      for (const state of breakerStates) this.#breaker.set({ front, state }, state === current ? 1 : 0);
    }
    return this.#registry.metrics();
  }

  #prime(front: Front): void {
    for (const result of results) this.#requests.inc({ front, result }, 0);
    for (const reason of writeReasons) this.#writesRefused.inc({ front, reason }, 0);
    for (const [verdict, reasons] of Object.entries(verdicts)) {
      for (const reason of reasons) this.#verdicts.inc({ front, verdict, reason }, 0);
    }
    for (const state of breakerStates) this.#breaker.set({ front, state }, 0);
    this.#transfers.inc({ front }, 0);
  }
}
