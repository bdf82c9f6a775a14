// A real bazel-remote, and the three ways to it: direct, through nginx's `grpc_pass`, through cleanmiss.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import type { BlobDigest } from '../src/bazel/batch-envelope.ts';
import { ActionResultSchema } from '../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { type BazelRemote, startBazelRemote } from '../test/support/bazel-remote.ts';
import { freePort } from '../test/support/free-port.ts';
import { type Cleanmiss, startCleanmiss } from '../test/support/real/cleanmiss.ts';
import { fetched } from '../test/support/real/program.ts';
import { type Scope, temporaryDirectory } from '../test/support/real/scope.ts';
import { ReapiClient } from '../test/support/reapi-client.ts';
import { RestartableServer } from '../test/support/restartable-server.ts';
import { digestOf, seededBlob } from './blobs.ts';
import type { Way } from './stage.ts';

export interface BazelStage {
  /** `host:port` of each way. */
  readonly addresses: Readonly<Record<Way, string>>;
  readonly remote: BazelRemote;
  readonly house: Cleanmiss;
  /** Lies there from now on, in bazel-remote alone. */
  put(bytes: Buffer): Promise<BlobDigest>;
  /** An action result that names three blobs. */
  putAction(name: string, blobs: readonly BlobDigest[]): Promise<BlobDigest>;
  /** Another cleanmiss, which holds nothing. */
  freshHouse(): Promise<{ readonly house: Cleanmiss; readonly address: string }>;
}

// One process, no master, as cleanmiss is one; the second listener is there to be asked whether it is up.
const configuration = (port: number, readyPort: number, upstream: string): string => `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path temp-body; proxy_temp_path temp-proxy; fastcgi_temp_path temp-f; uwsgi_temp_path temp-u; scgi_temp_path temp-s;
  upstream behind { server ${upstream}; keepalive 64; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${readyPort}; location / { return 204; } }
  server {
    listen 127.0.0.1:${port} http2;
    http2_max_concurrent_streams 1000;
    http2_chunk_size 64k;
    client_max_body_size 0;
    location / { grpc_pass grpc://behind; grpc_buffer_size 64k; grpc_read_timeout 600s; grpc_send_timeout 600s; }
  }
}
`;

const startGrpcPass = async (scope: Scope, upstream: string): Promise<string> => {
  const directory = await temporaryDirectory(scope, 'nginx');
  const [port, readyPort] = [await freePort(), await freePort()];
  await writeFile(join(directory, 'nginx.conf'), configuration(port, readyPort, upstream));
  const server = new RestartableServer(scope, {
    program: fetched('nginx/usr/sbin/nginx'),
    args: ['-e', 'stderr', '-p', directory, '-c', join(directory, 'nginx.conf')],
    readyUrl: `http://127.0.0.1:${readyPort}/`,
    isReady: (code) => code === 204,
  });
  await server.start();
  return `127.0.0.1:${port}`;
};

const startFront = async (
  scope: Scope,
  upstream: string,
  flags: Readonly<Record<string, string>> = {},
  dir?: string,
) => {
  const address = `127.0.0.1:${await freePort()}`;
  const all = { 'bazel.listen': address, 'bazel.upstream': `grpc://${upstream}`, ...flags };
  return { house: await startCleanmiss(scope, all, dir), address };
};

export interface BazelStageOptions {
  /** For `cleanmiss serve`. */
  readonly flags?: Readonly<Record<string, string>>;
}

export const setBazelStage = async (scope: Scope, { flags = {} }: BazelStageOptions = {}): Promise<BazelStage> => {
  const remote = await startBazelRemote(scope, { flags: ['--access_log_level', 'none'] });
  const direct = `127.0.0.1:${remote.grpcPort}`;
  const proxied = await startGrpcPass(scope, direct);
  const { house, address } = await startFront(scope, direct, flags);
  const client = new ReapiClient(direct);
  scope.teardown(() => client.close());
  const succeed = ({ code, details }: { readonly code: number; readonly details: string }) => {
    if (code !== status.OK) throw new Error(details);
  };
  return {
    addresses: { direct, proxied, cleanmiss: address },
    remote,
    house,
    async put(bytes) {
      const digest = digestOf(bytes);
      const pieces: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += 1024 * 1024) pieces.push(bytes.subarray(at, at + 1024 * 1024));
      succeed(await client.write(digest, pieces));
      return digest;
    },
    async putAction(name, blobs) {
      const action = digestOf(seededBlob(name, 100));
      const outputFiles = blobs.map(({ hash, sizeBytes }, index) => ({
        path: `bazel-out/k8-fastbuild/bin/${name}/${index}.o`,
        digest: { hash, sizeBytes: BigInt(sizeBytes) },
      }));
      succeed(await client.updateActionResult(action, create(ActionResultSchema, { outputFiles })));
      return action;
    },
    freshHouse: () => startFront(scope, direct, flags),
  };
};
