// The wiring, in the order in which a request meets the parts. The only file that knows every concrete one.

import { createHash } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { Metrics } from './admin/metrics.ts';
import type { SuspectView } from './admin/operator-routes.ts';
import { adminServer } from './admin/server.ts';
import { instanceOf } from './bazel/blobs.ts';
import { metadataOf } from './bazel/caller.ts';
import { BazelFront } from './bazel/front.ts';
import { GrpcUpstream } from './bazel/grpc-upstream.ts';
import { noUpstream } from './bazel/no-upstream.ts';
import { canDecode } from './codec/open.ts';
import type { Config } from './config.ts';
import { Breaker } from './core/breaker.ts';
import { type Claim, claimKey } from './core/claim.ts';
import { type Clock, limited, type Timer } from './core/clock.ts';
import { spellListen } from './core/listen.ts';
import { RetryBudget } from './core/retry-budget.ts';
import { foreignCaller } from './core/same-site.ts';
import { type Front, type Telemetry, verdictReason } from './core/telemetry.ts';
import type { Gate } from './gate/gate.ts';
import { type Guard, openGuard } from './gate/guard.ts';
import { initialState, restored } from './health/machine.ts';
import type { HealthWatch } from './health/watch.ts';
import { openS3Watch } from './health/watch-s3.ts';
import { CacheInfos } from './nix/cache-infos.ts';
import type { TextPorts } from './nix/fetch-text.ts';
import { forwardWrites } from './nix/forward.ts';
import { nixFront } from './nix/front.ts';
import { HttpUpstream } from './nix/http-upstream.ts';
import { NarinfoRecords } from './nix/narinfo-records.ts';
import { Narinfos } from './nix/narinfos.ts';
import { Nars } from './nix/nars.ts';
import { ownCache } from './nix/own-cache.ts';
import { ownExtras } from './nix/own-extras.ts';
import { ownWrites } from './nix/own-writes.ts';
import { passThrough } from './nix/pass-through.ts';
import { Patience } from './nix/patience.ts';
import { PendingNars } from './nix/pending.ts';
import { readTrustedKeys } from './nix/signature.ts';
import { upstreamCache } from './nix/upstream-cache.ts';
import { Admission } from './proof/admission.ts';
import { Obtainer } from './proof/obtain.ts';
import { type Suspect, Suspects } from './proof/suspects.ts';
import { Access } from './store/access.ts';
import { MIB } from './store/form.ts';
import { settleFormat } from './store/format.ts';
import { FormStore } from './store/forms.ts';
import { Leases } from './store/leases.ts';
import { Ledger } from './store/ledger.ts';
import { ownDirectory } from './store/owner.ts';
import { RecordStore } from './store/records.ts';
import { Turns } from './store/turns.ts';

export interface House {
  readonly nix: { readonly address: string };
  readonly bazel: { readonly address: string };
  readonly admin: { readonly address: string };
  /** Stops listening, lets answers under way end within `server.drain`, then cuts what is left. */
  close(): Promise<void>;
}

interface Outer {
  readonly clock: Clock;
  readonly log: Logger;
  /** Decides writes instead of the one that health and quarantine make. */
  readonly gate?: Gate;
  readonly version?: string;
}

/** Forms of 16 KiB, smaller than most: a record for each. A name costs 160 bytes of memory, and a file a block of the disk. */
const BYTES_PER_RECORD = 16 * 1024;
const MIN_RECORDS = 10_000;
const MAX_RECORDS = 2_000_000;
/** Rows of the ledger in memory, 250 bytes each: those of some large builds, whose every blob is asked for at once. */
const LEDGER_ROWS_IN_MEMORY = 100_000;
/** Unary calls to a REAPI cache: what they ask for is in its memory, or one look at its store away. */
const REAPI_CALL_MS = 5_000;
/** 20 MB/s: slower object stores are slower than building. */
const OBJECT_BYTES_PER_MS = 20_000;
/** A push from a laptop pauses longer than an upstream may; it holds a spool meanwhile. */
const UPLOAD_IDLE_MS = 60_000;

