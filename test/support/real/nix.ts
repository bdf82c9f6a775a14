// Real Nix clients, old and new, each with a world of its own: nobody else's store, settings, caches or network name.
//
// A store path's hash covers the store's prefix, so every client must call its store /nix/store, or a cache made by one
// would be of no use to another. Each run therefore has a private mount namespace in which /nix is the client's own
// directory, and a private process namespace, so that killing it kills its builders too. On the host /nix stays empty.

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fetched, type ProgramRun, present, runProgram } from './program.ts';
import { type Scope, temporaryDirectory } from './scope.ts';

export type NixVersion = '2.8' | '2.34';
export const nixVersions: readonly NixVersion[] = ['2.8', '2.34'];

const programs: Readonly<Record<NixVersion, string>> = { '2.8': '/usr/bin', '2.34': fetched('nix-2.34/bin') };

export type NixSettings = Readonly<Record<string, string | number | boolean>>;

export interface NixStoreOptions {
  readonly substituters?: readonly string[];
  /** `name:base64`. When given, unsigned paths are refused; else every path is taken. */
  readonly trustedKeys?: readonly string[];
  /** Further lines of nix.conf. */
  readonly settings?: NixSettings;
  /** Where the client remembers narinfos: another client's, to start with a warm memory and an empty store. */
  readonly cacheHome?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface NixRunOptions {
  /** In place of the store's own. */
  readonly substituters?: readonly string[];
  /** For this run, over nix.conf. */
  readonly settings?: NixSettings;
  /** Further arguments, e.g. `--fallback`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Kills the client and its builders at once. */
  readonly signal?: AbortSignal;
}

export interface NixRun extends ProgramRun {
  /** Store paths that it printed. */
  readonly outPaths: readonly string[];
  /** The first of them, or empty. */
  readonly outPath: string;
}

export interface NixKey {
  readonly secretKeyFile: string;
  /** As `trustedKeys` takes it. */
  readonly publicKey: string;
}

/** Did a build run here, of this derivation if one is named? Both versions say so for every build, quiet or not. */
export const hasBuiltLocally = (stderr: string, name?: string): boolean =>
  stderr
    .split('\n')
    .some((line) => line.startsWith("building '/nix/store/") && (!name || line.includes(`-${name}.drv'`)));

/** Made by `makeNixStore`; gone, with all that still runs in it, when the scope ends. */
export class NixStore {
  readonly version: NixVersion;
  /** Where the client remembers narinfos. */
  readonly cacheHome: string;
  readonly #world: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #running = new Map<AbortController, Promise<ProgramRun>>();

  constructor(version: NixVersion, world: string, { cacheHome, env }: NixStoreOptions) {
    this.version = version;
    this.cacheHome = cacheHome ?? join(world, 'cache');
    this.#world = world;
    this.#env = {
      HOME: join(world, 'home'),
      LC_ALL: 'C.UTF-8',
      NIX_CONF_DIR: world,
      NIX_LOG_DIR: '/nix/var/log/nix',
      NIX_REMOTE: 'local',
      NIX_STATE_DIR: '/nix/var/nix',
      NIX_STORE_DIR: '/nix/store',
      PATH: '/usr/bin:/bin',
      TMPDIR: join(world, 'tmp'),
      XDG_CACHE_HOME: this.cacheHome,
      ...env,
    };
  }

  /** `nix-build`; `attr` picks one or several attributes of the expression. */
  async build(file: string, options: NixRunOptions & { attr?: string | readonly string[] } = {}): Promise<NixRun> {
    const attrs = [options.attr ?? []].flat().flatMap((attr) => ['-A', attr]);
    return withPaths(await this.run('nix-build', ['--no-out-link', file, ...attrs], options));
  }

  /** `nix-store --realise`. Of a path that is no derivation, only a substituter can make it. */
  async realise(path: string, options: NixRunOptions = {}): Promise<NixRun> {
    return withPaths(await this.run('nix-store', ['--realise', path], options));
  }

