// Every face of a lost index that was recorded, and every mask of something else: one row each.

import t from 'tap';
import { type Answer, isPassing, type Operation, type Outcome } from '../../../src/health/answer.ts';
import { classify, classifyProof, evidenceOf } from '../../../src/health/classify.ts';
import type { BucketAnswers, Readiness, Round } from '../../../src/health/round.ts';
import type { Baseline, FaultClass, Marker } from '../../../src/health/state.ts';

type Wire = Partial<Omit<Answer, 'operation' | 'bucket'>>;

const answer = (operation: Operation, bucket: string | null, wire: Wire): Answer => ({
  operation,
  bucket,
  at: 0,
  ms: 2,
  status: 200,
  code: null,
  requestId: null,
  contentType: 'application/xml',
  asksToRetryLater: false,
  outcome: { kind: 'refused' },
  ...wire,
});

// What comes off the wire, by its name in the facts.
const well: Wire = { outcome: { kind: 'well' } };
const lists = (...buckets: string[]): Wire => ({ outcome: { kind: 'listed', buckets, isWhole: true } });
const refuses = (status: number, code: string | null = null): Wire => ({ status, code });
const notFound = refuses(404);
const noSuchBucket = refuses(404, 'NoSuchBucket');
const noSuchKey = refuses(404, 'NoSuchKey');
const accessDenied = refuses(403, 'AccessDenied');
const forbidden = refuses(403);
const error500 = refuses(500, 'InternalError');
const head500 = refuses(500);
const slowDown = refuses(503, 'SlowDownRead');
const head503 = refuses(503);
const canary = (storeId = 'ours'): Wire => ({ outcome: { kind: 'canary', storeId } });
const wrongBytes: Wire = { contentType: 'application/octet-stream', outcome: { kind: 'wrong-bytes' } };
const cut: Wire = { ...wrongBytes, code: 'ECONNRESET' };
const late: Wire = { status: null, outcome: { kind: 'late' } };
const failed = (code: string): Wire => ({ status: null, contentType: null, code, outcome: { kind: 'failed' } });
const page = (status: number): Wire => ({
  status,
  contentType: 'text/html; charset=utf-8',
  outcome: { kind: status < 300 ? 'unreadable' : 'refused' },
});
const notReadyYet: Wire = { status: 503, contentType: 'text/plain; charset=utf-8', asksToRetryLater: true };

interface Store {
  list: Wire;
  head?: Wire;
  headCanary?: Wire;
  get?: Wire;
  /** The second bucket's, where it differs. */
  other?: { head?: Wire; headCanary?: Wire; get?: Wire };
  ready?: Readiness['word'];
  markers?: Marker | [Marker, Marker];
  buckets?: string[];
}

const known: Baseline = { storeId: 'ours', canaries: ['nix', 'bazel'], listed: ['nix', 'bazel', 'tofu'] };
const never: Baseline = { storeId: null, canaries: [], listed: [] };

const roundOf = ({ list, other, ready = 'unknown', markers, buckets = ['nix', 'bazel'], ...first }: Store): Round => ({
  list: answer('list-buckets', null, list),
  buckets: buckets.map((bucket, index): BucketAnswers => {
    const own = index === 1 && other !== undefined ? other : first;
    return {
      bucket,
      head: answer('head-bucket', bucket, own.head ?? well),
      headCanary: answer('head-canary', bucket, own.headCanary ?? well),
      getCanary: answer('get-canary', bucket, own.get ?? canary()),
    };
  }),
  readiness: { word: ready, version: null, answer: null },
  markers:
    markers === undefined
      ? null
      : new Map(
          buckets.map((bucket, index) => [bucket, (Array.isArray(markers) ? markers[index] : markers) ?? 'unknown']),
        ),
});

const gone = { head: notFound, headCanary: notFound, get: noSuchBucket };
const rustfs = { head: notFound, headCanary: head500, get: noSuchBucket };
const deniedAll = (code: string, status = 403): Store => ({
  list: refuses(status, code),
  head: refuses(status),
  headCanary: refuses(status),
  get: refuses(status, code),
});
const allOf = (wire: Wire): Store => ({ list: wire, head: wire, headCanary: wire, get: wire });

