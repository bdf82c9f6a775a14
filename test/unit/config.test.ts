// The configuration: what its values mean, where they come from, and that everything wrong is said at once.

import { resolve } from 'node:path';
import { inspect } from 'node:util';
import t from 'tap';
import { nearest } from '../../src/config/nearest.ts';
import { ConfigError } from '../../src/config/problem.ts';
import type { Inputs } from '../../src/config/sources.ts';
import { type Config, configKeys, configTable, loadConfig } from '../../src/config.ts';
import { isCode } from '../../src/core/errors.ts';

const cwd = '/srv/house';

interface Scene {
  readonly toml?: string;
  readonly files?: Record<string, string>;
  readonly file?: string;
  readonly env?: Inputs['env'];
  readonly flags?: Inputs['flags'];
  /** `health.watch` is "none" but here: most scenes are about something else. */
  readonly isWatched?: true;
}

const load = ({ toml, files = {}, file, env = {}, isWatched, ...scene }: Scene = {}) => {
  const flags = { ...(!isWatched && { 'health.watch': 'none' }), ...scene.flags };
  const disk = new Map(Object.entries(files).map(([name, text]) => [resolve(cwd, name), text]));
  if (toml !== undefined) disk.set(`${cwd}/cleanmiss.toml`, toml);
  return loadConfig({ cwd, file, env, flags, readFile: (path) => disk.get(path) });
};

