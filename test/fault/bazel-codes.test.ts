// Every status of an upstream, before the first byte, in the middle and behind the last, to every call of the Bazel front.

import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { ActionResultSchema } from '../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { fail } from '../support/reapi/behaviours.ts';
import { digestOf } from '../support/reapi/cache.ts';
import type { ReapiMethod } from '../support/reapi/call.ts';
import type { Where } from '../support/reapi/plan.ts';
import { encodeLikeBazelRemote } from '../support/reapi/zstd.ts';
import { type ReapiRig, startRig } from '../support/reapi-rig.ts';
import { checkRead, ENCODINGS, type Encoding } from '../support/reapi-verdict.ts';
import { seededBytes } from '../support/seeded.ts';

type Place = 'before' | 'in the middle' | 'after';

const PLACES: readonly Place[] = ['before', 'in the middle', 'after'];
const CODES = Object.values(status).filter((code): code is status => typeof code === 'number' && code !== status.OK);
const DENIALS: readonly number[] = [status.UNAUTHENTICATED, status.PERMISSION_DENIED];
/** Each stands for others: what a follower is told differs by them alone, and 1.5 MB cost more than all else here. */
const FOLLOWED_TOO: readonly status[] = [
  status.INTERNAL,
  status.UNAVAILABLE,
  status.NOT_FOUND,
  status.PERMISSION_DENIED,
];
const SENTENCE = /^cleanmiss: the cache behind cannot take writes now/;
const SMALL = 20_000;
const FOLLOWED = 1_500_000;

/** What is named by nobody else: a script's own. */
let made = 0;
const smallBytes = (): Buffer => seededBytes(`code ${made++}`, SMALL);
/** The same for every code: encoding it costs more than all else. */
const large = Object.fromEntries(
  ENCODINGS.flatMap((encoding) =>
    PLACES.map((place) => [`${encoding} ${place}`, seededBytes(encoding + place, FOLLOWED)]),
  ),
);
const encoded = (bytes: Buffer, encoding: Encoding): Buffer =>
  encoding === 'zstd' ? encodeLikeBazelRemote(bytes) : bytes;

interface Cell {
  readonly t: Test;
  readonly rig: ReapiRig;
  readonly code: status;
  readonly place: Place;
  readonly encoding: Encoding;
  readonly name: string;
}

/** Of a message that is sent: far enough from its end that it is not understood yet. */
const sent = (place: Place): Where => (place === 'in the middle' ? -1 : place);
const scripted = ({ rig, code }: Cell, method: ReapiMethod, hash: string, at: Where): void =>
  rig.upstream.script({ method, hash }, fail(code, at, 'a word of the upstream'));

const checkRefused = ({ t, code, name }: Cell, answer: { code: number; details: string }, otherwise: number): void => {
  const expected = DENIALS.includes(code) ? code : otherwise;
  t.equal(answer.code, expected, `${name}: ${status[expected]}`);
  if (expected === status.FAILED_PRECONDITION) t.match(answer.details, SENTENCE, `${name}: the sentence`);
  if (DENIALS.includes(code)) t.equal(answer.details, 'a word of the upstream', `${name}: and its word`);
};

const read = async (cell: Cell, bytes: Buffer): Promise<void> => {
  const { t, rig, code, place, encoding } = cell;
  const digest = rig.upstream.cache.add(bytes);
  // A fifth from the end: some of what is followed has left by then.
  scripted(cell, 'Read', digest.hash, place === 'in the middle' ? -Math.floor(bytes.length / 5) : place);
  const answer = await rig.client.read(digest, { encoding });
  const isDenied = DENIALS.includes(code) && answer.bytes.length === 0 && answer.code === code;
  // Once a byte has left there is but one way to end.
  const expected =
    place === 'after' ? 'bytes' : isDenied || (place === 'before' && DENIALS.includes(code)) ? code : 'miss';
  await checkRead(t, answer, bytes, { encoding, expected, name: `${cell.name} ${bytes.length}` });
};

