// grpc.health.v1: whether this process takes calls. It says nothing of the cache behind.

import { create } from '@bufbuild/protobuf';
import { notFound } from './call-error.ts';
import { HealthCheckResponse_ServingStatus, HealthCheckResponseSchema } from './generated/grpc/health/v1/health_pb.ts';
import type { Handlers } from './handlers.ts';
import type { healthService, Handlers as ServiceHandlers } from './services.ts';

export class Health {
  #isDraining = false;
  readonly #watchers = new Set<() => void>();

  /** From now on NOT_SERVING. */
  drain(): void {
    this.#isDraining = true;
    for (const wake of this.#watchers) wake();
  }

  handlers(handlers: Handlers): ServiceHandlers<typeof healthService> {
    const unknown = () => notFound('unknown service: ask for "", the server as a whole');
    return {
      Check: handlers.unary(unknown, async ({ service }) => {
        if (service !== '') throw unknown();
        return this.#status();
      }),
      /** Ends when the server drains: a watcher that stays would keep it. */
      Watch: handlers.serverStream(unknown, async ({ service }, { signal }, send) => {
        const unknownService = { status: HealthCheckResponse_ServingStatus.SERVICE_UNKNOWN };
        await send(service === '' ? this.#status() : create(HealthCheckResponseSchema, unknownService));
        if (this.#isDraining) return;
        await this.#drainedOr(signal);
        if (service === '' && !signal.aborted) await send(this.#status());
      }),
    };
  }

  #drainedOr(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#watchers.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#watchers.add(done);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
  }

  #status() {
    const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
    return create(HealthCheckResponseSchema, { status: this.#isDraining ? NOT_SERVING : SERVING });
  }
}