const problemsOf = (scene: Scene) => {
  try {
    load(scene);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('no ConfigError');
};

const flag = (key: string, value: string): Scene => ({ flags: { [key]: value } });

const upstream = { 'nix.upstream': 'http://attic:8080' };

t.test('no config at all: the store is the cache, on loopback', (t) => {
  t.strictSame(load({ isWatched: true }).config, {
    nix: {
      listen: { host: '127.0.0.1', port: 8501 },
      upstream: undefined,
      prefix: undefined,
      upstreamCa: undefined,
      credentials: undefined,
      redirectHosts: [],
      trustedKeys: [],
      pinUrls: true,
      public: false,
    },
    bazel: {
      listen: { host: '127.0.0.1', port: 9092 },
      upstream: undefined,
      promise: 'proven',
      proveMs: 20_000,
      leaseMs: 10_800_000,
      trustMs: 86_400_000,
    },
    store: { dir: '/srv/house/cleanmiss-data/store', maxBytes: 20 * 2 ** 30, memoryBytes: 128 * 2 ** 20 },
    state: { dir: '/srv/house/cleanmiss-data/state' },
    release: { memoryBytes: 2 ** 20, budgetMs: 50_000, follow: { kind: 'late' } },
    fills: { max: 64, perClient: 16, detached: 8 },
    upstream: { firstByteMs: 15_000, idleMs: 10_000 },
    records: { freshMs: 60_000, freshActionsMs: 5_000 },
    auth: { ttlMs: 60_000, graceMs: 600_000, tokens: undefined },
    health: {
      watch: 's3',
      markers: undefined,
      s3: {
        endpoint: undefined,
        region: 'us-east-1',
        pathStyle: true,
        credentials: undefined,
        buckets: [],
        canaryPrefix: '.cleanmiss/',
        intervalMs: 5_000,
      },
    },
    admin: { listen: { host: '127.0.0.1', port: 9501 } },
    server: { drainMs: 30_000 },
    log: { level: 'info' },
  });
  t.end();
});

const values: { reason: string; scene: Scene; read: (config: Config) => unknown; means: unknown }[] = [
  { reason: 'KiB', scene: flag('store.maxBytes', '1024KiB'), read: (c) => c.store.maxBytes, means: 2 ** 20 },
  { reason: 'GiB', scene: flag('store.maxBytes', '50GiB'), read: (c) => c.store.maxBytes, means: 50 * 2 ** 30 },
  { reason: 'TiB', scene: flag('store.maxBytes', '2TiB'), read: (c) => c.store.maxBytes, means: 2 ** 41 },
  { reason: 'kB is decimal', scene: flag('store.maxBytes', '2000kB'), read: (c) => c.store.maxBytes, means: 2e6 },
  { reason: 'GB is decimal', scene: flag('store.maxBytes', '3 GB'), read: (c) => c.store.maxBytes, means: 3e9 },
  { reason: 'plain bytes', scene: flag('store.memoryBytes', '0'), read: (c) => c.store.memoryBytes, means: 0 },
  { reason: 'ms', scene: flag('release.budget', '500ms'), read: (c) => c.release.budgetMs, means: 500 },
  { reason: 's', scene: flag('release.budget', '240s'), read: (c) => c.release.budgetMs, means: 240_000 },
  { reason: 'm', scene: flag('auth.grace', '10m'), read: (c) => c.auth.graceMs, means: 600_000 },
  { reason: 'h', scene: flag('records.fresh', '24h'), read: (c) => c.records.freshMs, means: 86_400_000 },
  {
    reason: 'IPv6',
    scene: flag('nix.listen', '[::1]:8501'),
    read: (c) => c.nix.listen,
    means: { host: '::1', port: 8501 },
  },
  { reason: 'any port', scene: flag('nix.listen', '127.0.0.1:0'), read: (c) => c.nix.listen.port, means: 0 },
  {
    reason: 'localhost',
    scene: flag('admin.listen', 'localhost:1'),
    read: (c) => c.admin.listen,
    means: { host: 'localhost', port: 1 },
  },
  {
    reason: 'every address, when an upstream checks who writes',
    scene: { flags: { ...upstream, 'nix.listen': '0.0.0.0:8501' } },
    read: (c) => c.nix.listen.host,
    means: '0.0.0.0',
  },
  {
    reason: 'the authority stays as it is spelled, the origin does not',
    scene: flag('nix.upstream', 'HTTP://Cache.Example.org:80/'),
    read: (c) => c.nix.upstream,
    means: { origin: 'http://cache.example.org', authority: 'Cache.Example.org:80', path: '' },
  },
  {
    reason: 'a path comes along',
    scene: flag('nix.upstream', 'http://h/attic/'),
    read: (c) => c.nix.upstream,
    means: { origin: 'http://h', authority: 'h', path: '/attic' },
  },
  {
    reason: 'prefix with slashes everywhere',
    scene: { flags: { ...upstream, 'nix.prefix': '/x/y/' } },
    read: (c) => c.nix.prefix,
    means: '/x/y',
  },
  {
    reason: 'prefix with slashes nowhere',
    scene: { flags: { ...upstream, 'nix.prefix': 'x/y' } },
    read: (c) => c.nix.prefix,
    means: '/x/y',
  },
  {
    reason: 'redirect hosts are compared in lower case',
    scene: { flags: { ...upstream, 'nix.redirectHosts': 'S3.example:443, [::1]:9000' } },
    read: (c) => c.nix.redirectHosts,
    means: ['s3.example:443', '[::1]:9000'],
  },
  {
    reason: 'follow never',
    scene: flag('release.follow', 'never'),
    read: (c) => c.release.follow,
    means: { kind: 'never' },
  },
  {
    reason: 'follow above a size',
    scene: flag('release.follow', '64MiB'),
    read: (c) => c.release.follow,
    means: { kind: 'above', sizeBytes: 2 ** 26 },
  },
  { reason: 'false', scene: flag('nix.pinUrls', 'false'), read: (c) => c.nix.pinUrls, means: false },
  { reason: 'a number', scene: flag('fills.max', '8'), read: (c) => c.fills.max, means: 8 },
  { reason: 'an absolute directory', scene: flag('store.dir', '/var/x'), read: (c) => c.store.dir, means: '/var/x' },
  { reason: 'a level', scene: flag('log.level', 'debug'), read: (c) => c.log.level, means: 'debug' },
];

t.test('what values mean', (t) => {
  for (const { reason, scene, read, means } of values) t.strictSame(read(load(scene).config), means, reason);
  t.end();
});

const publicKey = `cache.example.org-1:${Buffer.alloc(32, 7).toString('base64')}`;
const secretKey = `cache.example.org-1:${Buffer.alloc(64, 7).toString('base64')}`;

const wrong: { reason: string; scene: Scene; says: RegExp }[] = [
  {
    reason: 'no size',
    scene: flag('store.maxBytes', 'big'),
    says: /store\.maxBytes = "big" \(--store\.maxBytes\): not a size; accepted: a size from 1MiB, such as "20GiB"/,
  },
  {
    reason: 'half of its readers take G for GB, half for GiB',
    scene: flag('store.maxBytes', '50G'),
    says: /"G" is no unit of size/,
  },
  { reason: 'a name that every object has', scene: flag('store.maxBytes', '5constructor'), says: /no unit of size/ },
  { reason: 'beyond what a number counts', scene: flag('store.maxBytes', '99999999TiB'), says: /too large/ },
  { reason: 'below the range', scene: flag('store.maxBytes', '1kB'), says: /out of range/ },
  {
    reason: 'above the range',
    scene: flag('release.memory', '1GiB'),
    says: /out of range; accepted: a size from 0 to 64MiB/,
  },
  { reason: 'no unit of time', scene: flag('release.budget', '50'), says: /the unit is missing; accepted: a duration/ },
  { reason: 'days are none', scene: flag('auth.grace', '2d'), says: /"d" is no unit of time/ },
  { reason: 'Nix gives up at 300 s', scene: flag('release.budget', '5m'), says: /out of range/ },
  { reason: 'timers fire at once beyond 24 days', scene: flag('records.fresh', '1000h'), says: /out of range/ },
  { reason: 'no time at all to answer', scene: flag('upstream.idle', '0s'), says: /out of range/ },
  { reason: 'a port alone', scene: flag('nix.listen', '8501'), says: /not host:port; accepted: an IP address/ },
  { reason: 'too high a port', scene: flag('nix.listen', '127.0.0.1:65536'), says: /no port is above 65535/ },
  { reason: 'IPv6 without brackets', scene: flag('nix.listen', '::1:80'), says: /not host:port/ },
  { reason: 'no IPv6 in brackets', scene: flag('nix.listen', '[127.0.0.1]:80'), says: /no IPv6 address/ },
  { reason: 'a name may resolve to anything', scene: flag('nix.listen', 'cache.local:80'), says: /the host is a name/ },
  { reason: 'another scheme', scene: flag('nix.upstream', 'grpc://h:1'), says: /not an http/ },
  { reason: 'a query', scene: flag('nix.upstream', 'http://h/?token=abc'), says: /"http:\/\/h\/\?\*\*\*" .*query/ },
  { reason: 'a climbing path', scene: flag('nix.upstream', 'http://h/a/../b'), says: /not a plain path/ },
  { reason: 'no host', scene: flag('nix.upstream', 'http:///'), says: /not a URL/ },
  {
    reason: 'a password',
    scene: flag('nix.upstream', 'http://me:hunter2@h'),
    says: /"http:\/\/\*\*\*@h" .*nix\.credentials/,
  },
  { reason: 'a password with a slash', scene: flag('nix.upstream', 'http://me:hun/ter2@h'), says: /\*\*\*@h/ },
  {
    reason: 'dots in the prefix',
    scene: { flags: { ...upstream, 'nix.prefix': '/x/../y' } },
    says: /not a plain path/,
  },
  {
    reason: 'a host without port',
    scene: { flags: { ...upstream, 'nix.redirectHosts': 's3.example' } },
    says: /not host:port/,
  },
  {
    reason: 'nothing listens on port 0',
    scene: { flags: { ...upstream, 'nix.redirectHosts': 's3:0' } },
    says: /port 0/,
  },
  { reason: 'a short key', scene: flag('nix.trustedKeys', 'a:AAAA'), says: /32 bytes, and this 3/ },
  { reason: 'a key without name', scene: flag('nix.trustedKeys', 'AAAA'), says: /not name:base64/ },
  {
    reason: 'a secret key is not repeated',
    scene: flag('nix.trustedKeys', secretKey),
    says: /cache\.example\.org-1:\*\*\*.*SECRET/,
  },
  { reason: 'another word', scene: flag('release.follow', 'always'), says: /accepted: "late", "never", or a size/ },
  {
    reason: 'no number',
    scene: flag('fills.max', 'many'),
    says: /fills\.max = "many" .*accepted: a whole number from 1/,
  },
  {
    reason: 'a fraction',
    scene: { toml: '[fills]\nmax = 1.5' },
    says: /fills\.max = 1\.5 \(cleanmiss\.toml\): accepted/,
  },
  { reason: 'text for a truth', scene: { toml: '[nix]\npinUrls = "yes"' }, says: /accepted: true or false/ },
  { reason: 'a number for a size', scene: { toml: '[store]\nmaxBytes = 5' }, says: /accepted: a size/ },
  { reason: 'text for a list', scene: { toml: '[nix]\nredirectHosts = "a:1"' }, says: /accepted: a list/ },
  { reason: 'a table for a value', scene: { toml: '[store.dir]\nx = 1' }, says: /store\.dir = \{…\}/ },
  { reason: 'a value for a section', scene: { toml: 'store = 1' }, says: /store = 1 .*this is a section/ },
  { reason: 'no such level', scene: flag('log.level', 'loud'), says: /accepted: "fatal", "error"/ },
  { reason: 'no such directory name', scene: flag('state.dir', ''), says: /no name/ },
  {
    reason: 'no such credentials, which are perhaps pasted in',
    scene: { flags: { ...upstream, 'nix.credentials': 'Bearer hunter2' } },
    says: /nix\.credentials = "\*\*\*" .*no file/,
  },
  {
    reason: 'credentials of two lines',
    scene: { files: { c: 'Bearer x\nhunter2: y' }, flags: { ...upstream, 'nix.credentials': 'c' } },
    says: /one line such as/,
  },
  {
    reason: 'no scheme',
    scene: { files: { c: 'hunter2' }, flags: { ...upstream, 'nix.credentials': 'c' } },
    says: /one line such as/,
  },
  {
    reason: 'no certificate',
    scene: { files: { ca: 'x' }, flags: { 'nix.upstream': 'https://h', 'nix.upstreamCa': 'ca' } },
    says: /nix\.upstreamCa = "ca"/,
  },
  {
    reason: 'unknown key',
    scene: { toml: '[nix]\nupstreem = "http://me:hunter2@h"' },
    says: /nix\.upstreem = "http:\/\/\*\*\*@h" \(cleanmiss\.toml\): unknown key; did you mean nix\.upstream\?/,
  },
  {
    reason: 'unknown key that sounds secret',
    scene: { toml: '[nix]\npassword = "hunter2"' },
    says: /nix\.password = "\*\*\*" .*unknown key$/m,
  },
  {
    reason: 'unknown section',
    scene: { toml: '[stor]\ndir = "x"' },
    says: /stor = \{…\} .*unknown section; did you mean store\?/,
  },
  {
    reason: 'a key without its section',
    scene: { toml: '"store.maxByte" = "1GiB"' },
    says: /did you mean store\.maxBytes\?/,
  },
  { reason: 'a room that does not exist yet', scene: { toml: '[tls]\ncert = "none"' }, says: /unknown section$/m },
  { reason: 'no bucket', scene: flag('health.s3.buckets', 'a/b'), says: /not the name of a bucket/ },
  { reason: 'no prefix', scene: flag('health.s3.canaryPrefix', '../x/'), says: /ends in a slash/ },
  { reason: 'no region', scene: flag('health.s3.region', 'US East'), says: /a region/ },
  {
    reason: 'no AWS credentials',
    scene: { files: { c: 'hunter2' }, flags: { 'health.s3.credentials': 'c' } },
    says: /"\*\*\*" .*no aws_secret_access_key/,
  },
  { reason: 'no token file', scene: flag('auth.tokens', 'hunter2'), says: /"\*\*\*" .*no file of this name/ },
  {
    reason: 'a token without a name',
    scene: { files: { c: '# us\n\nread,ack hunter2' }, flags: { 'auth.tokens': 'c' } },
    says: /line 3 is not "scope\[,scope\] name token"/,
  },
  {
    reason: 'a scope that is none',
    scene: { files: { c: 'hunter2 me read' }, flags: { 'auth.tokens': 'c' } },
    says: /line 1 has a scope other than read, write, quarantine, ack/,
  },
  {
    reason: 'one token for two',
    scene: { files: { c: 'read me hunter2\nack you hunter2' }, flags: { 'auth.tokens': 'c' } },
    says: /one token is there twice/,
  },
  {
    reason: 'unknown variable',
    scene: { env: { CLEANMISS_STORE_MAX_BYTE: '1' } },
    says: /did you mean CLEANMISS_STORE_MAX_BYTES\?/,
  },
  { reason: 'unknown flag', scene: flag('nix.upstrem', 'x'), says: /unknown flag; did you mean nix\.upstream\?/ },
  { reason: 'no TOML', scene: { toml: '[nix\nsecret = "hunter2"' }, says: /^ {2}cleanmiss\.toml: / },
  {
    reason: 'a file that was named must be there',
    scene: { file: 'other.toml' },
    says: /other\.toml: there is no such file/,
  },
];

t.test('what is wrong is said, with key, value, source and what is accepted', (t) => {
  for (const { reason, scene, says } of wrong) {
    const { message, problems } = problemsOf(scene);
    t.match(message.split('\n').slice(1).join('\n'), says, reason);
    t.equal(problems.length, 1, `${reason}: and nothing else is`);
    t.notMatch(message, /hunter2|BwcHBw/, `${reason}: no secret is repeated`);
  }
  t.end();
});

const pairs: { reason: string; scene: Scene; says: RegExp }[] = [
  {
    reason: 'everyone could write',
    scene: flag('nix.listen', '0.0.0.0:8501'),
    says: /nix\.listen = "0\.0\.0\.0:8501" \(--nix\.listen\): without an upstream .*, with nix\.upstream = "none" \(default\)/,
  },
  { reason: 'everyone could write, over IPv6', scene: flag('nix.listen', '[::]:8501'), says: /without an upstream/ },
  {
    reason: 'everyone could see and steer',
    scene: flag('admin.listen', '10.0.0.1:9501'),
    says: /admin\.listen = .*without tokens/,
  },
  {
    reason: 'a store nobody watches',
    scene: { isWatched: true, flags: upstream },
    says: /nix\.upstream = .*say health\.watch = "none", with health\.watch = "s3" \(default\), with health\.s3\.endpoint/,
  },
  {
    reason: 'a store nobody watches, behind Bazel',
    scene: { isWatched: true, flags: { 'bazel.upstream': 'grpc://h:1' } },
    says: /bazel\.upstream = .*say health\.watch = "none"/,
  },
  {
    reason: 'a store without buckets',
    scene: { isWatched: true, flags: { ...upstream, 'health.s3.endpoint': 'http://s3:9000' } },
    says: /health\.s3\.buckets = \[\].*which buckets/,
  },
  {
    reason: 'an endpoint with a path',
    scene: flag('health.s3.endpoint', 'http://s3:9000/nix'),
    says: /an S3 endpoint has no path/,
  },
  {
    reason: 'markers of nothing',
    scene: flag('health.markers', '/data'),
    says: /nothing is probed, with health\.s3\.endpoint = "none"/,
  },
  {
    reason: 'one address for two',
    scene: flag('admin.listen', 'localhost:8501'),
    says: /admin\.listen = .*one address cannot serve both, with nix\.listen/,
  },
  { reason: 'a prefix of nothing', scene: flag('nix.prefix', '/x'), says: /nix\.prefix = .*there is none/ },
  {
    reason: 'redirects of nobody',
    scene: flag('nix.redirectHosts', 's3:1'),
    says: /nix\.redirectHosts = .*there is none/,
  },
  {
    reason: 'credentials for nobody',
    scene: { files: { c: 'Bearer x' }, flags: { 'nix.credentials': 'c' } },
    says: /nix\.credentials = "\*\*\*".*there is none/,
  },
  {
    reason: 'one directory for two',
    scene: { flags: { 'store.dir': 'd', 'state.dir': 'd' } },
    says: /store\.dir = "d".*state\.dir = "d"/,
  },
  {
    reason: 'state inside the disposable',
    scene: { flags: { 'store.dir': 'd', 'state.dir': 'd/state' } },
    says: /neither may lie in the other/,
  },
  {
    reason: 'follow what is in memory',
    scene: flag('release.follow', '4kB'),
    says: /never followed, with release\.memory = "1MiB" \(default\)/,
  },
];

t.test('pairs that contradict each other', (t) => {
  for (const { reason, scene, says } of pairs) {
    const { message, problems } = problemsOf(scene);
    t.match(message, says, reason);
    t.equal(problems.length, 1, `${reason}: and nothing else is`);
  }
  t.doesNotThrow(
    () => load({ flags: { 'store.dir': 'd', 'state.dir': 'd-state' } }),
    'one name may begin like the other',
  );
  t.doesNotThrow(
    () => load({ flags: { 'nix.listen': '127.0.0.1:0', 'admin.listen': '127.0.0.1:0' } }),
    'two free ports',
  );
  const files = { tokens: 'read,ack me sesame' };
  t.doesNotThrow(
    () => load({ files, flags: { 'auth.tokens': 'tokens', 'admin.listen': '0.0.0.0:9501' } }),
    'tokens tell callers apart',
  );
  const watched = { ...upstream, 'health.s3.endpoint': 'http://s3:9000', 'health.s3.buckets': 'nix, tofu-state' };
  const { config } = load({ isWatched: true, flags: watched });
  t.strictSame(config.health.s3.buckets, ['nix', 'tofu-state']);
  t.end();
});

t.test('every problem is in one error', (t) => {
  const error = problemsOf({
    toml: '[nix]\nlisten = 1\nfoo = 2\n[fills]\nmax = 0',
    env: { CLEANMISS_RELEASE_BUDGET: 'soon' },
    flags: { 'log.level': 'loud', 'release.follow': '1kB' },
  });
  t.ok(isCode(error, 'CONFIG'));
  t.equal(error.blame, 'client');
  t.strictSame(
    error.problems.map(({ key, source }) => [key, source]),
    [
      ['nix.foo', 'cleanmiss.toml'],
      ['nix.listen', 'cleanmiss.toml'],
      ['fills.max', 'cleanmiss.toml'],
      ['release.budget', 'CLEANMISS_RELEASE_BUDGET'],
      ['log.level', '--log.level'],
      ['release.follow', '--release.follow'],
    ],
  );
  t.match(error.message, /^the configuration has 6 problems:\n {2}nix\.foo = 2/);
  t.end();
});

t.test('file, then environment, then flags', (t) => {
  const toml = '[fills]\nmax = 1\nperClient = 1\ndetached = 1';
  const env = { CLEANMISS_FILLS_PER_CLIENT: '2', CLEANMISS_FILLS_DETACHED: '2', CLEANMISS_FILLS_MAX: '', OTHER: 'x' };
  const { config, settings } = load({ toml, env, flags: { 'fills.detached': '3' } });
  t.strictSame(config.fills, { max: 1, perClient: 2, detached: 3 }, 'the later wins, and an empty variable is none');
  t.strictSame(
    settings.filter(({ name }) => name.startsWith('fills.')).map(({ value, source }) => [value, source]),
    [
      ['1', 'cleanmiss.toml'],
      ['2', 'CLEANMISS_FILLS_PER_CLIENT'],
      ['3', '--fills.detached'],
    ],
  );
  t.match(
    problemsOf({ toml: '[fills]\nmax = 0', flags: { 'fills.max': '3' } }).message,
    'fills.max = 0',
    'a wrong value is wrong, overruled or not',
  );
  const named = load({ file: 'etc/c.toml', files: { 'etc/c.toml': '[fills]\nmax = 9' }, toml: '[fills]\nmax = 1' });
  t.equal(named.config.fills.max, 9, 'a named file stands in for the usual one');
  t.end();
});

t.test('what Kubernetes puts into the environment for a Service called cleanmiss is not ours', (t) => {
  const env = {
    CLEANMISS_SERVICE_HOST: '10.0.0.1',
    CLEANMISS_SERVICE_PORT: '8501',
    CLEANMISS_NIX_SERVICE_PORT_HTTP: '8501',
    CLEANMISS_PORT: 'tcp://10.0.0.1:8501',
    CLEANMISS_PORT_8501_TCP: 'tcp://10.0.0.1:8501',
    CLEANMISS_NIX_PORT_8501_TCP_ADDR: '10.0.0.1',
  };
  t.doesNotThrow(() => load({ env }));
  t.notOk(
    configKeys.some((key) => /_PORT$|_SERVICE_/.test(key.env)),
    'and no key of ours can be mistaken for one',
  );
  t.end();
});

t.test('credentials are read once, and shown nowhere', (t) => {
  let reads = 0;
  const { config, settings } = loadConfig({
    cwd,
    env: { CLEANMISS_NIX_CREDENTIALS: 'token', CLEANMISS_NIX_UPSTREAM: 'https://h', CLEANMISS_HEALTH_WATCH: 'none' },
    flags: {},
    readFile: (path) => {
      if (path !== `${cwd}/token`) return undefined;
      reads += 1;
      return 'Bearer hunter2\n';
    },
  });
  t.equal(config.nix.credentials?.reveal(), 'Bearer hunter2');
  t.equal(reads, 1, 'a pipe can be read but once');
  t.notMatch(
    `${JSON.stringify(config)}${inspect(config)}${config.nix.credentials}${JSON.stringify(settings)}`,
    'hunter2',
  );
  t.equal(settings.find(({ name }) => name === 'nix.credentials')?.value, '"***"');
  t.end();
});

t.test('a public key', (t) => {
  const { trustedKeys } = load(flag('nix.trustedKeys', publicKey)).config.nix;
  t.equal(trustedKeys[0]?.name, 'cache.example.org-1');
  t.ok(trustedKeys[0]?.publicKey.equals(Buffer.alloc(32, 7)));
  t.equal(
    load(flag('nix.trustedKeys', publicKey)).settings.find(({ name }) => name === 'nix.trustedKeys')?.value,
    `["${publicKey}"]`,
  );
  t.end();
});

t.test('a file that cannot be read', (t) => {
  const readFile = () => {
    throw Object.assign(new Error("EACCES: permission denied, open 'cleanmiss.toml'"), { code: 'EACCES' });
  };
  t.throws(() => loadConfig({ cwd, env: {}, flags: {}, readFile }), /cleanmiss\.toml: EACCES: permission denied/);
  t.end();
});

t.test('names of keys', (t) => {
  const names = Object.fromEntries(configKeys.map(({ name, env }) => [name, env]));
  t.equal(names['nix.redirectHosts'], 'CLEANMISS_NIX_REDIRECT_HOSTS');
  t.equal(names['release.memory'], 'CLEANMISS_RELEASE_MEMORY', 'units are in the type only');
  t.equal(names['store.memoryBytes'], 'CLEANMISS_STORE_MEMORY_BYTES');
  t.equal(new Set(Object.values(names)).size, configKeys.length);
  t.end();
});

t.test('the table has a row for each key', (t) => {
  const lines = configTable().trimEnd().split('\n');
  t.equal(lines.length, configKeys.length + 2);
  t.equal(
    lines[2],
    '| `nix.listen` | `"127.0.0.1:8501"` | an IP address or localhost, and a port: "127.0.0.1:8501", "[::1]:0" | Where the Nix front listens. |',
  );
  t.end();
});

t.test('nearest', (t) => {
  const known = ['nix.listen', 'admin.listen', 'store.dir'];
  t.equal(nearest('nix.lisen', known), 'nix.listen');
  t.equal(nearest('NIX.LISTEN', known), 'nix.listen', 'letter case is no distance');
  t.equal(nearest('zzz', known), undefined);
  t.end();
});