/** Opens everything. Rejects with codes OWNED, FORMAT, DISK or EADDRINUSE; whatever was opened is closed again then. */
export const compose = async (config: Config, outer: Outer): Promise<House> => {
  const { clock, log } = outer;
  if (!canDecode('xz'))
    log.warn('there is no xz decoder on this machine: what is compressed so cannot be proven, and is a miss');
  await using opened = new AsyncDisposableStack();
  const metrics = new Metrics(['nix', 'bazel']);

  const store = await openStore(config, { clock, log }, opened);
  const { guard, watch } = await openHealth(config, outer, opened);
  const shared = makeShared(config, clock);
  const { suspects, admission } = shared;
  const parts = {
    ...store,
    ...shared,
    gate: outer.gate ?? guard.gate,
    // What is seen in a fault of the store's says nothing of the content.
    isTrusted: () => guard.keeper === null || guard.keeper.current.state === 'green',
    onSign: () => watch?.bringForward(),
    telemetry: metrics,
  };
  const nixHeart = makeHeart('nix', config, clock, parts);
  opened.defer(() => nixHeart.obtainer.close());
  const bazelHeart = makeHeart('bazel', config, clock, parts);
  opened.defer(() => bazelHeart.obtainer.close());

  const nix = await makeNixFront(config, { clock, log }, { ...parts, ...nixHeart }, opened);
  const bazel = makeBazelFront(config, { clock, log }, { ...parts, ...bazelHeart }, opened);
  const admin = adminServer({
    clock,
    log,
    metrics,
    listen: config.admin.listen,
    tokens: config.auth.tokens ?? null,
    guard,
    probe: watch && (() => watch.probeNow()),
    suspects: (limit) => suspects.list(limit).map(showSuspect),
    readings: () => {
      const { spoolBytes, ...held } = store.forms.stats();
      return {
        store: held,
        spoolBytes,
        fillsActive: admission.active,
        suspects: { open: suspects.open, held: 0 },
        breakers: {
          ...(config.nix.upstream !== undefined && { nix: nixHeart.breaker.state }),
          ...(config.bazel.upstream !== undefined && { bazel: bazelHeart.breaker.state }),
        },
        redirectsRefused: [...nix.refusedHosts()].map(([host, count]) => ({ host, count })),
      };
    },
  });

  opened.defer(() => admin.app.close());
  const nixAddress = await listen(nix.app, config.nix.listen);
  opened.defer(() => nix.app.close());
  const bazelAddress = await bazel.listen(config.bazel.listen);
  opened.defer(() => bazel.close(clock, 0));
  const adminAddress = await listen(admin.app, config.admin.listen);

  const rooms = opened.move();
  return {
    nix: { address: nixAddress },
    bazel: { address: bazelAddress },
    admin: { address: adminAddress },
    close: async () => {
      admin.drain();
      const { drainMs } = config.server;
      await Promise.all([drain(nix.app, clock, drainMs), bazel.close(clock, drainMs)]);
      await rooms.disposeAsync();
    },
  };
};

/** One directory, one owner, one layout; forms and records in it. */
const openStore = async (config: Config, { clock, log }: Outer, opened: AsyncDisposableStack) => {
  const { dir, maxBytes, memoryBytes } = config.store;
  for (const directory of [dir, config.state.dir]) {
    const owner = await ownDirectory(directory, clock);
    opened.defer(() => owner.release());
    await settleFormat(directory);
  }
  const spoolMemoryBytes = config.release.memoryBytes;
  const forms = await FormStore.open({ dir, maxBytes, memoryBytes, spoolMemoryBytes, clock, durable: false, log });
  opened.defer(() => forms.close());
  const maxForms = Math.min(Math.max(MIN_RECORDS, Math.ceil(maxBytes / BYTES_PER_RECORD)), MAX_RECORDS);
  const shared = { clock, durable: false, log, allow: (bytes: number) => forms.allow(bytes) };
  // Without an upstream a narinfo that is let go is lost, however many more there are than an upstream's would be worth.
  const isCache = config.nix.upstream === undefined || config.bazel.upstream === undefined;
  const bounds = isCache ? { maxRecords: maxForms } : {};
  const records = await RecordStore.open({ ...shared, ...bounds, dir });
  opened.defer(() => records.close());
  const rows = await RecordStore.open({
    ...shared,
    dir: config.state.dir,
    folder: 'ledger',
    maxRecords: maxForms,
    memoryEntries: LEDGER_ROWS_IN_MEMORY,
  });
  opened.defer(() => rows.close());
  return { forms, records, rows };
};