const CALLS: Record<string, (cell: Cell) => Promise<void>> = {
  Read: (cell) => read(cell, smallBytes()),
  'Read, followed': (cell) => read(cell, large[`${cell.encoding} ${cell.place}`] ?? smallBytes()),

  async BatchReadBlobs(cell) {
    const { t, rig, code, place, encoding, name } = cell;
    const [wrong, right] = [smallBytes(), smallBytes()];
    const [bad, good] = [rig.upstream.cache.add(wrong), rig.upstream.cache.add(right)];
    scripted(cell, 'Read', bad.hash, place === 'in the middle' ? -4_000 : place);
    const answer = await rig.client.batchRead([bad, good], { encoding });
    if (DENIALS.includes(code) && answer.code !== status.OK) return checkRefused(cell, answer, status.NOT_FOUND);
    t.equal(answer.code, status.OK, `${name}: the call is fine`);
    const [first, second] = answer.response?.responses ?? [];
    const expected = place === 'after' ? status.OK : status.NOT_FOUND;
    t.equal(first?.status?.code ?? status.OK, expected, `${name}: ${status[expected]}`);
    if (expected !== status.OK) t.equal(first?.data.length, 0, `${name}: no bytes of it`);
    t.equal(second?.status?.code ?? status.OK, status.OK, `${name}: the other one is there`);
  },

  async GetActionResult(cell) {
    const { rig, place } = cell;
    const action = digestOf(smallBytes());
    rig.upstream.cache.addResult(action.hash, { stdoutRaw: Buffer.from('said') });
    scripted(cell, 'GetActionResult', action.hash, sent(place));
    checkRefused(cell, await rig.client.getActionResult(action), status.NOT_FOUND);
  },

  async FindMissingBlobs(cell) {
    const { rig, place } = cell;
    const digest = digestOf(smallBytes());
    scripted(cell, 'FindMissingBlobs', digest.hash, sent(place));
    checkRefused(cell, await rig.client.findMissing([digest]), status.FAILED_PRECONDITION);
  },

  async Write(cell) {
    const { rig, place, encoding } = cell;
    const bytes = smallBytes();
    const digest = digestOf(bytes);
    const data = encoded(bytes, encoding);
    scripted(cell, 'Write', digest.hash, place === 'in the middle' ? data.length - 100 : place);
    const pieces = [data.subarray(0, 5_000), data.subarray(5_000)];
    checkRefused(cell, await rig.client.write(digest, pieces, { encoding }), status.FAILED_PRECONDITION);
  },

  async BatchUpdateBlobs(cell) {
    const { rig, place, encoding } = cell;
    const bytes = smallBytes();
    const digest = digestOf(bytes);
    scripted(cell, 'BatchUpdateBlobs', digest.hash, sent(place));
    const item = { digest, data: encoded(bytes, encoding), compressor: encoding === 'zstd' ? 1 : 0 };
    checkRefused(cell, await rig.client.batchUpdate([item]), status.FAILED_PRECONDITION);
  },

  async UpdateActionResult(cell) {
    const { rig, place } = cell;
    const action = digestOf(smallBytes());
    scripted(cell, 'UpdateActionResult', action.hash, sent(place));
    const result = create(ActionResultSchema, { stdoutRaw: Buffer.from('said') });
    checkRefused(cell, await rig.client.updateActionResult(action, result), status.FAILED_PRECONDITION);
  },
};
/** Their messages are the same in both. */
const PLAIN = ['GetActionResult', 'FindMissingBlobs', 'UpdateActionResult'];

const encodingsOf = (method: string, code: status): readonly Encoding[] => {
  if (method === 'Read, followed' && !FOLLOWED_TOO.includes(code)) return [];
  return PLAIN.includes(method) ? ['identity'] : ENCODINGS;
};

refuseLeaks(t);
// Most of the time is spent between tries to go on with what broke off.
t.jobs = 8;

for (const code of CODES)
  t.test(status[code], { buffered: true }, async (t) => {
    const rig = await startRig(t, { 'fills.perClient': '64' });
    // So that who may read is known, and that the upstream speaks zstd, whatever else is refused from now on.
    t.equal((await rig.client.findMissing([])).code, status.OK);
    t.equal((await rig.client.read(rig.upstream.cache.add(smallBytes()))).code, status.OK);
    await Promise.all(
      Object.entries(CALLS).flatMap(([method, call]) =>
        encodingsOf(method, code).flatMap((encoding) =>
          PLACES.map((place) => call({ t, rig, code, place, encoding, name: `${method} ${encoding} ${place}` })),
        ),
      ),
    );
    await rig.end();
  });