const rows: { reason: string; store: Store; known?: Baseline; class: FaultClass | 'OK' }[] = [
  { reason: 'all well', store: { list: lists('nix', 'bazel', 'tofu') }, class: 'OK' },
  { reason: 'all well, on the first look', store: { list: lists('nix', 'bazel') }, known: never, class: 'OK' },
  {
    reason: 'not ready by its own word, and all well',
    store: { list: lists('nix', 'bazel'), ready: 'not-ready' },
    class: 'OK',
  },
  { reason: 'a key that may not list and sees its buckets', store: { list: accessDenied }, class: 'OK' },
  {
    reason: 'a key that is listed what it owns, and may read the rest',
    store: { list: lists('nix') },
    known: { ...known, listed: ['nix'] },
    class: 'OK',
  },
  {
    reason: 'no canary, and never one',
    store: { list: lists('nix', 'bazel'), headCanary: notFound, get: noSuchKey },
    known: never,
    class: 'OK',
  },

  // Faces of a lost index.
  {
    reason: 'RustFS: list empty, HEAD of the object 500, not ready',
    store: { list: lists(), ...rustfs, ready: 'not-ready' },
    class: 'INDEX_LOST',
  },
  { reason: 'RustFS without a look at its readiness', store: { list: lists(), ...rustfs }, class: 'INDEX_LOST' },
  {
    reason: 'RustFS, never seen well',
    store: { list: lists(), ...rustfs, ready: 'not-ready' },
    known: never,
    class: 'INDEX_LOST',
  },
  {
    reason: 'RustFS, a key that may not list',
    store: { list: accessDenied, ...rustfs, ready: 'not-ready' },
    class: 'INDEX_LOST',
  },
  { reason: 'RustFS, the list hangs', store: { list: late, ...rustfs }, class: 'INDEX_LOST' },
  {
    reason: 'RustFS, that key later on',
    store: { list: error500, head: head500, headCanary: head500, get: error500, ready: 'not-ready' },
    class: 'QUORUM',
  },
  {
    reason: 'versitygw: links removed, directories there',
    store: { list: lists(), ...gone, markers: 'present' },
    class: 'INDEX_LOST',
  },
  {
    reason: 'versitygw: links removed, no look at the drive',
    store: { list: lists(), ...gone },
    class: 'INDEX_LOST_SUSPECTED',
  },
  {
    reason: 'versitygw: links removed, the look failed',
    store: { list: lists(), ...gone, markers: 'unknown' },
    class: 'INDEX_LOST_SUSPECTED',
  },
  {
    reason: 'one link removed, its directory there',
    store: { list: lists('bazel'), ...gone, other: {}, markers: 'present' },
    class: 'INDEX_LOST',
  },
  { reason: 'two of three gone', store: { list: lists('tofu'), ...gone }, class: 'INDEX_LOST_SUSPECTED' },
  {
    reason: 'the only one expected gone, and nothing listed',
    store: { list: lists(), ...gone, buckets: ['nix'] },
    class: 'INDEX_LOST_SUSPECTED',
  },
  {
    reason: 'the list is read before any 5xx',
    store: { list: lists(), head: head503, headCanary: late, get: slowDown },
    class: 'INDEX_LOST_SUSPECTED',
  },
  {
    reason: 'one bucket lost beats another that is slow',
    store: { list: lists('bazel'), ...rustfs, other: { get: late } },
    class: 'INDEX_LOST',
  },
  {
    reason: 'MinIO, drive away: list empty, HEAD 200, objects 503',
    store: { list: lists(), head: well, headCanary: head503, get: slowDown, ready: 'not-ready' },
    class: 'VIEW_SPLIT',
  },
  {
    reason: 'the same, never seen well',
    store: { list: lists(), head: well, headCanary: head503, get: slowDown },
    known: never,
    class: 'VIEW_SPLIT',
  },
  {
    reason: 'RustFS, readdir fails: the list alone is empty',
    store: { list: lists(), ready: 'ready' },
    class: 'VIEW_SPLIT',
  },
  {
    reason: 'listed, and its HEAD says 404',
    store: { list: lists('nix', 'bazel'), head: notFound },
    class: 'VIEW_SPLIT',
  },
  {
    reason: 'listed, and a GET says no such bucket',
    store: { list: lists('nix', 'bazel'), ...gone },
    class: 'VIEW_SPLIT',
  },
  {
    reason: 's3s-fs says NoSuchKey for a lost bucket',
    store: { list: lists(), head: notFound, headCanary: notFound, get: noSuchKey },
    class: 'INDEX_LOST_SUSPECTED',
  },

  // What is really gone, or is another.
  { reason: 'one bucket deleted', store: { list: lists('bazel', 'tofu'), ...gone, other: {} }, class: 'BUCKET_ABSENT' },
  {
    reason: 'one bucket deleted, and its directory',
    store: { list: lists('bazel'), ...gone, other: {}, markers: ['absent', 'present'] },
    class: 'BUCKET_ABSENT',
  },
  {
    reason: 'one expected of many, deleted',
    store: { list: lists('tofu'), ...gone, buckets: ['nix'] },
    class: 'BUCKET_ABSENT',
  },
  {
    reason: 'RustFS on an emptied drive',
    store: { list: lists(), ...gone, ready: 'ready' },
    class: 'BACKEND_REPLACED',
  },
  {
    reason: 'another store with other buckets',
    store: { list: lists('foreign'), ...gone, ready: 'ready' },
    class: 'BACKEND_REPLACED',
  },
  {
    reason: "another store's canaries",
    store: { list: lists('nix', 'bazel'), get: canary('theirs') },
    class: 'BACKEND_REPLACED',
  },
  {
    reason: 'an empty bucket shadows the data',
    store: { list: lists('nix', 'bazel'), headCanary: notFound, get: noSuchKey },
    class: 'CANARY_LOST',
  },
  {
    reason: 'that, of a key that may not list',
    store: { list: accessDenied, headCanary: notFound, get: noSuchKey },
    class: 'CANARY_LOST',
  },
  { reason: 'canary bytes changed', store: { list: lists('nix', 'bazel'), get: wrongBytes }, class: 'BODY_BROKEN' },
  {
    reason: 'MinIO, a part flipped: the body is cut',
    store: { list: lists('nix', 'bazel'), get: cut },
    class: 'BODY_BROKEN',
  },

  // Masks of something else.
  { reason: 'wrong secret', store: deniedAll('SignatureDoesNotMatch'), class: 'CREDENTIALS' },
  { reason: 'unknown key, MinIO', store: deniedAll('InvalidAccessKeyId'), class: 'CREDENTIALS' },
  { reason: 'unknown key, versitygw: 404 for all', store: deniedAll('XAdminUserNotFound', 404), class: 'CREDENTIALS' },
  { reason: 'unknown key, s3s-fs', store: deniedAll('NotSignedUp'), class: 'CREDENTIALS' },
  {
    reason: 'unknown key, RustFS in the fault: 500, and nothing of buckets',
    store: { list: error500, head: head500, headCanary: head500, get: error500 },
    class: 'BACKEND_5XX',
  },
  { reason: 'clock skewed', store: deniedAll('RequestTimeTooSkewed'), class: 'CREDENTIALS' },
  { reason: 'no key at all', store: allOf({ status: null, outcome: { kind: 'no-key' } }), class: 'CREDENTIALS' },
  {
    reason: 'list denied and HEAD 404, and no GET that says so',
    store: { list: accessDenied, head: notFound },
    class: 'CREDENTIALS',
  },
  {
    reason: 'list without an answer and HEAD 404',
    store: { list: page(502), head: notFound, headCanary: notFound, get: page(502) },
    class: 'PROTOCOL',
  },
  {
    reason: 'a key denied its buckets',
    store: { list: accessDenied, head: forbidden, headCanary: forbidden, get: accessDenied },
    class: 'FORBIDDEN',
  },
  {
    reason: 'one bucket that the key may not see',
    store: { list: lists('nix'), other: { head: forbidden, headCanary: forbidden, get: accessDenied } },
    class: 'FORBIDDEN',
  },
  { reason: 'HTML with 200', store: { ...allOf(page(200)), head: well, headCanary: well }, class: 'PROTOCOL' },
  {
    reason: 'HTML bytes for the canary',
    store: { list: lists('nix', 'bazel'), get: { ...wrongBytes, contentType: 'text/html' } },
    class: 'PROTOCOL',
  },
  { reason: 'HTML with 404', store: allOf(page(404)), class: 'PROTOCOL' },
  { reason: 'HTML with 503', store: allOf(page(503)), class: 'PROTOCOL' },
  { reason: '404 without a code', store: { ...allOf(notFound) }, class: 'PROTOCOL' },
  { reason: 'a list without a list', store: { list: { outcome: { kind: 'unreadable' } } }, class: 'PROTOCOL' },
  { reason: '301', store: allOf(refuses(301, 'PermanentRedirect')), class: 'PROTOCOL' },
  {
    reason: 'one page of a list is no word about what is not on it',
    store: { list: { outcome: { kind: 'listed', buckets: ['a'], isWhole: false } } },
    class: 'OK',
  },
  {
    reason: 'SlowDown',
    store: { list: refuses(503, 'SlowDown'), head: head503, headCanary: head503, get: slowDown },
    class: 'BACKEND_5XX',
  },
  {
    reason: 'SlowDown, and not ready',
    store: { list: refuses(503, 'SlowDown'), head: head503, headCanary: head503, get: slowDown, ready: 'not-ready' },
    class: 'QUORUM',
  },
  { reason: 'an error within a 200', store: { list: refuses(200, 'InternalError') }, class: 'BACKEND_5XX' },
  { reason: 'too many requests', store: allOf(refuses(429)), class: 'BACKEND_5XX' },
  { reason: 'starting', store: { ...allOf(notReadyYet), ready: 'not-ready' }, class: 'STARTING' },
  { reason: 'TLS', store: allOf(failed('DEPTH_ZERO_SELF_SIGNED_CERT')), class: 'TLS' },
  { reason: 'TLS where none is spoken', store: allOf(failed('EPROTO')), class: 'TLS' },
  { reason: 'refused', store: allOf(failed('ECONNREFUSED')), class: 'UNREACHABLE' },
  { reason: 'unknown host', store: allOf(failed('ENOTFOUND')), class: 'UNREACHABLE' },
  { reason: 'reset', store: allOf(failed('ECONNRESET')), class: 'UNREACHABLE' },
  { reason: 'no HTTP', store: allOf(failed('HPE_INVALID_CONSTANT')), class: 'PROTOCOL' },
  { reason: 'a hang', store: allOf(late), class: 'SLOW' },
  { reason: 'one answer late', store: { list: lists('nix', 'bazel'), headCanary: late }, class: 'SLOW' },
];