type Store = Awaited<ReturnType<typeof openStore>>;

/** Quarantine, incidents and the audit log, and, where somebody watches the object store, its health. */
const openHealth = async (
  config: Config,
  { clock, log, version = '0' }: Outer,
  opened: AsyncDisposableStack,
): Promise<{ readonly guard: Guard; readonly watch: HealthWatch | undefined }> => {
  const { watch: watched, markers, s3 } = config.health;
  const { endpoint } = s3;
  const isWatched = watched === 's3' && endpoint !== undefined;
  const guard = await openGuard({ dir: config.state.dir, clock, log, isWatched });
  opened.defer(() => guard.close());
  const { keeper } = guard;
  if (!isWatched || keeper === null) return { guard, watch: undefined };
  const { watch, close } = openS3Watch({
    ...s3,
    clock,
    log,
    version,
    endpoint: endpoint.origin,
    credentials: s3.credentials === undefined ? null : { file: s3.credentials },
    markersDir: markers ?? null,
    state: keeper.saved === null ? initialState(clock.now()) : restored(keeper.saved, clock.now()),
    mayWrite: () => guard.quarantine.orders.length === 0,
    random: Math.random,
  });
  opened.defer(close);
  keeper.follow(watch);
  watch.start();
  return { guard, watch };
};

const showSuspect = ({ claim, refuted, since }: Suspect): SuspectView => ({
  id: createHash('sha256').update(claimKey(claim)).digest('hex').slice(0, 16),
  tenant: claim.place.tenant,
  path: claim.place.path,
  sha256: claim.digest.sha256,
  sizeBytes: claim.digest.sizeBytes,
  encoding: claim.encoding,
  reason: refuted.reason,
  since: new Date(since).toISOString(),
});

/** What both fronts draw on, whatever they ask for. */
const makeShared = (config: Config, clock: Clock) => ({
  admission: new Admission({ max: config.fills.max, perClient: config.fills.perClient }),
  retries: new RetryBudget(clock),
  suspects: new Suspects(clock),
});

interface Shared extends Store, ReturnType<typeof makeShared> {
  readonly gate: Gate;
  readonly telemetry: Telemetry;
  /** Whether the store's bucket index is proven healthy, or nobody watches it. */
  isTrusted(): boolean;
  /** Something is amiss that the store may be the cause of. */
  onSign(): void;
}

/** What gives verdicts to one front, whose upstream it is that fails or not. */
const makeHeart = (front: Front, config: Config, clock: Clock, shared: Shared) => {
  const { forms, suspects, admission, retries, telemetry } = shared;
  // Without an upstream what we acknowledge is nowhere else.
  const isDurable = config[front].upstream === undefined;
  const records = shared.records.durably(isDurable);
  const ledger = new Ledger(shared.rows.durably(isDurable), clock, records);
  const breaker = new Breaker(clock, config.upstream.firstByteMs);
  const obtainer = new Obtainer({
    clock,
    forms,
    ledger,
    suspects,
    admission,
    breaker,
    retries,
    idleMs: config.upstream.idleMs,
    extraFirstByteMs: (claim) => (front === 'bazel' ? wholeObjectMs(claim) : 0),
    maxDetached: config.fills.detached,
    // No health is watched yet, so nothing speaks against a refutation.
    mayRefute: shared.isTrusted,
    onTransfer: () => telemetry.transfer(front),
    onVerdict: (_claim, verdict) => {
      telemetry.verdict(front, verdict.kind, verdict.kind === 'proven' ? 'none' : verdictReason(verdict));
      if (verdict.kind === 'refuted' || verdict.kind === 'unavailable') shared.onSign();
    },
  });
  return { records, ledger, obtainer, breaker };
};

/** bazel-remote fetches a whole object from its store before its first byte goes out. */
const wholeObjectMs = ({ digest }: Claim): number => (digest.sizeBytes ?? 0) / OBJECT_BYTES_PER_MS;

