// One schema gives the configuration's type, its defaults, its messages, the names of its keys and the README table.

import { type StaticDecode, Type } from 'typebox';
import { Check, Decode } from 'typebox/value';
import { conflictsOf } from './config/conflicts.ts';
import { type Key, keysOf, treeOf } from './config/keys.ts';
import {
  buckets,
  canaryPrefix,
  choice,
  count,
  duration,
  fileKinds,
  flag,
  follow,
  grpcOrigin,
  listen,
  origin,
  prefix,
  redirectHosts,
  region,
  type Surroundings,
  size,
  trustedKeys,
} from './config/kinds.ts';
import { ConfigError, type Problem, showValue } from './config/problem.ts';
import { type Given, type Inputs, readSources } from './config/sources.ts';

const schemaFor = (at: Surroundings) => {
  const { directory, existingDirectory, certificates, authorization, tokens, awsCredentials } = fileKinds(at);
  return Type.Object({
    nix: Type.Object({
      listen: listen('127.0.0.1:8501', 'Where the Nix front listens.'),
      upstream: origin('none', 'The binary cache behind us. Without one our own store is the cache.'),
      prefix: prefix('none', "The path that the upstream's API lives under."),
      upstreamCa: certificates('none', "Who vouches for an https:// upstream besides the system's authorities."),
      credentials: authorization('none', 'What background work shows the upstream. Read at start.'),
      redirectHosts: redirectHosts([], 'Where a redirect of the upstream may lead, as to its object store.'),
      trustedKeys: trustedKeys([], 'When set, a narinfo that none of them signed is a miss.'),
      pinUrls: flag(true, "A narinfo's URL names the digest that it promised, and never brings other bytes."),
      public: flag(false, 'Every cache of the upstream may be read without credentials.'),
    }),
    bazel: Type.Object({
      listen: listen('127.0.0.1:9092', 'Where the Bazel front listens.'),
      upstream: grpcOrigin('none', 'The REAPI cache behind us. Without one our own store is the cache.'),
      promise: choice(
        ['proven', 'exists'],
        'proven',
        'What an action result waits for: that its blobs are proven, or that the upstream says it has them.',
      ),
      proveMs: duration('20s', 'How long the blobs of one action result may take to be proven.', 'prove', '1ms'),
      leaseMs: duration('3h', 'How long what an action result names is kept from eviction.', 'lease', '0s'),
      trustMs: duration('24h', 'How long a proof is good for bytes that only the upstream still holds.', 'trust'),
    }),
    store: Type.Object({
      dir: directory('cleanmiss-data/store', 'Proven bytes. Big and disposable.'),
      maxBytes: size('20GiB', 'What the store may hold before the least recently used goes.', '1MiB', null),
      memoryBytes: size('128MiB', 'What of it is kept in memory too.', '0', null),
    }),
    state: Type.Object({
      dir: directory(
        'cleanmiss-data/state',
        'Quarantines, incidents, the audit log, and what was proven. Small; keep it.',
      ),
    }),
    release: Type.Object({
      memoryBytes: size('1MiB', 'Up to this size, and to 1 MiB always, a body is proven in memory.', '0', '64MiB', {
        key: 'memory',
      }),
      // Nix gives up at 300 s without a byte; ten are left for what comes before the fill.
      budgetMs: duration('50s', 'How long a larger one may be proven before it is followed.', 'budget', '1ms', '290s'),
      follow: follow(
        'late',
        'Larger bodies: proven first and followed at the budget, or never, or from the start above a size.',
      ),
    }),
    fills: Type.Object({
      max: count(64, 'Fills at a time.', 1),
      perClient: count(16, 'Of them for one client; more wait their turn.', 1),
      detached: count(8, 'Of them with no reader left.', 0),
    }),
    upstream: Type.Object({
      firstByteMs: duration('15s', 'How long the upstream may take to begin a body.', 'firstByte', '1ms'),
      idleMs: duration('10s', 'How long it may pause in one.', 'idle', '1ms'),
    }),
    records: Type.Object({
      freshMs: duration('60s', 'How long a narinfo is answered without asking the upstream again.', 'fresh'),
      freshActionsMs: duration('5s', 'The same for an action result.', 'freshActions'),
    }),
    auth: Type.Object({
      ttlMs: duration('60s', 'How long credentials stay good that the upstream accepted.', 'ttl'),
      graceMs: duration('10m', 'And how long while the upstream is down.', 'grace'),
      tokens: tokens('none', 'Who may do what. Without it admin answers this machine alone.'),
    }),
    health: Type.Object({
      watch: choice(
        ['s3', 'none'],
        's3',
        'Whether the object store behind an upstream is watched, and writes with it.',
      ),
      markers: existingDirectory('none', "Where the buckets' directories are mounted, to be read only."),
      s3: Type.Object({
        endpoint: origin('none', 'The object store that the upstreams keep their bytes in.'),
        region: region('us-east-1', 'Its region.'),
        pathStyle: flag(true, 'Buckets are named in the path, and not in the host.'),
        credentials: awsCredentials('none', 'What the probes sign with.'),
        buckets: buckets([], 'Every bucket that has to be there, those of others in the same store too.'),
        canaryPrefix: canaryPrefix('.cleanmiss/', 'Under which key the canaries lie in each bucket.'),
        intervalMs: duration('5s', 'How often the store is looked at.', 'interval', '1s', '15s'),
      }),
    }),
    admin: Type.Object({
      listen: listen('127.0.0.1:9501', 'Where status, metrics and probes are.'),
    }),
    server: Type.Object({
      drainMs: duration('30s', 'How long a stop waits for answers under way.', 'drain', '0s', '1h'),
    }),
    log: Type.Object({
      level: choice(
        ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
        'info',
        'The least that is logged.',
      ),
    }),
  });
};

