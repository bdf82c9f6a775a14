// How often a store that is well is called red, because its answers get lost: `node bench/health-false-reds.ts [days]`

import type { Finding } from '../src/health/finding.ts';
import { initialState, step } from '../src/health/machine.ts';
import type { FaultClass, MachineState } from '../src/health/state.ts';
import { seededNumbers } from '../test/support/seeded.ts';

const DAY_MS = 86_400_000;
const PROOF_EVERY_MS = 900_000;

export interface Unluck {
  readonly days: number;
  readonly seed: string;
  /** The share of answers that get lost, each by itself. */
  readonly lost: number;
  /** Requests of one round: a list, and a HEAD, a HEAD and a GET a bucket. 1: the round as a whole fails. */
  readonly requests: number;
  /** How often each is asked before the round is bad. */
  readonly asks: number;
}

const found = (fault: FaultClass | 'OK', proof: Finding['proof']): Finding => ({
  class: fault,
  proof,
  seen: { storeId: null, canaries: [], listed: [] },
  withoutCanary: [],
});

const restMs = ({ state }: MachineState, random: () => number): number => {
  if (state === 'unknown' || state === 'doubtful') return 1_000;
  return (state === 'green' ? 5_000 : 2_000) * (0.8 + 0.4 * random());
};

/** Runs the machine itself on rounds that are as bad as chance has it. */
export const falseReds = ({ days, seed, lost, requests, asks }: Unluck): number => {
  const next = seededNumbers(seed);
  const random = () => next() / 2 ** 32;
  const isLost = (times: number): boolean => {
    for (let asked = 0; asked < times; asked++) if (random() >= lost) return false;
    return true;
  };
  const isBad = (): boolean => {
    for (let request = 0; request < requests; request++) if (isLost(asks)) return true;
    return false;
  };
  let now = 0;
  let proofAt = 0;
  let reds = 0;
  let state = initialState(now);
  while (now < days * DAY_MS) {
    now += restMs(state, random);
    const fault = isBad() ? 'BACKEND_5XX' : 'OK';
    const isProofDue =
      fault === 'OK' && (state.failedProofs > 0 || state.state === 'recovering' || now - proofAt >= PROOF_EVERY_MS);
    if (isProofDue) proofAt = now;
    let proof: Finding['proof'] = isProofDue ? 'OK' : null;
    // A PUT a bucket, asked once, and a GET, asked as often as any.
    for (let bucket = 0; isProofDue && bucket < Math.max(1, Math.floor((requests - 1) / 3)); bucket++) {
      if (isLost(1) || isLost(asks)) proof = 'BACKEND_5XX';
    }
    const { opened } = state;
    state = step(state, { kind: 'round', finding: found(fault, proof), evidence: [] }, now);
    if (state.opened > opened) reds += 1;
    if (state.state !== 'latched') continue;
    state = step(state, { kind: 'ack', id: state.incident?.id ?? '', note: '', by: '' }, now);
  }
  return reds;
};

const cases: readonly (Omit<Unluck, 'days' | 'seed'> & { readonly name: string })[] = [
  { name: 'each round fails by 1 %', lost: 0.01, requests: 1, asks: 1 },
  { name: 'each of 10 requests fails by 1 %, asked once', lost: 0.01, requests: 10, asks: 1 },
  { name: 'each of 10 requests fails by 1 %, asked twice (as built)', lost: 0.01, requests: 10, asks: 2 },
  { name: 'each of 10 requests fails by 3 %, asked twice', lost: 0.03, requests: 10, asks: 2 },
];

if (import.meta.main) {
  const days = Number(process.argv[2] ?? 1_000);
  for (const { name, ...unluck } of cases) {
    const reds = falseReds({ ...unluck, days, seed: name });
    const every = reds === 0 ? `none in ${days} days` : `one in ${(days / reds).toFixed(1)} days`;
    console.log(`${name.padEnd(60)} ${every}`);
  }
}