type Heart = ReturnType<typeof makeHeart>;

type FrontParts = Omit<Shared, 'records'> & Heart;

const makeNixFront = async (config: Config, outer: Outer, parts: FrontParts, opened: AsyncDisposableStack) => {
  const { upstream: origin } = config.nix;
  return origin === undefined
    ? await ownNixFront(config, outer, parts)
    : upstreamNixFront(config, origin, outer, parts, opened);
};

const releaseOf = ({ release }: Config) => ({
  budgetMs: release.budgetMs,
  follow: release.follow.kind === 'above' ? { aboveBytes: release.follow.sizeBytes } : release.follow.kind,
});

/** Our own store is the cache: a NAR and its narinfo are pushed here, and served while they are here. */
const ownNixFront = async (config: Config, { clock, log }: Outer, parts: FrontParts) => {
  const { forms, records: infos, ledger, obtainer, gate, telemetry } = parts;
  const records = new NarinfoRecords(infos, clock);
  const access = new Access({
    clock,
    records: infos,
    // Only loopback reaches a front without an upstream: the configuration sees to it.
    isPublic: true,
    ttlMs: config.auth.ttlMs,
    graceMs: config.auth.graceMs,
    check: () => Promise.resolve('accepted'),
  });
  const app = nixFront({
    clock,
    access,
    release: releaseOf(config),
    callerFault: (headers) => foreignCaller(headers, config.nix.listen),
    reads: {
      telemetry,
      cache: ownCache({ records, infos, obtainer, pinUrls: config.nix.pinUrls }),
      passThrough: ownExtras(infos),
      findUrl: () => Promise.resolve(undefined),
      onMiss: (fields) => log.info(fields, 'nix: a miss'),
    },
    writes: ownWrites({
      clock,
      log,
      gate,
      telemetry,
      forms,
      records,
      infos,
      ledger,
      obtainer,
      pending: await PendingNars.open(infos, forms, clock, config.store.maxBytes),
      trustedKeys: trustedKeysOf(config),
      turns: new Turns(),
      idleMs: UPLOAD_IDLE_MS,
      maxDecodedBytes: config.store.maxBytes,
    }),
  });
  return { app, refusedHosts: (): ReadonlyMap<string, number> => new Map() };
};

/** The object store is one that redirects may lead to, and that a narinfo may name. */
const storeHosts = ({ health }: Config): readonly string[] => {
  if (health.s3.endpoint === undefined) return [];
  const { hostname, port, protocol } = new URL(health.s3.endpoint.origin);
  return [`${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`];
};

/** The caches of an upstream: its metadata, its bodies once they are proven, its writes once the gate allows. */
const upstreamNixFront = (
  config: Config,
  { origin, authority, path }: NonNullable<Config['nix']['upstream']>,
  { clock, log }: Outer,
  parts: FrontParts,
  opened: AsyncDisposableStack,
) => {
  const { records: rows, obtainer, suspects, gate, telemetry } = parts;
  const { firstByteMs, idleMs } = config.upstream;
  const ca = config.nix.upstreamCa ?? null;
  const basePath = `${path}${config.nix.prefix ?? ''}`.slice(1);
  const upstream = new HttpUpstream({
    origin,
    authority,
    basePath,
    ca,
    redirectHosts: [...config.nix.redirectHosts, ...storeHosts(config)],
    connectTimeoutMs: firstByteMs,
  });
  opened.defer(() => upstream.close());

  const text: TextPorts = { clock, upstream, breaker: new Breaker(clock, firstByteMs) };
  const patience = new Patience(clock);
  const access: Access = new Access({
    clock,
    records: rows,
    isPublic: config.nix.public,
    ttlMs: config.auth.ttlMs,
    graceMs: config.auth.graceMs,
    check: (cache, credentials, withinMs) => cacheInfos.check(cache, credentials, withinMs),
  });
  const metadata = { clock, text, patience, access, freshMs: config.records.freshMs };
  const cacheInfos = new CacheInfos({ ...metadata, records: rows });
  const records = new NarinfoRecords(rows, clock);
  const narinfos = new Narinfos({
    ...metadata,
    records,
    trustedKeys: trustedKeysOf(config),
    onFault: (cache, storeHash, fault) =>
      log.warn({ cache, storeHash, ...fault }, 'nix: a narinfo that is not passed on'),
  });
  const nars = new Nars({ narinfos, records, access, upstream, obtainer, suspects });

  const app = nixFront({
    clock,
    access,
    release: releaseOf(config),
    reads: {
      telemetry,
      cache: upstreamCache({ cacheInfos, narinfos, nars, obtainer, suspects, pinUrls: config.nix.pinUrls }),
      passThrough: passThrough({ clock, upstream, firstByteMs, idleMs }),
      findUrl: (path, query) => records.findUrl(path, query),
      onMiss: (fields) => log.info(fields, 'nix: a miss'),
    },
    writes: (server) =>
      forwardWrites(server, {
        clock,
        gate,
        telemetry,
        origin,
        authority,
        basePath,
        ca,
        onNarinfoWritten: (cache, storeHash) => void records.outdate(cache, storeHash),
      }),
  });
  return { app, refusedHosts: () => upstream.refusedHosts };
};

