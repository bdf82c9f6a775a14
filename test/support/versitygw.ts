// A real S3 server whose objects are plain files, and whose bucket index can be lost while the data stay on its disk.
//
// It serves `view/`, where each bucket is a link into `disk/`: without the link it answers NoSuchBucket and lists no
// bucket, as RustFS did in the field, and a restart brings the bucket back.

import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isCode } from '../../src/core/errors.ts';
import { freePort } from './free-port.ts';
import { fetched } from './real/program.ts';
import { type Scope, temporaryDirectory } from './real/scope.ts';
import { RestartableServer } from './restartable-server.ts';

/** What a client of a bucket has to know. */
export interface S3Place {
  /** `http://host:port`. */
  readonly endpoint: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly bucket: string;
  /** The file that holds an object's bytes, and nothing else. What is written into it is served, with status 200. */
  diskPath(key: string): string;
}

export interface Versitygw extends S3Place {
  readonly port: number;
  /** From now on: no bucket. */
  loseIndex(): Promise<void>;
  /** Heals that without a restart. */
  relink(): Promise<void>;
  /** SIGSTOP: every request hangs. */
  pause(): void;
  resume(): void;
  /** From now on: connection refused. */
  stop(): Promise<void>;
  /** On the same port; also heals a lost index. */
  start(): Promise<void>;
  log(): string;
  /** Kills it. The scope does, too. */
  close(): Promise<void>;
}

export const startVersitygw = async (scope: Scope, { bucket = 'cache' } = {}): Promise<Versitygw> => {
  const directory = await temporaryDirectory(scope, 'versitygw');
  await mkdir(join(directory, 'disk', bucket), { recursive: true });
  await mkdir(join(directory, 'view'));
  const port = await freePort();
  const [accessKey, secretKey] = ['labkey', 'labsecret'];
  const endpoint = `http://127.0.0.1:${port}`;
  const server = new RestartableServer(scope, {
    program: fetched('versitygw/versitygw'),
    args: [
      ...['--port', `127.0.0.1:${port}`, '--access', accessKey, '--secret', secretKey, '--quiet', '--keep-alive'],
      ...['posix', '--bucketlinks', join(directory, 'view')],
    ],
    readyUrl: endpoint,
    isReady: () => true, // An unsigned request is refused, by a server that is up.
  });
  const link = join(directory, 'view', bucket);
  const relink = async () => {
    try {
      await symlink(join('..', 'disk', bucket), link);
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error;
    }
  };
  const start = async () => {
    await relink();
    await server.start();
  };
  await start();
  return {
    endpoint,
    accessKey,
    secretKey,
    bucket,
    port,
    diskPath: (key) => join(directory, 'disk', bucket, key),
    loseIndex: () => rm(link, { force: true }),
    relink,
    pause: () => server.pause(),
    resume: () => server.resume(),
    stop: () => server.stop(),
    start,
    log: () => server.log(),
    close: () => server.kill(),
  };
};