  /** `nix copy --to`, of the paths and all they refer to. */
  copyTo(
    url: string,
    paths: readonly string[],
    options: NixRunOptions & { compression?: 'zstd' | 'xz' | 'none' | 'gzip' | 'br'; key?: NixKey } = {},
  ): Promise<ProgramRun> {
    const { compression, key } = options;
    const parameters = [
      ...(compression ? [`compression=${compression}`] : []),
      ...(key ? [`secret-key=${key.secretKeyFile}`] : []),
    ];
    const to = [url, parameters.join('&')].filter((part) => part !== '').join(url.includes('?') ? '&' : '?');
    return this.run('nix', ['copy', '--to', to, ...paths], options);
  }

  /** A new pair, by `nix-store --generate-binary-cache-key`. */
  async makeKey(name: string): Promise<NixKey> {
    const secretKeyFile = join(this.#world, `${name}.secret`);
    const publicKeyFile = join(this.#world, `${name}.public`);
    const args = ['--generate-binary-cache-key', name, secretKeyFile, publicKeyFile];
    const { code, stderr } = await this.run('nix-store', args);
    if (code !== 0) throw new Error(stderr);
    return { secretKeyFile, publicKey: (await readFile(publicKeyFile, 'utf8')).trim() };
  }

  /** Forgets every narinfo and every miss, as after their time. */
  async clearCacheCache(): Promise<void> {
    await rm(join(this.cacheHome, 'nix'), { recursive: true, force: true });
  }

  /** Where a path of this store lies for us, who do not see its /nix. */
  hostPath(storePath: string): string {
    return join(this.#world, storePath);
  }

  /** Any of Nix's programs in this world. */
  async run(
    program: 'nix' | 'nix-build' | 'nix-store' | 'nix-instantiate',
    args: readonly string[],
    { substituters, settings = {}, flags = [], env, signal }: NixRunOptions = {},
  ): Promise<ProgramRun> {
    const overrides: NixSettings = { ...(substituters && { substituters: substituters.join(' ') }), ...settings };
    const options = Object.entries(overrides).flatMap(([name, value]) => ['--option', name, String(value)]);
    const ending = new AbortController();
    const running = runProgram(
      '/usr/bin/unshare',
      [
        ...['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'],
        ...['/bin/sh', '-c', 'mount --bind "$0" /nix && exec "$@"', join(this.#world, 'nix')],
        ...[present(join(programs[this.version], program)), ...args, ...options, ...flags],
      ],
      { env: { ...this.#env, ...env }, signal: signal ? AbortSignal.any([signal, ending.signal]) : ending.signal },
    );
    this.#running.set(ending, running);
    try {
      return await running;
    } finally {
      this.#running.delete(ending);
    }
  }

  async killAll(): Promise<void> {
    for (const ending of this.#running.keys()) ending.abort();
    await Promise.allSettled(this.#running.values());
  }
}

const withPaths = (run: ProgramRun): NixRun => {
  const outPaths = run.stdout.split('\n').filter((line) => line.startsWith('/nix/store/'));
  return { ...run, outPaths, outPath: outPaths[0] ?? '' };
};

export const makeNixStore = async (
  scope: Scope,
  version: NixVersion,
  options: NixStoreOptions = {},
): Promise<NixStore> => {
  const world = await temporaryDirectory(scope, `nix-${version}`);
  for (const name of ['nix/store', 'home', 'tmp']) await mkdir(join(world, name), { recursive: true });
  const { substituters = [], trustedKeys = [], settings } = options;
  const lines: NixSettings = {
    // A single user's store: no daemon, no build users, and builders that see the host's programs.
    'build-users-group': '',
    sandbox: false,
    // 2.34 runs under its own loader, which it would start in place of its build hook. For 2.8 the empty value is an error.
    ...(version === '2.34' && { 'build-hook': '' }),
    'experimental-features': 'nix-command',
    substituters: substituters.join(' '),
    'trusted-public-keys': trustedKeys.join(' '),
    'require-sigs': trustedKeys.length > 0,
    ...settings,
  };
  const text = Object.entries(lines).map(([name, value]) => `${name} = ${value}\n`);
  await writeFile(join(world, 'nix.conf'), text.join(''));
  const store = new NixStore(version, world, options);
  scope.teardown(() => store.killAll());
  return store;
};