t.test('a round', (t) => {
  for (const { reason, store, known: baseline = known, class: fault } of rows) {
    t.equal(classify(roundOf(store), baseline).class, fault, reason);
  }
  t.end();
});

t.test('what a round has seen', (t) => {
  const store: Store = { list: lists('nix', 'bazel', 'tofu'), other: { headCanary: notFound, get: noSuchKey } };
  t.match(classify(roundOf(store), never), {
    class: 'OK',
    seen: { storeId: 'ours', canaries: ['nix'], listed: ['nix', 'bazel', 'tofu'] },
    withoutCanary: ['bazel'],
  });
  t.same(classify(roundOf({ ...store, get: canary('theirs') }), known).seen.canaries, [], 'none of another store');
  t.end();
});

t.test('a write proof', (t) => {
  const proof = (put: Wire, get?: Wire) => [
    answer('put-proof', 'nix', put),
    ...(get === undefined ? [] : [answer('get-proof', 'nix', get)]),
  ];
  const outcomes: { reason: string; answers: Answer[]; class: FaultClass | 'OK' | null }[] = [
    { reason: 'none', answers: [], class: null },
    { reason: 'landed', answers: proof(well, well), class: 'OK' },
    { reason: 'hangs', answers: proof(late), class: 'SLOW' },
    { reason: 'denied', answers: proof(accessDenied), class: 'FORBIDDEN' },
    { reason: 'failed', answers: proof(error500), class: 'BACKEND_5XX' },
    { reason: 'no such bucket, which the reads saw', answers: proof(noSuchBucket), class: 'VIEW_SPLIT' },
    { reason: 'taken and not there', answers: proof(well, noSuchKey), class: 'BODY_BROKEN' },
    { reason: 'taken and other bytes', answers: proof(well, wrongBytes), class: 'BODY_BROKEN' },
  ];
  for (const { reason, answers, class: fault } of outcomes) t.equal(classifyProof(answers), fault, reason);
  t.end();
});

