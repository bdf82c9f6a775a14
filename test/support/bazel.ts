// Real Bazels, old and new, each with a server of its own in namespaces of its own: what it runs and mounts ends with it.
//
// Bazel's server leaves the client's process group and outlives it, so only a process namespace holds it. 4.2 is the
// machine's own; 7.7 of Debian's sid has its own root, in which /tmp, /dev and /proc are the machine's, so that every
// path means the same inside and outside.

import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Workspace } from './bazel-workspace.ts';
import { fetched, type ProgramRun, present, runProgram, startProgram } from './real/program.ts';
import { type Scope, temporaryDirectory } from './real/scope.ts';

export type BazelVersion = '4.2' | '7.7';
export const bazelVersions: readonly BazelVersion[] = ['4.2', '7.7'];

interface Installation {
  readonly root: string;
  /** Inside that root. */
  readonly program: string;
  readonly startup: readonly string[];
  readonly build: readonly string[];
}

const installations: Readonly<Record<BazelVersion, Installation>> = {
  '4.2': { root: '/', program: '/usr/bin/bazel-4', startup: [], build: [] },
  '7.7': {
    root: fetched('bazel-7.7/root'),
    program: '/usr/bin/bazel',
    // Debian's Bazel does not look for zstd where Debian puts it: with --remote_cache_compression every hit is a miss.
    startup: ['--host_jvm_args=-Djava.library.path=/usr/share/bazel/:/usr/lib/x86_64-linux-gnu'],
    // Modules want the network, even for an empty MODULE.bazel.
    build: ['--noenable_bzlmod', '--enable_workspace'],
  },
};

// A server lives for seconds: it starts 3 s sooner when it never compiles twice. PerfData would leave files in /tmp.
const jvm = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-XX:-UsePerfData'];

/** Debian's own, whatever `java` is on the PATH. */
const startup = ['--server_javabase=/usr/lib/jvm/default-java', ...jvm.map((flag) => `--host_jvm_args=${flag}`)];

export interface BuildOptions {
  /** `grpc://host:port`; null for none. */
  readonly remoteCache: string | null;
  /** Further ones, e.g. `--remote_download_outputs=all`. */
  readonly flags?: readonly string[];
  /** Everything, if not given. */
  readonly targets?: readonly string[];
  /** Kills the client; its server runs on until the scope ends. */
  readonly signal?: AbortSignal;
}

export interface BazelBuild {
  /** Null when a signal ended the client. */
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Each line that begins with WARNING, but for those that Debian's own settings cause. */
  readonly warnings: readonly string[];
  readonly wallMs: number;
  readonly remoteHits: number;
  readonly localActions: number;
  /** All that were neither up to date nor Bazel's internal ones. */
  readonly actions: number;
}

/** `INFO: 41 processes: 40 remote cache hit, 1 internal.`; the last, where a build was tried again. */
const counted = (stderr: string): Readonly<Record<string, number>> => {
  const last = [...stderr.matchAll(/^INFO: \d+ process(?:es)?: (.*)\.$/gm)].at(-1)?.[1] ?? '';
  const parts = last.split(', ').map((part) => /^(\d+) (.+)$/.exec(part));
  return Object.fromEntries(parts.map((part) => [part?.[2] ?? 'internal', Number(part?.[1] ?? 0)]));
};

const buildOf = ({ code, stdout, stderr, seconds }: ProgramRun): BazelBuild => {
  const { internal = 0, ...counts } = counted(stderr);
  const warnings = stderr
    .split('\n')
    .filter((line) => line.startsWith('WARNING: ') && !line.includes("Option 'host_javabase' is deprecated"));
  return {
    exit: code,
    stdout,
    stderr,
    warnings,
    wallMs: seconds * 1000,
    remoteHits: counts['remote cache hit'] ?? 0,
    localActions: counts['local'] ?? 0,
    actions: Object.values(counts).reduce((sum, count) => sum + count, 0),
  };
};

// As process 1 of its namespace: the shell stays, and reaps the servers that their clients leave to it.
const world = `set -e
root="$1" temporary="$2"
read -r pid rest </proc/self/stat # as the machine sees us, whose /proc this still is
if [ "$root" != / ]; then
  mount --bind "$root" "$root"
  mount -o remount,bind,ro "$root"
  mount --rbind /dev "$root/dev"
  mount --bind "$temporary" "$root$temporary"
fi
mount -t proc proc "$root/proc"
echo "$pid"
exec chroot "$root" /bin/sh -c 'sleep infinity & wait'
`;

