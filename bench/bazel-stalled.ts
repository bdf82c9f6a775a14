// Memory for readers of large blobs that do not read.

import { setTimeout as after } from 'node:timers/promises';
import type { Scope } from '../test/support/real/scope.ts';
import { setBazelStage } from './bazel-stage.ts';
import { seededBlob } from './blobs.ts';
import type { Figure } from './figure.ts';
import type { Call } from './grpc-client.ts';
import { readCall, runJob, stallCalls } from './grpc-load.ts';
import { memoryOf } from './memory.ts';

const READERS = 64;
const BLOBS = 4;
const SIZE_BYTES = 256 * 1024 * 1024;
/** Windows of 1 MiB are full in ms; what follows is watched for so long. */
const WATCH_MS = 5_000;

/** Eight connections of eight readers each, of blobs that are stored, and of one that is being fetched meanwhile. */
export const bazelStalled = async (scope: Scope): Promise<Figure> => {
  const stage = await setBazelStage(scope);
  const { pid } = stage.house;
  const calls: Call[] = [];
  for (let index = 0; index < BLOBS; index++)
    calls.push(readCall(await stage.put(seededBlob(`stalled ${index}`, SIZE_BYTES))));
  for (const call of calls.slice(1)) await runJob(scope, stage.addresses.cleanmiss, { kind: 'once', calls: [call] });
  await after(1_000);
  const idle = await memoryOf(pid, 'VmRSS');
  let most = idle;
  const readers = Array.from({ length: READERS }, (_, index) => calls[index % BLOBS]).filter(
    (call) => call !== undefined,
  );
  await stallCalls(scope, stage.addresses.cleanmiss, readers);
  for (let waited = 0; waited < WATCH_MS; waited += 50) {
    await after(50);
    most = Math.max(most, await memoryOf(pid, 'VmRSS'));
  }
  return {
    name: `memory, ${READERS} stalled readers of 256 MiB`,
    unit: 'MB more',
    values: { cleanmiss: most - idle },
    ratios: {},
    target: { than: 'nothing', atMost: 200 },
  };
};
