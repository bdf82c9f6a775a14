// Large blobs over gRPC: read in both encodings, written, and read by eight at once while nobody holds them.

import { status } from '@grpc/grpc-js';
import type { BlobDigest } from '../src/bazel/batch-envelope.ts';
import type { Scope } from '../test/support/real/scope.ts';
import { decodeZstd } from '../test/support/reapi/zstd.ts';
import { ReapiClient } from '../test/support/reapi-client.ts';
import { type BazelStage, setBazelStage } from './bazel-stage.ts';
import { digestOf, seededBlob } from './blobs.ts';
import { type Figure, measured, type Target } from './figure.ts';
import { readCall, runJob } from './grpc-load.ts';
import { ways } from './stage.ts';

const MIB = 1024 * 1024;
const ROUNDS = 5;
const WRITE_BYTES = 64 * MIB;
const WRITE_ROUNDS = 5;
const READERS = 8;

const encodings = ['identity', 'zstd'] as const;
type Encoding = (typeof encodings)[number];

/** What is fast and wrong is no figure. */
const checkBytes = async (stage: BazelStage, digest: BlobDigest, encoding: Encoding): Promise<void> => {
  const client = new ReapiClient(stage.addresses.cleanmiss);
  try {
    const { code, bytes } = await client.read(digest, { encoding });
    const decoded = encoding === 'zstd' ? decodeZstd(bytes) : bytes;
    if (code !== status.OK || decoded === null || digestOf(decoded).hash !== digest.hash)
      throw new Error(`${digest.hash} as ${encoding}: other bytes than its digest names`);
  } finally {
    client.close();
  }
};

const reads: readonly { readonly mebibytes: number; readonly readers: number; readonly target: Target | null }[] = [
  { mebibytes: 1, readers: 4, target: null },
  { mebibytes: 64, readers: 1, target: { than: 'direct', atLeast: 1.2 } },
  { mebibytes: 256, readers: 1, target: { than: 'direct', atLeast: 1.2 } },
];
const ZSTD_TARGET: Target = { than: 'direct', atLeast: 0.5 };

/** From the store, in decoded MB/s; those of 1 MiB four at a time, for a second. */
export const bazelReads = async (scope: Scope): Promise<Figure[]> => {
  const stage = await setBazelStage(scope);
  const figures: Figure[] = [];
  for (const { mebibytes, readers, target } of reads) {
    const sizeBytes = mebibytes * MIB;
    const digests: BlobDigest[] = [];
    for (let index = 0; index < (readers === 1 ? 1 : 20); index++)
      digests.push(await stage.put(seededBlob(`${mebibytes} MiB ${index}`, sizeBytes)));
    for (const encoding of encodings) {
      for (const digest of digests) await checkBytes(stage, digest, encoding);
      const calls = digests.map((digest) => readCall(digest, encoding));
      const job =
        readers === 1
          ? ({ kind: 'once', calls } as const)
          : ({ kind: 'load', calls, inFlight: readers, seconds: 1 } as const);
      for (const way of ways) await runJob(scope, stage.addresses[way], job);
      const wanted = encoding === 'zstd' ? ZSTD_TARGET : target;
      const name = `Read of ${mebibytes} MiB, ${encoding}`;
      figures.push(
        await measured({ name, unit: 'MB/s', rounds: ROUNDS, ...(wanted && { target: wanted }) }, async (way) => {
          const { callsPerSecond } = await runJob(scope, stage.addresses[way], job);
          return (callsPerSecond * sizeBytes) / 1e6;
        }),
      );
    }
  }
  return figures;
};

/** A blob that nobody has, each time. */
export const bazelWrites = async (scope: Scope): Promise<Figure> => {
  const stage = await setBazelStage(scope);
  const shape = { name: 'Write of 64 MiB', unit: 'MB/s', rounds: WRITE_ROUNDS };
  return await measured(shape, async (way) => {
    const { ms } = await runJob(scope, stage.addresses[way], { kind: 'write', sizeBytes: WRITE_BYTES });
    return WRITE_BYTES / 1e3 / ms;
  });
};

const startedReads = async ({ remote }: BazelStage): Promise<number> => {
  const metrics = await (await fetch(`http://127.0.0.1:${remote.httpPort}/metrics`)).text();
  return Number(/^grpc_server_started_total\{.*grpc_method="Read".*\} (\d+)$/m.exec(metrics)?.[1]);
};

/** A cold blob of 64 MiB for each round. */
export const bazelReaders = async (scope: Scope): Promise<Figure[]> => {
  const stage = await setBazelStage(scope);
  const digests: BlobDigest[] = [];
  for (let round = 0; round < WRITE_ROUNDS; round++)
    digests.push(await stage.put(seededBlob(`readers ${round}`, 64 * MIB)));
  const seconds: Record<string, number> = {};
  const shape = {
    name: `Reads upstream, ${READERS} readers of a cold blob`,
    unit: 'reads',
    rounds: WRITE_ROUNDS,
    target: { than: 'nothing', atMost: 1 },
  } as const;
  const transfers = await measured(shape, async (way, round) => {
    const [digest] = digests.slice(round);
    if (digest === undefined) throw new Error('a blob for each round');
    const before = await startedReads(stage);
    const calls = Array.from({ length: READERS }, () => readCall(digest));
    const { ms } = await runJob(scope, stage.addresses[way], { kind: 'once', calls });
    seconds[`${way} ${round}`] = ms / 1000;
    return (await startedReads(stage)) - before;
  });
  const time = await measured(
    { name: `seconds for ${READERS} readers of a cold 64 MiB`, unit: 's', rounds: WRITE_ROUNDS },
    async (way, round) => seconds[`${way} ${round}`] ?? Number.NaN,
  );
  return [transfers, time];
};
