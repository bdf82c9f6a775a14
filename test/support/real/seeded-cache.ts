// One Bazel, and an S3 bucket that holds all that it once built: broken by hand, and made whole again between builds.

import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bazel, type BazelVersion, makeBazel } from '../bazel.ts';
import { startBazelRemote } from '../bazel-remote.ts';
import { makeWorkspace } from '../bazel-workspace.ts';
import { startVersitygw, type Versitygw } from '../versitygw.ts';
import { runProgram } from './program.ts';
import { type Scope, temporaryDirectory } from './scope.ts';

export interface SeededCache {
  readonly version: BazelVersion;
  readonly bazel: Bazel;
  readonly s3: Versitygw;
  /** Of each output file, its hash. */
  readonly seeded: ReadonlyMap<string, string>;
  /** The same, once the workspace has turned: what every build from now on must end with. */
  readonly turned: ReadonlyMap<string, string>;
  /** How long that took without any cache. */
  readonly uncachedMs: number;
  /** How many actions were never built before the workspace turned. */
  readonly turnedActions: number;
  /** The file of the bucket in which an output lies. */
  object(output: string): string;
  /** One as sound, of as many bytes, but of other content. */
  impostor(output: string): string;
  /** Whatever was done to the bucket. */
  restore(): Promise<void>;
}

/** Of the chain, from the one after the middle to its end; and the one that reads everything. */
const TURNED_ACTIONS = 7;

const copy = async (from: string, to: string): Promise<void> => {
  // With extended attributes, which fs.cp leaves behind: versitygw keeps what it says of objects in them.
  const { code, stderr } = await runProgram('/bin/cp', ['-a', `${from}/.`, to], { env: {} });
  if (code !== 0) throw new Error(stderr);
};

/** `impostors` are the outputs that will need one. */
export const seedCache = async (
  scope: Scope,
  version: BazelVersion,
  { impostors }: { readonly impostors: readonly string[] },
): Promise<SeededCache> => {
  const s3 = await startVersitygw(scope);
  const workspace = await makeWorkspace(scope);
  const bazel = await makeBazel(scope, version, workspace);
  const remote = await startBazelRemote(scope, { s3 });
  const built = await bazel.build({ remoteCache: `grpc://127.0.0.1:${remote.grpcPort}` });
  if (built.exit !== 0) throw new Error(built.stderr);
  const seeded = await workspace.outputs();
  const impostorHashes = new Map<string, string>();
  for (const output of impostors) {
    const bytes = await readFile(join(workspace.dir, 'bazel-bin', output));
    const middle = bytes.length >> 1;
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
    const hash = createHash('sha256').update(bytes).digest('hex');
    const stored = await fetch(`http://127.0.0.1:${remote.httpPort}/cas/${hash}`, { method: 'PUT', body: bytes });
    if (!stored.ok) throw new Error(await stored.text());
    impostorHashes.set(output, hash);
  }
  await remote.uploaded();
  await remote.stop();
  const disk = s3.diskPath('.');
  const kept = await temporaryDirectory(scope, 'kept');
  await copy(disk, kept);

  await workspace.turn('turned');
  await bazel.clean();
  const uncached = await bazel.build({ remoteCache: null });
  if (uncached.exit !== 0) throw new Error(uncached.stderr);
  const objectOf = (hash = ''): string => s3.diskPath(remote.objectKey('cas', hash));
  return {
    version,
    bazel,
    s3,
    seeded,
    turned: await workspace.outputs(),
    uncachedMs: uncached.wallMs,
    turnedActions: TURNED_ACTIONS,
    object: (output) => objectOf(seeded.get(output)),
    impostor: (output) => objectOf(impostorHashes.get(output)),
    async restore() {
      await rm(disk, { recursive: true });
      await mkdir(disk);
      await copy(kept, disk);
    },
  };
};
