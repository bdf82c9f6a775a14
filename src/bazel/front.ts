// The Bazel front: the REAPI cache services on one gRPC server.

import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { Clock } from '../core/clock.ts';
import { type Listen, spellListen } from '../core/listen.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Gate } from '../gate/gate.ts';
import type { Obtainer } from '../proof/obtain.ts';
import type { Suspects } from '../proof/suspects.ts';
import type { Access } from '../store/access.ts';
import type { FormStore } from '../store/forms.ts';
import type { Leases } from '../store/leases.ts';
import type { Ledger } from '../store/ledger.ts';
import type { Records } from '../store/records.ts';
import { actionCache } from './action-cache.ts';
import { ActionRecords } from './action-records.ts';
import { Blobs } from './blobs.ts';
import { byteStream } from './byte-stream.ts';
import { capabilitiesHandlers } from './capabilities.ts';
import { contentAddressableStorage } from './cas.ts';
import { GatedWrites } from './gated.ts';
import { Handlers, served } from './handlers.ts';
import { Health } from './health.ts';
import { Promises, type PromiseTerms } from './promise.ts';
import { actionCacheService, byteStreamService, capabilitiesService, casService, healthService } from './services.ts';
import { Trees } from './trees.ts';
import { Uploads } from './uploads.ts';
import type { ReapiUpstream } from './upstream.ts';
import { widenConnections, widenStreams } from './windows.ts';

export interface BazelParts {
  readonly clock: Clock;
  readonly log: { warn(fields: object, message: string): void; info(fields: object, message: string): void };
  readonly gate: Gate;
  readonly telemetry: Telemetry;
  readonly access: Access;
  readonly upstream: ReapiUpstream;
  readonly obtainer: Obtainer;
  readonly suspects: Suspects;
  readonly forms: FormStore;
  readonly ledger: Ledger;
  readonly records: Records;
  readonly memoryBytes: number;
  readonly freshActionsMs: number;
  readonly uploadIdleMs: number;
  readonly leases: Leases;
  readonly terms: PromiseTerms;
  mayTrust(): boolean;
}

/** A batch of 4 MiB and its envelope; what is larger by more is refused by gRPC itself, which Bazel never sends. */
const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;

/** Of one connection: Bazel opens another at 100. */
const MAX_STREAMS = 1000;

export class BazelFront {
  readonly #server: Server;
  readonly #health: Health;
  readonly #log: BazelParts['log'];

  constructor(parts: BazelParts) {
    const { clock, access, gate, log, telemetry, upstream } = parts;
    this.#log = log;
    const handlers = new Handlers({
      clock,
      access,
      onError: (method, err) => log.warn({ err, method }, 'bazel: a call failed for a reason of ours'),
    });
    const gated = new GatedWrites(gate, telemetry);
    const blobs = new Blobs(parts);
    const trees = new Trees(blobs);
    const uploads = new Uploads({
      ...parts,
      blobs,
      gated,
      idleMs: parts.uploadIdleMs,
      isDurable: !upstream.isThere,
    });
    const promises = new Promises({
      ...parts.terms,
      clock,
      blobs,
      trees,
      isUpstreamThere: upstream.isThere,
      mayTrust: parts.mayTrust,
      lease: (digests) => parts.leases.grant(digests),
    });
    this.#health = new Health();
    this.#server = new Server({
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': MAX_STREAMS,
    });
    const add = this.#server.addService.bind(this.#server);
    add(served(capabilitiesService), { ...capabilitiesHandlers(handlers) });
    add(served(actionCacheService), {
      ...actionCache({
        ...parts,
        handlers,
        blobs,
        promises,
        gated,
        records: new ActionRecords(parts.records, clock),
        freshMs: parts.freshActionsMs,
        onMiss: (instance, action, reason) => log.info({ instance, action: action.sha256, reason }, 'bazel: a miss'),
      }),
    });
    add(served(casService), {
      ...contentAddressableStorage({ handlers, blobs, uploads, trees, upstream, gated, telemetry }),
    });
    add(served(byteStreamService), { ...byteStream({ clock, handlers, blobs, uploads, telemetry }) });
    add(served(healthService), { ...this.#health.handlers(handlers) });
  }

  /** Resolves with where it listens. Rejects with code EADDRINUSE. */
  async listen(at: Listen): Promise<string> {
    const isWide = widenStreams(this.#server);
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(spellListen(at), ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(bindFault(error, at)),
      );
    });
    if (!(widenConnections(this.#server) && isWide))
      this.#log.warn({}, 'bazel: HTTP/2 windows cannot be widened with this grpc-js, and uploads are slow');
    return spellListen({ host: at.host, port });
  }

  /** Takes no new calls; those under way have `drainMs`. */
  async close(clock: Clock, drainMs: number): Promise<void> {
    this.#health.drain();
    const timer = clock.after(drainMs, () => this.#server.forceShutdown());
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    timer.cancel();
  }
}

/** grpc-js keeps of the system's error only its words; whoever starts us is told by its code what to change. */
const bindFault = (error: Error, { host, port }: Listen): Error => {
  const [, code] = /\blisten (E[A-Z]+)/.exec(error.message) ?? [];
  return code === undefined ? error : Object.assign(error, { code, syscall: 'listen', address: host, port });
};
