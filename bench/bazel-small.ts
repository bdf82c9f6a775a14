// Small calls a second: what Bazel asks for most, sixteen at a time.

import type { BlobDigest } from '../src/bazel/batch-envelope.ts';
import type { Scope } from '../test/support/real/scope.ts';
import { setBazelStage } from './bazel-stage.ts';
import { seededBlob } from './blobs.ts';
import { type Figure, measured } from './figure.ts';
import type { Call } from './grpc-client.ts';
import { actionCall, batchReadCall, findMissingCall, runJob } from './grpc-load.ts';
import { ways } from './stage.ts';

const ROUNDS = 9;
const COUNT = 400;
const IN_FLIGHT = 16;
const TARGET = { than: 'direct', atLeast: 0.35 } as const;
const SECONDS = 1;
/** Until the store holds all of them and the compiler has seen enough. */
const WARM_UP_SECONDS = 4;

export const bazelSmall = async (scope: Scope): Promise<Figure[]> => {
  const stage = await setBazelStage(scope);
  const digests: BlobDigest[] = [];
  const actions: BlobDigest[] = [];
  for (let index = 0; index < COUNT; index++) digests.push(await stage.put(seededBlob(`small ${index}`, 1024)));
  for (let index = 0; index < COUNT; index++)
    actions.push(
      await stage.putAction(
        `action-${index}`,
        [0, 1, 2].map((n) => digests[(index + n) % COUNT] ?? never()),
      ),
    );
  const loads: readonly { readonly name: string; readonly calls: readonly Call[] }[] = [
    { name: 'BatchReadBlobs of 1 KiB', calls: digests.map(batchReadCall) },
    { name: 'GetActionResult, 3 blobs', calls: actions.map(actionCall) },
    {
      name: 'FindMissingBlobs of 100',
      calls: digests.map((_, at) => findMissingCall([...digests, ...digests].slice(at, at + 100))),
    },
  ];
  const figures: Figure[] = [];
  for (const { name, calls } of loads) {
    const load = (seconds: number) => ({ kind: 'load', calls, inFlight: IN_FLIGHT, seconds }) as const;
    for (const way of ways) await runJob(scope, stage.addresses[way], load(WARM_UP_SECONDS));
    figures.push(
      await measured({ name, unit: 'calls/s', rounds: ROUNDS, target: TARGET }, async (way) => {
        const { callsPerSecond } = await runJob(scope, stage.addresses[way], load(SECONDS));
        return callsPerSecond;
      }),
    );
  }
  return figures;
};

const never = (): never => {
  throw new Error('every action names blobs that are there');
};