/** Made by `makeBazel`; gone, with its server and all that runs in it, when the scope ends. */
export class Bazel {
  readonly version: BazelVersion;
  readonly workspace: Workspace;
  readonly outputBase: string;
  readonly #home: string;
  readonly #worldPid: string;
  readonly #startup: readonly string[];
  readonly #running = new Map<AbortController, Promise<ProgramRun>>();

  constructor(version: BazelVersion, workspace: Workspace, home: string, worldPid: string, startup: readonly string[]) {
    this.version = version;
    this.workspace = workspace;
    this.outputBase = join(home, 'base');
    this.#home = home;
    this.#worldPid = worldPid;
    this.#startup = startup;
  }

  async build({ remoteCache, flags = [], targets = ['//...'], signal }: BuildOptions): Promise<BazelBuild> {
    const args = [
      '--spawn_strategy=local',
      ...installations[this.version].build,
      ...['--color=no', '--curses=no', '--noshow_progress'],
      `--remote_cache=${remoteCache ?? ''}`,
      ...flags,
      '--',
      ...targets,
    ];
    return buildOf(await this.run('build', args, signal));
  }

  /** Forgets all outputs and all that it knew of actions; the server stays. */
  async clean(): Promise<void> {
    await this.#succeed('clean');
  }

  /** Ends the server, and what only it remembered; the next command starts another. */
  async shutdown(): Promise<void> {
    await this.#succeed('shutdown');
  }

  /** Any command of Bazel's. */
  async run(command: string, args: readonly string[] = [], signal?: AbortSignal): Promise<ProgramRun> {
    const ending = new AbortController();
    const running = runProgram(
      '/usr/bin/nsenter',
      [
        ...['--target', this.#worldPid, '--mount', '--pid', '--root', `--wdns=${this.workspace.dir}`],
        installations[this.version].program,
        ...[`--output_user_root=${join(this.#home, 'user')}`, `--output_base=${this.outputBase}`],
        ...[...startup, ...installations[this.version].startup, ...this.#startup, command, ...args],
      ],
      {
        env: { HOME: this.#home, LC_ALL: 'C.UTF-8', PATH: '/usr/bin:/bin', USER: 'tester' },
        signal: signal ? AbortSignal.any([signal, ending.signal]) : ending.signal,
      },
    );
    this.#running.set(ending, running);
    try {
      return await running;
    } finally {
      this.#running.delete(ending);
    }
  }

  /** The clients. Their server is left to whoever ends the world. */
  async killAll(): Promise<void> {
    for (const ending of this.#running.keys()) ending.abort();
    await Promise.allSettled(this.#running.values());
  }

  async #succeed(command: string): Promise<void> {
    const { code, stderr } = await this.run(command);
    if (code !== 0) throw new Error(`bazel ${command}: ${stderr}`);
  }
}

/** An empty one, in a workspace of `makeWorkspace`'s, which may have several. `startupFlags` are the server's. */
export const makeBazel = async (
  scope: Scope,
  version: BazelVersion,
  workspace: Workspace,
  { startupFlags = [] }: { readonly startupFlags?: readonly string[] } = {},
): Promise<Bazel> => {
  const home = await temporaryDirectory(scope, `bazel-${version}`);
  const { root, program } = installations[version];
  present(join(root, program));
  await mkdir(join(root, tmpdir()), { recursive: true }); // Where it is not /tmp: something to mount it on.
  const { child, kill } = startProgram(
    '/usr/bin/unshare',
    ['--mount', '--pid', '--fork', '--kill-child', '/bin/sh', '-c', world, 'bazel-world', root, tmpdir()],
    { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
  );
  const closed = once(child, 'close');
  scope.teardown(async () => {
    kill();
    await closed;
  });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const [first] = await Promise.race([once(child.stdout, 'data'), closed]);
  const worldPid = String(first).trim();
  if (!/^\d+$/.test(worldPid)) throw new Error(`no world for a Bazel: ${complaint}`);
  const bazel = new Bazel(version, workspace, home, worldPid, startupFlags);
  scope.teardown(() => bazel.killAll());
  return bazel;
};
