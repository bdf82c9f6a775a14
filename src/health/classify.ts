// From a round's raw answers to its class: what the list and a signed GET say of the buckets goes before any 5xx.

import { type Answer, type Said, said } from './answer.ts';
import type { Finding } from './finding.ts';
import type { BucketAnswers, Round } from './round.ts';
import type { Baseline, EvidenceRow, FaultClass } from './state.ts';

/** The worst first. */
const definiteOrder: readonly FaultClass[] = [
  'BACKEND_REPLACED',
  'INDEX_LOST',
  'INDEX_LOST_SUSPECTED',
  'BUCKET_ABSENT',
  'CANARY_LOST',
  'VIEW_SPLIT',
  'BODY_BROKEN',
];

/** That which explains the others first: a wrong secret makes 403s, a proxy's page makes 404s. */
const ambiguousOrder: readonly FaultClass[] = [
  'TLS',
  'CREDENTIALS',
  'UNREACHABLE',
  'STARTING',
  'PROTOCOL',
  'FORBIDDEN',
  'BACKEND_5XX',
  'SLOW',
];

/** null: the list does not tell. */
const isListed = (list: Answer, bucket: string): boolean | null => {
  if (list.outcome.kind !== 'listed') return null;
  if (list.outcome.buckets.includes(bucket)) return true;
  return list.outcome.isWhole ? false : null;
};

/** Its canary, right to the last byte; by which store, the baseline judges. */
const namedStore = ({ getCanary }: BucketAnswers): string | null =>
  getCanary.outcome.kind === 'canary' ? getCanary.outcome.storeId : null;

/**
 * The API knows no such bucket. A HEAD's 404 alone never says so: servers give it to unknown keys as well, and proxies
 * to anything.
 */
const isAbsent = (round: Round, one: BucketAnswers, known: Baseline): boolean => {
  if (said(one.getCanary) === 'NO_BUCKET') return true;
  if (isListed(round.list, one.bucket) !== false) return false;
  // Some servers list for a key only what it owns.
  const wasEverListed = known.listed.includes(one.bucket);
  const isHidden = said(one.head) === 'FORBIDDEN' && said(one.getCanary) === 'FORBIDDEN';
  return !isHidden && (wasEverListed || namedStore(one) === null);
};

/** No bucket is left of those that the store is known for. */
const isEverythingGone = (round: Round, absent: number, known: Baseline): boolean => {
  if (absent < round.buckets.length) return false;
  if (round.list.outcome.kind !== 'listed') return true;
  const { buckets } = round.list.outcome;
  return known.listed.length === 0 ? buckets.length === 0 : !buckets.some((name) => known.listed.includes(name));
};

const absence = (round: Round, one: BucketAnswers, absent: number, known: Baseline): FaultClass => {
  const isHere = said(one.head) === 'OK' || namedStore(one) !== null || isListed(round.list, one.bucket) === true;
  if (isHere) return 'VIEW_SPLIT';
  const marker = round.markers?.get(one.bucket) ?? 'unknown';
  const readiness = round.readiness.word;
  // RustFS's HEAD of an object does not look at the bucket first: 500 where the drive is gone, 404 where the data are.
  const canary = said(one.headCanary);
  if (marker === 'present' || canary === 'BACKEND_5XX' || readiness === 'not-ready') return 'INDEX_LOST';
  const isAll = isEverythingGone(round, absent, known);
  if (isAll && canary === 'NO_KEY' && readiness === 'ready') return 'BACKEND_REPLACED';
  if (marker === 'absent') return 'BUCKET_ABSENT';
  return isAll || absent > 1 ? 'INDEX_LOST_SUSPECTED' : 'BUCKET_ABSENT';
};

/** Of a bucket that the API knows. */
const content = (round: Round, one: BucketAnswers, known: Baseline): FaultClass | 'OK' => {
  const word = said(one.getCanary);
  // Where the list is none, it is no S3 server whose bytes these are.
  if (word === 'BODY_BROKEN') return said(round.list) === 'PROTOCOL' ? 'OK' : 'BODY_BROKEN';
  if (isListed(round.list, one.bucket) === true && said(one.head) === 'NO_BUCKET') return 'VIEW_SPLIT';
  if (word === 'NO_KEY') return known.canaries.includes(one.bucket) ? 'CANARY_LOST' : 'OK';
  const storeId = namedStore(one);
  return storeId !== null && known.storeId !== null && storeId !== known.storeId ? 'BACKEND_REPLACED' : 'OK';
};