/** Absolute paths, milliseconds, bytes; `undefined` where the file says "none". */
export type Config = StaticDecode<ReturnType<typeof schemaFor>>;

/** One key as it is in force. */
export interface Setting {
  readonly name: string;
  /** In TOML's spelling (which is JSON's for all of our values), secrets as `***`. */
  readonly value: string;
  /** `default`, the file's name, the variable's or the flag's. */
  readonly source: string;
}

/** Every key, in the order of the schema. */
export const configKeys: readonly Key[] = keysOf(schemaFor({ cwd: '/', readFile: () => undefined }));

const problemWith = ({ key, raw, source }: Given): Problem | undefined => {
  const refused = (why: string): Problem => {
    const value = showValue(raw, key.meta.shown);
    return { key: key.name, value, source, message: `${why}accepted: ${key.meta.accepts}` };
  };
  if (!Check(key.schema, raw)) return refused('');
  try {
    Decode(key.schema, raw);
    return undefined;
  } catch (error) {
    return refused(`${error instanceof Error ? error.message : error}; `);
  }
};

/** A pair is worth a word only when each of its keys is right by itself. */
const pairProblems = (config: Config, settings: readonly Setting[], wrong: readonly Problem[]): Problem[] =>
  conflictsOf(config)
    .filter(({ keys }) => !wrong.some(({ key }) => keys.includes(key)))
    .flatMap(({ keys, message }) => {
      const [first, ...others] = keys.flatMap((name) => settings.filter((setting) => setting.name === name));
      if (first === undefined) return [];
      const along = others.map(({ name, value, source }) => `, with ${name} = ${value} (${source})`).join('');
      return [{ key: first.name, value: first.value, source: first.source, message: message + along }];
    });

/**
 * File, then environment, then flags: the later wins, and all must be right. Reads the files that keys name, each once.
 * Throws one ConfigError that lists every problem.
 */
export const loadConfig = (inputs: Inputs): { readonly config: Config; readonly settings: readonly Setting[] } => {
  const contents = new Map<string, string | undefined>();
  const readFile = (path: string): string | undefined => {
    if (!contents.has(path)) contents.set(path, inputs.readFile(path));
    return contents.get(path);
  };
  const schema = schemaFor({ cwd: inputs.cwd, readFile });
  const keys = keysOf(schema);
  const { given, problems } = readSources(keys, { ...inputs, readFile });
  const refused = new Map(given.map((one) => [one, problemWith(one)]));
  const wrong = [...problems, ...[...refused.values()].filter((problem) => problem !== undefined)];

  const inForce = keys.map((key): Given => {
    const byDefault: Given = { key, raw: key.meta.default, source: 'default' };
    return given.findLast((one) => one.key === key && refused.get(one) === undefined) ?? byDefault;
  });
  const raws = new Map(inForce.map(({ key, raw }) => [key.schema, raw]));
  const config = Decode(
    schema,
    treeOf(schema, (leaf) => raws.get(leaf)),
  );
  const settings = inForce.map(({ key, raw, source }): Setting => {
    return { name: key.name, value: showValue(raw, key.meta.shown), source };
  });
  const all = [...wrong, ...pairProblems(config, settings, wrong)];
  if (all.length > 0) throw new ConfigError(all);
  return { config, settings };
};

/** The README's table of keys, in Markdown. */
export const configTable = (): string => {
  const cell = (text: string): string => text.replaceAll('|', '\\|');
  const rows = configKeys.map(({ name, meta }) => {
    const cells = [`\`${name}\``, `\`${showValue(meta.default)}\``, meta.accepts, meta.about];
    return `| ${cells.map(cell).join(' | ')} |`;
  });
  return ['| key | default | accepts | what it does |', '| --- | --- | --- | --- |', ...rows, ''].join('\n');
};
