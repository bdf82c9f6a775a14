// A real bazel-remote, over a real S3 bucket or on its own disk alone.

import { readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { freePort } from './free-port.ts';
import { untilTrue } from './real/admin.ts';
import { fetched } from './real/program.ts';
import { type Scope, temporaryDirectory } from './real/scope.ts';
import { RestartableServer } from './restartable-server.ts';
import type { S3Place } from './versitygw.ts';

export interface BazelRemoteOptions {
  /** Where it keeps everything a second time. It is asked for what the disk lacks. */
  readonly s3?: S3Place;
  /** How it stores blobs, here and in S3. */
  readonly storage?: 'zstd' | 'uncompressed';
  /** Further ones, e.g. `--max_blob_size 100`. */
  readonly flags?: readonly string[];
}

export interface BazelRemote {
  readonly grpcPort: number;
  readonly httpPort: number;
  /** Its own disk. */
  readonly dir: string;
  /** Under which it lies in S3: `cas` by the blob's hash, `ac` by the action's. */
  objectKey(kind: 'cas' | 'ac', hash: string): string;
  /** Resolves when S3 has all that the disk has, once clients are done. It uploads behind their backs, and forgets what is left when it stops. */
  uploaded(): Promise<void>;
  /** SIGTERM. */
  stop(): Promise<void>;
  /** On the same ports and disk; resolves when `/status` is 200. */
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  pause(): void;
  resume(): void;
  /** Restarts it with an empty disk: what it has now, it has from S3. */
  wipe(): Promise<void>;
  /** With a line for each request. */
  log(): string;
  /** Kills it. The scope does, too. */
  close(): Promise<void>;
}

const s3Flags = ({ endpoint, bucket, accessKey, secretKey }: S3Place): string[] => [
  ...['--s3.endpoint', new URL(endpoint).host, '--s3.disable_ssl', '--s3.region', 'us-east-1', '--s3.bucket', bucket],
  ...['--s3.auth_method', 'access_key', '--s3.access_key_id', accessKey, '--s3.secret_access_key', secretKey],
];

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

export const startBazelRemote = async (
  scope: Scope,
  { s3, storage = 'zstd', flags = [] }: BazelRemoteOptions = {},
): Promise<BazelRemote> => {
  const dir = await temporaryDirectory(scope, 'bazel-remote');
  const [httpPort, grpcPort] = [await freePort(), await freePort()];
  const server = new RestartableServer(scope, {
    program: fetched('bazel-remote/bazel-remote'),
    args: [
      ...['--dir', dir, '--max_size', '5', '--storage_mode', storage],
      ...['--http_address', `127.0.0.1:${httpPort}`, '--grpc_address', `127.0.0.1:${grpcPort}`],
      ...['--profile_address', '', '--enable_endpoint_metrics'],
      ...(s3 ? s3Flags(s3) : []),
      ...flags,
    ],
    readyUrl: `http://127.0.0.1:${httpPort}/status`,
    isReady: (status) => status === 200,
  });
  // bazel-remote, s3proxy.go: only blobs that it compresses carry a version.
  const objectKey: BazelRemote['objectKey'] = (kind, hash) =>
    `${kind === 'cas' && storage === 'zstd' ? 'cas.v2' : kind}/${hash.slice(0, 2)}/${hash}`;

  /** Of each file on the disk, `<hash>-<size and a random number>`. */
  const objectKeys = async (): Promise<string[]> => {
    const found = await Promise.all(
      (['cas', 'ac'] as const).map(async (kind) => {
        const names = await readdir(join(dir, `${kind}.v2`), { recursive: true });
        return names.flatMap((name) => /^[0-9a-f]{64}(?=-)/.exec(basename(name)) ?? []).map((h) => objectKey(kind, h));
      }),
    );
    return found.flat();
  };
  await server.start();
  return {
    grpcPort,
    httpPort,
    dir,
    objectKey,
    async uploaded() {
      if (!s3) throw new Error('it has no S3 behind it');
      await untilTrue(async () => {
        const isThere = await Promise.all((await objectKeys()).map((key) => exists(s3.diskPath(key))));
        return isThere.every(Boolean);
      });
    },
    stop: () => server.stop(),
    start: () => server.start(),
    kill: () => server.kill(),
    pause: () => server.pause(),
    resume: () => server.resume(),
    async wipe() {
      await server.stop();
      for (const name of await readdir(dir)) await rm(join(dir, name), { recursive: true });
      await server.start();
    },
    log: () => server.log(),
    close: () => server.kill(),
  };
};
