// gRPC calls of a client process of its own: what each is, and how it is started.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { BlobDigest } from '../src/bazel/batch-envelope.ts';
import {
  BatchReadBlobsRequestSchema,
  FindMissingBlobsRequestSchema,
  GetActionResultRequestSchema,
} from '../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { ReadRequestSchema } from '../src/bazel/generated/google/bytestream/bytestream_pb.ts';
import { runProgram, startProgram } from '../test/support/real/program.ts';
import { type Scope, temporaryDirectory } from '../test/support/real/scope.ts';
import type { Call, Job, JobResult } from './grpc-client.ts';

const client = fileURLToPath(new URL('grpc-client.ts', import.meta.url));
const REAPI = '/build.bazel.remote.execution.v2';

const call = <Schema extends DescMessage>(
  path: string,
  schema: Schema,
  request: MessageInitShape<Schema>,
  minBytes: number,
): Call => ({ path, message: Buffer.from(toBinary(schema, create(schema, request))).toString('base64'), minBytes });

const wireDigest = ({ hash, sizeBytes }: BlobDigest) => ({ hash, sizeBytes: BigInt(sizeBytes) });

export const readCall = ({ hash, sizeBytes }: BlobDigest, encoding: 'identity' | 'zstd' = 'identity'): Call => {
  const path = encoding === 'zstd' ? 'compressed-blobs/zstd' : 'blobs';
  const minBytes = encoding === 'zstd' ? 1 : sizeBytes;
  const request = { resourceName: `${path}/${hash}/${sizeBytes}` };
  return call('/google.bytestream.ByteStream/Read', ReadRequestSchema, request, minBytes);
};

export const batchReadCall = (digest: BlobDigest): Call => {
  const path = `${REAPI}.ContentAddressableStorage/BatchReadBlobs`;
  return call(path, BatchReadBlobsRequestSchema, { digests: [wireDigest(digest)] }, digest.sizeBytes);
};

export const findMissingCall = (digests: readonly BlobDigest[]): Call => {
  const path = `${REAPI}.ContentAddressableStorage/FindMissingBlobs`;
  return call(path, FindMissingBlobsRequestSchema, { blobDigests: digests.map(wireDigest) }, 0);
};

/** Of a result that names three blobs, 80 bytes each. */
export const actionCall = (action: BlobDigest): Call =>
  call(`${REAPI}.ActionCache/GetActionResult`, GetActionResultRequestSchema, { actionDigest: wireDigest(action) }, 200);

const fileOf = async (scope: Scope, address: string, job: Job): Promise<string> => {
  const file = join(await temporaryDirectory(scope, 'job'), 'job.json');
  await writeFile(file, JSON.stringify({ address, job }));
  return file;
};

/** Rejects unless every call was answered whole. */
export const runJob = async (scope: Scope, address: string, job: Job): Promise<JobResult> => {
  const { code, stdout, stderr } = await runProgram(process.execPath, [client, await fileOf(scope, address, job)], {
    env: {},
  });
  if (code !== 0) throw new Error(`${job.kind} at ${address}: ${stderr}`);
  return JSON.parse(stdout);
};

/** Until the scope ends. */
export const stallCalls = async (scope: Scope, address: string, calls: readonly Call[]): Promise<void> => {
  const job: Job = { kind: 'stall', calls, connections: 8 };
  const { kill } = startProgram(process.execPath, [client, await fileOf(scope, address, job)], { env: {} });
  scope.teardown(kill);
};