t.test('evidence rows', (t) => {
  const round = roundOf({ list: lists(), ...rustfs, ready: 'not-ready', markers: 'present' });
  const evidence = evidenceOf(round, [], 'INDEX_LOST');
  t.same(evidence.map(({ operation, class: fault }) => `${operation} ${fault}`).slice(0, 4), [
    'list-buckets OK',
    'head-bucket INDEX_LOST',
    'head-canary BACKEND_5XX',
    'get-canary INDEX_LOST',
  ]);
  t.match(evidence[1], { bucket: 'nix', marker: 'present', status: 404 });
  t.equal(evidence[0]?.marker, null);
  t.end();
});

t.test('what is asked once more within a round', (t) => {
  const asked: [string, Operation, Wire, boolean][] = [
    ['a reset', 'get-canary', failed('ECONNRESET'), true],
    ['a late one', 'head-bucket', late, true],
    ['a 503', 'list-buckets', slowDown, true],
    ['a cut body', 'get-canary', cut, true],
    ['wrong bytes in full length', 'get-canary', wrongBytes, false],
    ['no such bucket', 'get-canary', noSuchBucket, false],
    ['a wrong secret', 'list-buckets', refuses(403, 'SignatureDoesNotMatch'), false],
    ['a good one', 'head-bucket', well, false],
  ];
  for (const [reason, operation, wire, again] of asked)
    t.equal(isPassing(answer(operation, 'nix', wire)), again, reason);
  const outcome: Outcome = { kind: 'refused' };
  t.notOk(isPassing(answer('head-canary', 'nix', { status: 503, ...notReadyYet, outcome })), 'who is starting');
  t.end();
});
