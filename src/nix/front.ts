// The HTTP front: reads by our own hands, writes through the gate, on one listener.

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Clock } from '../core/clock.ts';
import type { Access } from '../store/access.ts';
import { nixClient, type Release } from './client.ts';
import { headFault } from './head.ts';
import { answerRead, type ReadPorts } from './reads.ts';
import { sendText } from './send.ts';
import { readTarget } from './target.ts';
import { refuse } from './writes.ts';

export interface NixFrontPorts {
  readonly clock: Clock;
  readonly access: Access;
  readonly release: Release;
  readonly reads: ReadPorts;
  /** Why a request is none of those who may come here, as of a web page of somebody else's; null where it is. */
  callerFault?(headers: IncomingHttpHeaders): string | null;
  /** Registers PUT, POST, PATCH and DELETE. */
  writes(app: FastifyInstance): void;
}

/** For the whole head of a request: a slow one holds a socket, nothing else. */
const HEAD_MS = 60_000;
/** A connection on which nothing moves at all, while we wait for Attic to store an upload or a client to read on. */
const SILENCE_MS = 600_000;
const MAX_HEAD_BYTES = 16 * 1024;

export const nixFront = (ports: NixFrontPorts): FastifyInstance => {
  const app = Fastify({
    logger: false,
    exposeHeadRoutes: false,
    // The time of a whole request has no limit, as a NAR has none: what does not move is cut by the socket's silence.
    requestTimeout: 0,
    connectionTimeout: SILENCE_MS,
    keepAliveTimeout: 75_000,
    http: { headersTimeout: HEAD_MS, maxHeaderSize: MAX_HEAD_BYTES, connectionsCheckingInterval: 5_000 },
    frameworkErrors: (_error, _request, reply) => {
      sendText(reply.raw, 400, 'the request target is malformed\n');
    },
  });
  app.setNotFoundHandler((request, reply) => {
    void reply
      .code(405)
      .header('allow', 'GET, HEAD, PUT')
      .type('text/plain')
      .send(`${request.method} is not served here\n`);
  });
  app.setErrorHandler((error: { readonly statusCode?: number }, _request, reply) => {
    void reply
      .code(error.statusCode ?? 400)
      .type('text/plain')
      .send('the request is malformed\n');
  });
  app.addHook('onRequest', (request, reply, done) => {
    const fault = headFault(request.raw);
    const foreign = fault === null ? (ports.callerFault?.(request.headers) ?? null) : null;
    const refusal = fault ?? foreign;
    if (refusal === null) return done();
    reply.hijack();
    const status = fault === null ? 403 : 400;
    refuse(ports.clock, request.raw, reply.raw, () => sendText(reply.raw, status, `${refusal}\n`));
  });
  // Node answers 100 Continue by itself unless somebody listens; a refusal must come in its place.
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) =>
    app.routing(request, response),
  );
  app.server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) =>
    sendText(response, 417, 'Expect may only be 100-continue\n'),
  );
  app.route({
    method: ['GET', 'HEAD'],
    url: '/*',
    handler: async ({ raw: request }, reply) => {
      reply.hijack();
      const client = nixClient(ports, request, reply.raw);
      await answerRead(ports.reads, readTarget(request.url ?? ''), { request, response: reply.raw, client });
    },
  });
  ports.writes(app);
  return app;
};
