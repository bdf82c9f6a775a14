// What a build farm asks of a cache, in one mix: blobs of published sizes, sixteen calls at a time.

import type { BlobDigest } from '../src/bazel/batch-envelope.ts';
import type { Scope } from '../test/support/real/scope.ts';
import { seededNumbers } from '../test/support/seeded.ts';
import { setBazelStage } from './bazel-stage.ts';
import { publishedSizes, seededBlob } from './blobs.ts';
import { type Figure, measured } from './figure.ts';
import type { Call, NewBlob } from './grpc-client.ts';
import { actionCall, findMissingCall, readCall, runJob } from './grpc-load.ts';
import { ways } from './stage.ts';

const ROUNDS = 7;
const BLOBS = 1500;
const CALLS = 4000;
const LOAD = { kind: 'load', inFlight: 16, seconds: 1.5 } as const;
const WARM_UP_SECONDS = 8;
/** Written blobs are no larger: new ones of 10 MB in each round would fill the disk. */
const MAX_NEW_BYTES = 100_000;

/** 45 % GetActionResult, 10 % FindMissingBlobs of 20, 40 % Read, 5 % Write. */
export const bazelMixed = async (scope: Scope): Promise<Figure> => {
  const stage = await setBazelStage(scope);
  const blobs: BlobDigest[] = [];
  for (const [index, size] of publishedSizes('mixed', BLOBS).entries())
    blobs.push(await stage.put(seededBlob(`mixed ${index}`, size)));
  const next = seededNumbers('calls');
  const pick = <T>(from: readonly T[]): T => {
    const picked = from[next() % from.length];
    if (picked === undefined) throw new Error('nothing to pick from');
    return picked;
  };
  const actions: BlobDigest[] = [];
  for (let index = 0; index < 300; index++)
    actions.push(await stage.putAction(`mixed-${index}`, [pick(blobs), pick(blobs), pick(blobs)]));
  const makeCall = (): Call | NewBlob => {
    const share = next() % 100;
    if (share < 45) return actionCall(pick(actions));
    if (share < 55) return findMissingCall(Array.from({ length: 20 }, () => pick(blobs)));
    if (share < 95) return readCall(pick(blobs));
    return { newBytes: Math.min(pick(blobs).sizeBytes, MAX_NEW_BYTES) + 40 };
  };
  const calls = Array.from({ length: CALLS }, makeCall);
  for (const way of ways) await runJob(scope, stage.addresses[way], { ...LOAD, calls, seconds: WARM_UP_SECONDS });
  return await measured({ name: 'mixed load', unit: 'calls/s', rounds: ROUNDS }, async (way) => {
    const { callsPerSecond } = await runJob(scope, stage.addresses[way], { ...LOAD, calls });
    return callsPerSecond;
  });
};
