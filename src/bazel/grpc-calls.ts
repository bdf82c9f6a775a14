// Unary calls to a REAPI cache: each in its time, through one breaker, its end read as what it says of what was asked.

import { type Client, type ServiceError, status } from '@grpc/grpc-js';
import type { Breaker } from '../core/breaker.ts';
import type { Clock } from '../core/clock.ts';
import { type Failure, unavailable } from '../core/verdict.ts';
import type { Credentials } from '../store/access.ts';
import { Lru } from '../store/lru.ts';
import { CallError } from './call-error.ts';
import type { Behalf } from './upstream.ts';

export interface GrpcCallPorts {
  readonly clock: Clock;
  /** How long a call may take, and whether it is worth it. */
  readonly breaker: Breaker;
  readonly client: Client;
}

/** bazel-remote tries a refused S3 for 4 s before it says UNKNOWN, at each call (measured): as bad as no answer. */
const SLOW_ERROR_MS = 1_000;
const MAX_REFUSED_CLIENTS = 10_000;

type UnaryMethod<Request, Response> = {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
};

export class GrpcCalls {
  readonly #ports: GrpcCallPorts;
  readonly #refused = new Lru<CallError>({ maxEntries: MAX_REFUSED_CLIENTS, maxBytes: Number.POSITIVE_INFINITY });
  /** Of calls under way: nobody's, where several wait for one. */
  readonly #cancels = new Set<() => void>();
  #isClosed = false;

  /** Whoever makes one closes it. */
  constructor(ports: GrpcCallPorts) {
    this.#ports = ports;
  }

  async unary<Request, Response>(
    { path, requestSerialize, responseDeserialize }: UnaryMethod<Request, Response>,
    request: Request,
    { credentials, metadata, signal }: Behalf,
  ): Promise<{ readonly kind: 'answer'; readonly value: Response } | Failure> {
    const { breaker, client, clock } = this.#ports;
    if (!breaker.admits() && !(await breaker.closesSoon())) return unavailable('breaker');
    if (signal.aborted || this.#isClosed) return unavailable('aborted');
    const { promise, resolve } = Promise.withResolvers<{ readonly value?: Response; readonly error?: ServiceError }>();
    const call = client.makeUnaryRequest<Request, Response>(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      (error, value) => resolve(error === null ? { value: value as Response } : { error }),
    );
    const cancel = () => call.cancel();
    const askedAt = clock.monotonic();
    let isLate = false;
    const timer = clock.after(breaker.firstByteMs, () => {
      isLate = true;
      cancel();
    });
    signal.addEventListener('abort', cancel, { once: true });
    this.#cancels.add(cancel);
    const { value, error } = await promise;
    timer.cancel();
    this.#cancels.delete(cancel);
    signal.removeEventListener('abort', cancel);
    if (isLate) {
      breaker.failed();
      return unavailable('first-byte');
    }
    if (signal.aborted || this.#isClosed) return unavailable('aborted');
    if (error === undefined) {
      breaker.succeeded();
      return { kind: 'answer', value: value as Response };
    }
    const failure = this.failureOf(error, credentials);
    const isSlow = clock.monotonic() - askedAt > SLOW_ERROR_MS;
    if (failure.kind !== 'unavailable') breaker.succeeded();
    else if (failure.reason === 'refused' || isSlow) breaker.failed();
    return failure;
  }

  /** What a call's end says, be it of this kind or a stream. */
  failureOf(error: unknown, { key }: Credentials): Failure {
    const { code, details } = error as Partial<ServiceError>;
    switch (code) {
      case status.NOT_FOUND:
        return { kind: 'absent' };
      case status.UNAUTHENTICATED:
      case status.PERMISSION_DENIED:
        this.#refused.set(key, new CallError(code, details ?? ''));
        return { kind: 'denied' };
      case status.UNAVAILABLE:
        return unavailable('refused', details);
      case status.CANCELLED:
      case status.DEADLINE_EXCEEDED:
        return unavailable('first-byte', details);
      case undefined:
        return unavailable('protocol', error instanceof Error ? error.message : String(error));
      default:
        return unavailable('status', `${status[code]}: ${details}`);
    }
  }

  /** The words of the last refusal. */
  refusal({ key }: Credentials): CallError {
    return (
      this.#refused.get(key) ?? new CallError(status.PERMISSION_DENIED, 'the cache behind refuses these credentials')
    );
  }

  /** Cancels what is under way. */
  close(): void {
    this.#isClosed = true;
    for (const cancel of this.#cancels) cancel();
  }
}
