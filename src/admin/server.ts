// Admin: what operators, Prometheus and Kubernetes ask. It answers from memory, and so also when the store hangs.

import { type FastifyInstance, fastify } from 'fastify';
import type { Clock } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import type { Listen } from '../core/listen.ts';
import { foreignCaller } from '../core/same-site.ts';
import type { Tokens } from '../core/tokens.ts';
import type { Guard } from '../gate/guard.ts';
import { refuseAccess } from './access.ts';
import { eventRoutes } from './events.ts';
import { incidentRoutes } from './incident-routes.ts';
import type { Metrics } from './metrics.ts';
import { type OperatorPorts, operatorRoutes } from './operator-routes.ts';
import { rawProblem, sendProblem } from './problem.ts';
import { quarantineRoutes } from './quarantine-routes.ts';
import { type Readings, statusOf } from './status.ts';

/** Nothing here takes long to ask: a caller that needs more is no caller. */
const REQUEST_TIMEOUT_MS = 10_000;
/** A reason, a note. */
const MAX_BODY_BYTES = 16 * 1024;

export interface AdminParts extends OperatorPorts {
  readonly clock: Clock;
  /** Where it is going to listen: what it asks of the Host header rests on it. */
  readonly listen: Listen;
  readonly metrics: Metrics;
  readonly readings: () => Readings;
  readonly log: { error(fields: object, message: string): void };
  /** Of `auth.tokens`; without them only this machine may ask. */
  readonly tokens?: Tokens | null;
  readonly guard?: Guard | undefined;
}

export interface AdminServer {
  /** Not listening yet: whoever composes lets it listen once the fronts do, for `/readyz` says so from then on. */
  readonly app: FastifyInstance;
  /** From now on `/readyz` is 503, and Kubernetes sends nobody here. */
  drain(): void;
}

export const adminServer = (parts: AdminParts): AdminServer => {
  const { clock, listen, metrics, log, tokens = null, guard } = parts;
  const readings = () => ({ ...parts.readings(), ...(guard && { guard: guard.readings() }) });
  const status = () => statusOf(readings(), startedAtMs);
  const startedAtMs = clock.now();
  let isDraining = false;
  const app = fastify({
    requestTimeout: REQUEST_TIMEOUT_MS,
    bodyLimit: MAX_BODY_BYTES,
    forceCloseConnections: true,
    frameworkErrors: (_error, _request, reply) => sendProblem(reply, 400, 'the URL cannot be read'),
    clientErrorHandler: (_error, socket) => {
      if (socket.writable) socket.end(rawProblem(400, 'this is no HTTP request'));
    },
  });

  // JSON is all that anybody has to say here.
  app.removeContentTypeParser('text/plain');
  app.decorateRequest('by', '');
  app.addHook('onRequest', async (request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
    const refusal = foreignCaller(request.headers, listen);
    return refusal === null ? refuseAccess(request, reply, tokens) : sendProblem(reply, 403, refusal);
  });
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, 404, 'there is nothing here'));
  app.setErrorHandler((error: { statusCode?: number }, _request, reply) => {
    if (error instanceof CleanmissError && error.blame === 'client') return sendProblem(reply, 400, error.message);
    const isUnwritable = error instanceof CleanmissError && error.code === 'STATE_UNWRITABLE';
    const status = isUnwritable ? 503 : (error.statusCode ?? 500);
    if (status < 500) return sendProblem(reply, status, 'the request cannot be read');
    log.error({ err: error }, 'admin: no answer');
    return sendProblem(
      reply,
      status,
      isUnwritable ? 'this cannot be written to disk: all is as before' : 'the log says more',
    );
  });

  const everybody = { config: { access: 'public' as const } };
  app.get('/livez', everybody, (_request, reply) => reply.type('text/plain').send('live\n'));
  app.get('/readyz', everybody, (_request, reply) =>
    isDraining ? sendProblem(reply, 503, 'draining') : reply.type('text/plain').send('ready\n'),
  );
  app.get('/storez', everybody, (_request, reply) => {
    const state = guard?.readings().health?.state;
    const isWell = state === undefined || state === 'green' || state === 'doubtful';
    return isWell ? reply.type('text/plain').send('well\n') : sendProblem(reply, 503, 'not known to be well');
  });
  app.get('/metrics', everybody, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.scrape(readings())),
  );
  app.get('/v1/status', { config: { access: ['read'] } }, (_request, reply) => reply.send(status()));
  operatorRoutes(app, parts, status);
  if (guard !== undefined) {
    quarantineRoutes(app, guard, clock);
    incidentRoutes(app, guard);
    eventRoutes(app, { clock, changes: guard.changes, status });
  }

  return {
    app,
    drain: () => {
      isDraining = true;
    },
  };
};
