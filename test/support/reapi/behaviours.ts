// How the scripted REAPI upstream misbehaves: each is a function from plan to plan, and the first few say when others apply.

import type { BlobDigest } from '../../../src/bazel/batch-envelope.ts';
import type { ActionResult } from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { skippableFrame } from '../bombs.ts';
import type { ReapiCall } from './call.ts';
import type { Plan, Where } from './plan.ts';
import { damaged } from './zstd.ts';

export type Behaviour = (plan: Plan, call: ReapiCall) => Plan;

export const when =
  (isTrue: (call: ReapiCall) => boolean, ...behaviours: readonly Behaviour[]): Behaviour =>
  (plan, call) =>
    isTrue(call) ? behaviours.reduce((changed, behave) => behave(changed, call), plan) : plan;

/** The first `count` calls after it was scripted. */
export const first = (count: number, ...behaviours: readonly Behaviour[]): Behaviour => {
  let left = count;
  return when(() => left-- > 0, ...behaviours);
};

export const once = (...behaviours: readonly Behaviour[]): Behaviour => first(1, ...behaviours);

/** All calls but the first `count`. */
export const afterFirst = (count: number, ...behaviours: readonly Behaviour[]): Behaviour => {
  let left = count;
  return when(() => left-- <= 0, ...behaviours);
};

/** As long as the flag is up; tests lower it. */
export const whileUp = (flag: { isUp: boolean }, ...behaviours: readonly Behaviour[]): Behaviour =>
  when(() => flag.isUp, ...behaviours);

/** Ends with a status. What is written `after` the last byte was kept all the same, and no one told. */
export const fail =
  (code: number, at: Where = 'before', details = 'scripted'): Behaviour =>
  (plan) => ({ ...plan, end: { at, code, details } });

/** Stops for good, or until the promise is kept: a test's way to hold a call open without a sleep. */
export const stall =
  (at: Where, until: Promise<unknown> = new Promise(() => undefined)): Behaviour =>
  (plan) => ({ ...plan, holds: [...plan.holds, { at, until }] });

/** Takes the call and never answers. */
export const hang = (): Behaviour => stall('before');

/** An even flow; in single bytes it keeps every time limit alive but a floor. */
export const drip =
  (bytesPerSecond: number, pieceBytes = 1): Behaviour =>
  (plan) => ({ ...plan, pace: { bytesPerSecond, pieceBytes } });

/** A Read in messages of this size. */
export const inPieces =
  (pieceBytes: number): Behaviour =>
  (plan) => ({ ...plan, pieceBytes });

const holding =
  (change: Plan['content']): Behaviour =>
  (plan) => ({ ...plan, content: (decoded) => change(plan.content(decoded)) });

const onWire =
  (change: Plan['wire']): Behaviour =>
  (plan) => ({ ...plan, wire: (encoded, about) => change(plan.wire(encoded, about), about) });

type Place = 'first' | 'middle' | 'last' | number;

const flipped = (bytes: Buffer, place: Place): Buffer => {
  const places = { first: 0, middle: bytes.length >> 1, last: bytes.length - 1 };
  const at = typeof place === 'number' ? place : places[place];
  const copy = Buffer.from(bytes);
  const byte = copy[at];
  if (byte !== undefined) copy[at] = byte ^ 1;
  return copy;
};

/** The blob holds one wrong byte, well encoded. Places are the blob's, also where a Read begins at an offset. */
export const flip = (place: Place): Behaviour => holding((decoded) => flipped(decoded, place));

/** The blob holds something else: by default other bytes of the same length. */
export const otherContent = (content?: Buffer): Behaviour =>
  holding((decoded) => content ?? Buffer.from(decoded.map((byte) => byte ^ 0x5a)));

/** The blob holds these bytes beyond its end. */
export const tooLong = (extra: Buffer): Behaviour => holding((decoded) => Buffer.concat([decoded, extra]));

/** One wrong byte on the wire, as encoded. */
export const flipOnWire = (place: Place): Behaviour => onWire((encoded) => flipped(encoded, place));

/** So many bytes on the wire, or so many fewer where negative, and then OK. */
export const short = (bytes: number): Behaviour => onWire((encoded) => encoded.subarray(0, bytes));

/** These follow on the wire, as they are. */
export const trailing = (bytes: Buffer): Behaviour => onWire((encoded) => Buffer.concat([encoded, bytes]));

/** A zstd body that no decoder takes to its end; identity is left alone. */
export const damagedFrame = (): Behaviour =>
  onWire((encoded, { encoding }) => (encoding === 'zstd' ? damaged(encoded) : encoded));

/** As bazel-remote in zstd mode: reads from the start, and batches, begin with the head of its stored file. */
export const skippableFirst = (content: Buffer = Buffer.alloc(37, 1)): Behaviour =>
  onWire((encoded, { encoding, offset }) =>
    encoding === 'zstd' && offset === 0 ? Buffer.concat([skippableFrame(content), encoded]) : encoded,
  );

const isAmong = (hashes: readonly string[], { hash }: BlobDigest): boolean =>
  hashes.length === 0 || hashes.includes(hash);

/** These items of a batch, or all, end with the code; of a BatchUpdate they are not kept then. Null leaves the status unset. */
export const itemStatus =
  (code: number | null, ...hashes: readonly string[]): Behaviour =>
  (plan) => ({
    ...plan,
    item: (digest, was) => (isAmong(hashes, digest) ? code : plan.item(digest, was)),
  });

/** FindMissingBlobs lies: these, or all, are missing. */
export const saysMissing =
  (...hashes: readonly string[]): Behaviour =>
  (plan) => ({
    ...plan,
    missing: (missing, asked) => {
      const honest = plan.missing(missing, asked);
      return asked.filter((one) => isAmong(hashes, one) || honest.includes(one));
    },
  });

/** FindMissingBlobs lies: these, or all, are there. */
export const saysPresent =
  (...hashes: readonly string[]): Behaviour =>
  (plan) => ({
    ...plan,
    missing: (missing, asked) => plan.missing(missing, asked).filter((one) => !isAmong(hashes, one)),
  });

/** GetActionResult gives another. */
export const otherResult =
  (change: (result: ActionResult) => ActionResult): Behaviour =>
  (plan) => ({ ...plan, result: (result) => change(plan.result(result)) });
