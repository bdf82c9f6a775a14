// A REAPI cache on a real port, right until it is told otherwise: it fails in every way that is scripted, and records every call.

import { createServer, type Server as Listener, type Socket } from 'node:net';
import {
  type ChannelOptions,
  type ConnectionInjector,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerWritableStream,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import {
  actionCacheService,
  byteStreamService,
  capabilitiesService,
  casService,
  healthService,
} from '../../src/bazel/services.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { answersOf } from './reapi/answers.ts';
import type { Behaviour } from './reapi/behaviours.ts';
import { ReapiCache } from './reapi/cache.ts';
import type { ReapiCall, ReapiMethod } from './reapi/call.ts';
import { carryOut, endCall, type ServedCall, type Wire } from './reapi/carry-out.ts';
import { type Plan, plainPlan } from './reapi/plan.ts';
import { Refused } from './reapi/status.ts';
import { takeWrite } from './reapi/take-write.ts';

export interface ReapiOptions {
  /** Each instance has its own blobs and results; else one keyspace serves all, as in bazel-remote. */
  readonly separateInstances?: boolean;
  readonly clock?: Clock;
  /** grpc-js's, for the server. */
  readonly channel?: ChannelOptions;
}

export type Matcher =
  | ReapiMethod
  | {
      readonly method?: ReapiMethod;
      /** Among those that the call names. */
      readonly hash?: string;
      readonly instance?: string;
      readonly encoding?: ReapiCall['encoding'];
    }
  | ((call: ReapiCall) => boolean);

const isMatch = (matcher: Matcher, call: ReapiCall): boolean => {
  if (typeof matcher === 'function') return matcher(call);
  if (typeof matcher === 'string') return matcher === call.method;
  const { method = call.method, hash, instance = call.instance, encoding = call.encoding } = matcher;
  return (
    method === call.method &&
    instance === call.instance &&
    encoding === call.encoding &&
    (hash === undefined || call.digests.some((digest) => digest.hash === hash))
  );
};

const isSame = (a: Matcher, b: Matcher): boolean =>
  a === b || (typeof a === 'object' && JSON.stringify(a) === JSON.stringify(b));

const asIs = (bytes: Buffer): Buffer => bytes;

/** Every method under its path, as a stream of answers: on the wire that is what a single answer is too. */
const definitions: Record<string, MethodDefinition<Buffer, Buffer>> = Object.fromEntries(
  [capabilitiesService, actionCacheService, casService, byteStreamService, healthService]
    .flatMap((service) => Object.entries(service))
    .map(([name, { path, requestStream }]) => [
      name,
      {
        path,
        requestStream,
        responseStream: true,
        requestSerialize: asIs,
        requestDeserialize: asIs,
        responseSerialize: asIs,
        responseDeserialize: asIs,
      },
    ]),
);

export class ScriptedReapi {
  /** In order of arrival. */
  readonly calls: ReapiCall[] = [];
  readonly cache: ReapiCache;
  readonly #clock: Clock;
  readonly #scripts: { readonly matcher: Matcher; readonly behaviours: readonly Behaviour[] }[] = [];
  readonly #waiting = new Set<{ readonly isTrue: () => boolean; readonly resolve: () => void }>();
  readonly #mistakes: unknown[] = [];
  readonly #mostOpen = new Map<ReapiMethod, number>();
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  /** Ours, and not grpc-js's: it alone can cut a connection as a lost host does. */
  readonly #listener: Listener;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  /** Use `startReapi`; whoever does so calls `close`. */
  constructor({ separateInstances = false, clock = systemClock, channel = {} }: ReapiOptions) {
    this.cache = new ReapiCache(separateInstances);
    this.#clock = clock;
    this.#server = new Server(channel);
    this.#server.addService(definitions, this.#handlers());
    const injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#injector = injector;
    this.#listener = createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      injector.injectConnection(socket);
    });
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** From now on these behaviours, and no earlier ones under the same matcher, meet the calls that match; without any, none. */
  script(matcher: Matcher, ...behaviours: readonly Behaviour[]): void {
    const index = this.#scripts.findIndex((script) => isSame(script.matcher, matcher));
    if (index >= 0) this.#scripts.splice(index, 1);
    if (behaviours.length > 0) this.#scripts.push({ matcher, behaviours });
  }

  callsOf(matcher: Matcher): ReapiCall[] {
    return this.calls.filter((call) => isMatch(matcher, call));
  }

  open(method?: ReapiMethod): number {
    return this.calls.filter((call) => call.ended === 'open' && (method === undefined || call.method === method))
      .length;
  }

  /** The most that were ever open at once. */
  mostOpen(method: ReapiMethod): number {
    return this.#mostOpen.get(method) ?? 0;
  }

  /** Resolves as soon as it is true; looked at whenever a call comes, goes on or ends. */
  until(isTrue: () => boolean): Promise<void> {
    if (isTrue()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.add({ isTrue, resolve }));
  }

  /** So many such calls have come. */
  asked(matcher: Matcher, count = 1): Promise<void> {
    return this.until(() => this.callsOf(matcher).length >= count);
  }

  idle(): Promise<void> {
    return this.until(() => this.open() === 0);
  }

  /** Ends connections as a killed server does: without a word. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Nothing listens any more, and every connection is gone: connects are refused. */
  async refuse(): Promise<void> {
    if (!this.#listener.listening) return;
    await new Promise<void>((resolve) => {
      this.#listener.close(() => resolve());
      this.dropConnections();
    });
    await this.idle();
  }

  /** Listens again, on the same port as before. */
  async comeBack(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen(this.#port, '127.0.0.1', () => {
        this.#listener.off('error', reject);
        resolve();
      });
    });
    const address = this.#listener.address();
    if (address && typeof address === 'object') this.#port = address.port;
  }

  /** Ends every call and connection. Rejects with the first mistake in a script. */
  async close(): Promise<void> {
    await this.refuse();
    this.#injector.destroy();
    this.#server.forceShutdown();
    if (this.#mistakes.length > 0) throw this.#mistakes[0];
  }

  #handlers(): UntypedServiceImplementation {
    const answers = answersOf(this.cache);
    const unary = Object.entries(answers).map(([name, answer]) => [
      name,
      (call: ServerWritableStream<Buffer, Buffer>) => {
        // The keys of `answers` are method names.
        const wire = this.#begin(name as ReapiMethod, call);
        this.#carryOut(wire, async () => {
          wire.record.messagesReceived = 1;
          wire.record.bytesReceived = 5 + call.request.length;
          const { note, reply } = answer(call.request);
          note(wire.record);
          const plan = this.#plan(wire.record);
          // What fails before anything is sent fails before it is looked up.
          await carryOut(wire, plan, () => reply(plan, wire.record));
        });
      },
    ]);
    const write = (call: ServerDuplexStream<Buffer, Buffer>) => {
      const wire = { ...this.#begin('Write', call), call };
      this.#carryOut(wire, () => takeWrite(wire, this.cache, (record) => this.#plan(record)));
    };
    return Object.fromEntries([...unary, ['Write', write]]);
  }

  #begin(method: ReapiMethod, call: ServedCall): Wire {
    const deadline = Number(call.getDeadline());
    const record: ReapiCall = {
      method,
      instance: '',
      digests: [],
      encoding: 'identity',
      resourceName: '',
      offset: 0,
      limit: 0,
      isFinished: false,
      metadata: call.metadata.getMap(),
      authority: call.getHost(),
      peer: call.getPeer(),
      deadlineMs: deadline - Date.now(),
      atMs: performance.now(),
      bytesSent: 0,
      bytesReceived: 0,
      messagesSent: 0,
      messagesReceived: 0,
      ended: 'open',
      code: null,
    };
    this.calls.push(record);
    this.#mostOpen.set(method, Math.max(this.open(method), this.mostOpen(method)));
    const left = new AbortController();
    // grpc-js says `cancelled` after every call, also after those that ended well.
    call.once('cancelled', () => {
      if (record.ended === 'open') record.ended = 'cancelled';
      left.abort();
      this.#changed();
    });
    return { call, record, clock: this.#clock, gone: left.signal, onProgress: () => this.#changed() };
  }

  #carryOut(wire: Wire, work: () => Promise<void>): void {
    this.#changed();
    work().catch((error: unknown) => {
      if (wire.gone.aborted) return;
      if (error instanceof Refused) return endCall(wire, error.code, error.message);
      this.#mistakes.push(error);
      endCall(wire, status.INTERNAL, `mistake in a script: ${error}`);
    });
  }

  #plan(call: ReapiCall): Plan {
    // Whoever waits for such a call finds it with all that it names.
    this.#changed();
    return this.#scripts
      .filter(({ matcher }) => isMatch(matcher, call))
      .flatMap(({ behaviours }) => behaviours)
      .reduce((plan, behave) => behave(plan, call), plainPlan);
  }

  #changed(): void {
    for (const one of this.#waiting) {
      if (!one.isTrue()) continue;
      this.#waiting.delete(one);
      one.resolve();
    }
  }
}

/** Listens on a free port of 127.0.0.1. */
export const startReapi = async (options: ReapiOptions = {}): Promise<ScriptedReapi> => {
  const upstream = new ScriptedReapi(options);
  await upstream.comeBack();
  return upstream;
};