/** The REAPI services, in front of a cache or as the cache. */
const makeBazelFront = (
  config: Config,
  { clock, log }: Outer,
  parts: FrontParts,
  opened: AsyncDisposableStack,
): BazelFront => {
  const { upstream: origin } = config.bazel;
  const upstream =
    origin === undefined
      ? noUpstream
      : new GrpcUpstream({
          clock,
          breaker: new Breaker(clock, REAPI_CALL_MS),
          address: spellListen(origin),
          isTls: origin.isTls,
        });
  opened.defer(() => upstream.close());
  const access: Access = new Access({
    clock,
    records: parts.records,
    isPublic: origin === undefined,
    ttlMs: config.auth.ttlMs,
    graceMs: config.auth.graceMs,
    check: async (tenant, credentials, withinMs) => {
      const behalf = { credentials, metadata: metadataOf(credentials) };
      const answer = await limited(clock, withinMs, (signal) =>
        upstream.findMissing(instanceOf(tenant), [], { ...behalf, signal }),
      );
      if (answer.kind === 'missing') access.accepted(tenant, credentials, false);
      if (answer.kind === 'denied') access.refused(tenant, credentials);
      return answer.kind === 'missing' ? 'accepted' : answer.kind === 'denied' ? 'refused' : 'unavailable';
    },
  });
  // Of the rest, and of what comes new, nothing would be left.
  const leases = new Leases(clock, parts.forms, { leaseMs: config.bazel.leaseMs, maxBytes: config.store.maxBytes / 2 });
  opened.defer(() => leases.close());
  return new BazelFront({
    ...parts,
    leases,
    clock,
    log,
    access,
    upstream,
    memoryBytes: Math.max(config.release.memoryBytes, MIB),
    freshActionsMs: config.records.freshActionsMs,
    uploadIdleMs: UPLOAD_IDLE_MS,
    terms: config.bazel,
    mayTrust: parts.isTrusted,
  });
};

const trustedKeysOf = ({ nix }: Config) => (nix.trustedKeys.length === 0 ? null : readTrustedKeys(nix.trustedKeys));

const listen = async (app: FastifyInstance, at: { readonly host: string; readonly port: number }): Promise<string> => {
  await app.listen({ host: at.host, port: at.port });
  // A listener on TCP, as asked for above, has an address of this shape.
  const address = app.server.address() as AddressInfo;
  return spellListen({ host: address.address, port: address.port });
};

/** A kept-alive connection whose answer ended is closed so soon, for its client may keep it for ever. */
const SWEEP_MS = 100;

/** New connections are refused at once; what is under way has `drainMs`. */
const drain = async (app: FastifyInstance, clock: Clock, drainMs: number): Promise<void> => {
  const endsAt = clock.monotonic() + drainMs;
  let timer: Timer;
  const sweep = (): void => {
    if (clock.monotonic() < endsAt) app.server.closeIdleConnections();
    else app.server.closeAllConnections();
    timer = clock.after(SWEEP_MS, sweep);
  };
  timer = clock.after(0, sweep);
  try {
    await app.close();
  } finally {
    timer.cancel();
  }
};
