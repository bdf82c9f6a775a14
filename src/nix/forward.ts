// Passes admitted writes on to the upstream, streamed both ways, and its answers back in a form that no client hangs on.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import httpProxy from '@fastify/http-proxy';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Agent } from 'undici';
import { protocolOf } from './attic-endpoints.ts';
import { undoContentCoding } from './content-coding.ts';
import { withoutHop } from './hop-by-hop.ts';
import { type HttpAnswer, trusting } from './http-upstream.ts';
import { atticError } from './pass-through.ts';
import { sendStream, sendText } from './send.ts';
import { readTarget } from './target.ts';
import { uploadBody } from './upload-body.ts';
import { admitWrite, drain, invite, type WritePorts } from './writes.ts';

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

/** Registers the write methods on `app`. */
export const forwardWrites = (app: FastifyInstance, ports: ForwardPorts): void => {
  const agent = new Agent({
    allowH2: false,
    headersTimeout: ANSWER_MS,
    bodyTimeout: ANSWER_MS,
    connect: trusting(ports.ca),
  });
  app.addHook('onClose', () => agent.destroy());
  // Fastify's own parsers would read plain text and JSON whole, and before the gate is asked.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request, _payload, done) => done(null, detached(ports, request.raw)));
  void app.register(httpProxy, {
    upstream: ports.origin,
    prefix: '/',
    rewritePrefix: ports.basePath === '' ? '/' : `/${ports.basePath}/`,
    httpMethods: ['PUT', 'POST', 'PATCH', 'DELETE'],
    undici: agent,
    proxyPayloads: false,
    disableRequestLogging: true,
    disableCache: true,
    preHandler: async (request: FastifyRequest, reply: FastifyReply) => {
      if (await admitWrite(ports, request.raw, reply.raw)) invite(request.raw, reply.raw);
      else reply.hijack();
    },
    replyOptions: {
      // Its own default asks again eleven times after a 503.
      retryDelay: () => null,
      rewriteRequestHeaders: (request: FastifyRequest, headers: HttpAnswer['headers']) =>
        upstreamHeaders(ports, request.raw, headers),
      onResponse: (request: FastifyRequest, reply: FastifyReply, answer: unknown) =>
        // What reply-from hands over: its types leave it open.
        void passBack(ports, request.raw, reply.hijack().raw, answer as UpstreamAnswer),
      onError: (reply: FastifyReply) => sendUnreachable(reply.request.raw, reply.hijack().raw),
    },
  } as Parameters<typeof httpProxy>[1]);
};

interface UpstreamAnswer {
  readonly statusCode: number;
  readonly headers: HttpAnswer['headers'];
  readonly stream: Readable;
}

/** It is destroyed when the upstream ends the upload early: the client still sends then, and is yet to read the answer. */
const detached = (ports: ForwardPorts, request: IncomingMessage): Readable =>
  uploadBody(request).once('close', () => {
    if (!request.complete && !request.destroyed) drain(ports.clock, request);
  });

const upstreamHeaders = ({ authority }: ForwardPorts, request: IncomingMessage, headers: HttpAnswer['headers']) => {
  const { expect: _, ...kept } = withoutHop(headers);
  return { ...kept, host: authority, 'x-forwarded-proto': protocolOf(request) };
};

/** What must not pass a shared cache, or is no more true once a Content-Encoding is undone. */
const clientHeaders = (headers: HttpAnswer['headers'], isCoded: boolean): Record<string, string | string[]> => {
  const dropped = new Set(['set-cookie', 'content-encoding', ...(isCoded ? ['content-length', 'etag'] : [])]);
  return Object.fromEntries(
    Object.entries(withoutHop(headers)).filter(([name, value]) => !dropped.has(name) && value !== ''),
  );
};

/** A Nix that gets one of these sends the body again, five times in all, and Nix 2.8 hangs on it. */
const isRetriedByNix = (status: number): boolean => status >= 500 || status === 429 || status === 408;

const isApi = (request: IncomingMessage): boolean => readTarget(request.url ?? '').kind === 'attic-api';

/** Never rejects. */
const passBack = async (
  ports: ForwardPorts,
  request: IncomingMessage,
  response: ServerResponse,
  { statusCode: status, headers, stream }: UpstreamAnswer,
): Promise<void> => {
  stream.on('error', () => {});
  const target = readTarget(request.url ?? '');
  if (target.kind === 'narinfo' && status < 300) ports.onNarinfoWritten(target.cache, target.storeHash);
  if (target.kind !== 'attic-api' && isRetriedByNix(status)) {
    stream.resume();
    return sendText(response, 403, `The cache could not store this: it answered ${status}.\n`);
  }
  // Who follows it writes where no gate is.
  if (status >= 300 && status < 400) {
    stream.resume();
    return sendUnreachable(request, response);
  }
  try {
    const content = undoContentCoding({ headers, body: stream });
    if (content === null) throw new Error('a Content-Encoding that we do not know');
    await sendStream(response, status, clientHeaders(headers, content.isCoded), content.bytes);
  } catch {
    stream.destroy();
    sendUnreachable(request, response);
  }
};

const sendUnreachable = (request: IncomingMessage, response: ServerResponse): void => {
  const sentence = 'The cache behind cleanmiss gives no answer. Nothing was stored.';
  if (!isApi(request)) return sendText(response, 403, `${sentence}\n`);
  sendText(response, 502, atticError(502, 'UpstreamUnavailable', sentence), { 'content-type': 'application/json' });
};
