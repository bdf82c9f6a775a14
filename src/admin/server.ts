// Admin: what operators, Prometheus and Kubernetes ask. It answers from memory, and so also when the store hangs.

import { type FastifyInstance, fastify } from 'fastify';
import type { Clock } from '../core/clock.ts';
import type { Listen } from '../core/listen.ts';
import type { Metrics } from './metrics.ts';
import { rawProblem, sendProblem } from './problem.ts';
import { foreignCaller } from './same-site.ts';
import { type Readings, statusOf } from './status.ts';

/** Nothing here takes long to ask: a caller that needs more is no caller. */
const REQUEST_TIMEOUT_MS = 10_000;

export interface AdminParts {
  readonly clock: Clock;
  /** Where it is going to listen: what it asks of the Host header rests on it. */
  readonly listen: Listen;
  readonly metrics: Metrics;
  readonly readings: () => Readings;
  readonly log: { error(fields: object, message: string): void };
}

export interface AdminServer {
  /** Not listening yet: whoever composes lets it listen once the fronts do, for `/readyz` says so from then on. */
  readonly app: FastifyInstance;
  /** From now on `/readyz` is 503, and Kubernetes sends nobody here. */
  drain(): void;
}

export const adminServer = ({ clock, listen, metrics, readings, log }: AdminParts): AdminServer => {
  const startedAtMs = clock.now();
  let isDraining = false;
  const app = fastify({
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
    frameworkErrors: (_error, _request, reply) => sendProblem(reply, 400, 'the URL cannot be read'),
    clientErrorHandler: (_error, socket) => {
      if (socket.writable) socket.end(rawProblem(400, 'this is no HTTP request'));
    },
  });

  app.addHook('onRequest', async (request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
    const refusal = foreignCaller(request.headers, listen);
    return refusal === null ? undefined : sendProblem(reply, 403, refusal);
  });
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, 404, 'there is nothing here'));
  app.setErrorHandler((error: { statusCode?: number }, _request, reply) => {
    const status = error.statusCode ?? 500;
    if (status < 500) return sendProblem(reply, status, 'the request cannot be read');
    log.error({ err: error }, 'admin: no answer');
    return sendProblem(reply, status, 'the log says more');
  });

  app.get('/livez', (_request, reply) => reply.type('text/plain').send('live\n'));
  app.get('/readyz', (_request, reply) =>
    isDraining ? sendProblem(reply, 503, 'draining') : reply.type('text/plain').send('ready\n'),
  );
  app.get('/metrics', async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.scrape(readings())),
  );
  app.get('/v1/status', (_request, reply) => reply.send(statusOf(readings(), startedAtMs)));

  return {
    app,
    drain: () => {
      isDraining = true;
    },
  };
};