const firstOf = (order: readonly FaultClass[], words: ReadonlySet<Said>): FaultClass | undefined =>
  order.find((fault) => words.has(fault));

/** The network's doing, the configuration's, or a server in trouble. */
const ambiguous = (round: Round): FaultClass | 'OK' => {
  const words = new Set<Said>(round.buckets.flatMap((one) => [one.head, one.headCanary, one.getCanary].map(said)));
  const list = said(round.list);
  // A key need not be allowed to list, as long as it sees all its buckets.
  if (list !== 'FORBIDDEN') words.add(list);
  const worst = firstOf(ambiguousOrder, words);
  if (worst === 'BACKEND_5XX' && round.readiness.word === 'not-ready') return 'QUORUM';
  if (worst !== undefined) return worst;
  // The list says nothing, and a HEAD finds no bucket: the key's doing, or a proxy's.
  const isBlind = list !== 'OK' && round.buckets.some((one) => said(one.head) === 'NO_BUCKET');
  if (isBlind) return list === 'FORBIDDEN' ? 'CREDENTIALS' : 'PROTOCOL';
  return 'OK';
};

export const classify = (round: Round, known: Baseline): Finding => {
  const absent = round.buckets.filter((one) => isAbsent(round, one, known));
  const verdicts = new Set<Said>(
    round.buckets.map((one) =>
      absent.includes(one) ? absence(round, one, absent.length, known) : content(round, one, known),
    ),
  );
  const whole = round.buckets.filter((one) => namedStore(one) === (known.storeId ?? namedStore(one)));
  return {
    class: firstOf(definiteOrder, verdicts) ?? ambiguous(round),
    proof: null,
    seen: {
      storeId: whole.map(namedStore).find((storeId) => storeId !== null) ?? null,
      canaries: whole.filter((one) => namedStore(one) !== null).map((one) => one.bucket),
      listed: round.list.outcome.kind === 'listed' ? round.list.outcome.buckets : [],
    },
    withoutCanary: round.buckets
      .filter((one) => said(one.getCanary) === 'NO_KEY' && !known.canaries.includes(one.bucket))
      .map((one) => one.bucket),
  };
};

/** A write proof's class; null: none was tried. What was written and is not found was not written. */
export const classifyProof = (answers: readonly Answer[]): FaultClass | 'OK' | null => {
  const words = answers.map(said);
  const bad = words.find((word) => word !== 'OK');
  if (bad === undefined) return words.length === 0 ? null : 'OK';
  if (bad === 'NO_BUCKET') return 'VIEW_SPLIT';
  return bad === 'NO_KEY' ? 'BODY_BROKEN' : bad;
};

/** What only the round can tell of an answer that misses something, or of a server that knows its drives are gone. */
const classIn = (fault: FaultClass | 'OK', word: Said): FaultClass | 'OK' => {
  if (word === 'NO_BUCKET' || word === 'NO_KEY') return fault;
  return word === 'BACKEND_5XX' && fault === 'QUORUM' ? fault : word;
};

/** The rows of a round, in the order asked. */
export const evidenceOf = (round: Round, proof: readonly Answer[], fault: FaultClass | 'OK'): EvidenceRow[] => {
  const answers = [
    round.list,
    ...round.buckets.flatMap((one) => [one.head, one.headCanary, one.getCanary]),
    ...(round.readiness.answer === null ? [] : [round.readiness.answer]),
    ...proof,
  ];
  return answers.map((answer) => ({
    at: answer.at,
    bucket: answer.bucket,
    operation: answer.operation,
    class: classIn(fault, said(answer)),
    status: answer.status,
    code: answer.code,
    requestId: answer.requestId,
    ms: Math.round(answer.ms),
    serverVersion: round.readiness.version,
    marker: answer.bucket === null ? null : (round.markers?.get(answer.bucket) ?? null),
  }));
};
