// Passes admitted writes on to the upstream, streamed both ways, and its answers back in a form that no client hangs on.

import httpProxy from '@fastify/http-proxy';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Agent } from 'undici';
import { atticError } from './pass-through.ts';
import { readTarget } from './target.ts';
import { admitWrite, invite, type WritePorts } from './writes.ts';

export interface ForwardPorts extends WritePorts {
  readonly origin: string;
  readonly authority: string;
  readonly basePath: string;
  readonly ca: string | null;
  /** A narinfo was written: what we know of it is old. */
  onNarinfoWritten(cache: string, storeHash: string): void;
}

/** Attic over an ill store took up to 80 s for its 500, and over a hung one more than five minutes. */
const ANSWER_MS = 600_000;
/** Both the hop's own headers and what must not pass a shared cache. */
const DROPPED = new Set(['set-cookie', 'connection', 'keep-alive', 'proxy-authenticate', 'te', 'trailer', 'upgrade', 'content-encoding']);

/** Registers the write methods on `app`. */
export const forwardWrites = (app: FastifyInstance, ports: ForwardPorts): void => {
  const agent = new Agent({
    allowH2: false,
    headersTimeout: ANSWER_MS,
    bodyTimeout: ANSWER_MS,
    ...(ports.ca === null ? {} : { connect: { ca: ports.ca } }),
  });
  app.addHook('onClose', () => agent.destroy());
  void app.register(httpProxy, {
    upstream: ports.origin,
    prefix: '/',
    rewritePrefix: ports.basePath === '' ? '/' : `/${ports.basePath}/`,
    httpMethods: ['PUT', 'POST', 'PATCH', 'DELETE'],
    undici: agent,
    disableRequestLogging: true,
    disableCache: true,
    preHandler: async (request: FastifyRequest, reply: FastifyReply) => {
      if (await admitWrite(ports, request.raw, reply.raw)) invite(request.raw, reply.raw);
      else reply.hijack();
    },
    replyOptions: {
      // Its own default asks again eleven times after a 503.
      retryDelay: () => null,
      rewriteRequestHeaders: (request: FastifyRequest, headers: Record<string, unknown>) => upstreamHeaders(ports, request, headers),
      rewriteHeaders: (headers: Record<string, unknown>) => clientHeaders(headers),
      onResponse: (request: FastifyRequest, reply: FastifyReply, answer: unknown) => passBack(ports, request, reply, answer),
      onError: (reply: FastifyReply) => sendUnreachable(reply),
    },
  } as Parameters<typeof httpProxy>[1]);
};

const upstreamHeaders = ({ authority }: ForwardPorts, request: FastifyRequest, headers: Record<string, unknown>) => {
  const { expect: _, ...kept } = headers;
  return { ...kept, host: authority, 'x-forwarded-proto': request.headers['x-forwarded-proto'] ?? request.protocol };
};

const clientHeaders = (headers: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(headers).filter(([name, value]) => !DROPPED.has(name) && value !== ''));

const isApi = (request: FastifyRequest): boolean => readTarget(request.raw.url ?? '').kind === 'attic-api';

const passBack = (ports: ForwardPorts, request: FastifyRequest, reply: FastifyReply, answer: unknown): void => {
  // What reply-from hands over: its types leave it open.
  const { stream } = answer as { readonly stream: NodeJS.ReadableStream };
  const target = readTarget(request.raw.url ?? '');
  if (target.kind === 'narinfo' && reply.statusCode < 300) ports.onNarinfoWritten(target.cache, target.storeHash);
  if (isApi(request) || reply.statusCode < 500) {
    void reply.send(stream);
    return;
  }
  stream.resume();
  stream.on('error', () => {});
  void reply.code(403).removeHeader('content-length').type('text/plain').send(`The cache could not store this: it answered ${answerStatus(answer)}.\n`);
};

const answerStatus = (answer: unknown): number => (answer as { readonly statusCode: number }).statusCode;

const sendUnreachable = (reply: FastifyReply): void => {
  const sentence = 'The cache behind cleanmiss gives no answer. Nothing was stored.';
  if (isApi(reply.request)) void reply.code(502).type('application/json').send(atticError(502, 'UpstreamUnavailable', sentence));
  else void reply.code(403).type('text/plain').send(`${sentence}\n`);
};
