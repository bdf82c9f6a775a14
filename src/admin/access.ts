// Who may ask for what: by token where there are tokens, else whoever is on this machine.

import type { FastifyReply, FastifyRequest } from 'fastify';
import { isLoopback } from '../core/listen.ts';
import type { TokenScope, Tokens } from '../core/tokens.ts';
import { sendProblem } from './problem.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** `public`, or scopes of which one is needed. A route that says nothing is nobody's. */
    access?: 'public' | readonly TokenScope[];
  }
  interface FastifyRequest {
    /** A token's name, or `loopback`: for the audit log. Set before any route that is not public runs. */
    by: string;
  }
}

const LOOPBACK = 'loopback';

/** Names under which people put tokens into URLs, where logs, histories and proxies keep them. */
const SECRET_PARAMETER = /[?&;](?:[\w-]*token|authorization|auth|bearer|api[-_]?key|secret|password|passwd)=/i;

/** Undefined when the request may go on; else the refusal was sent. */
export const refuseAccess = (
  request: FastifyRequest,
  reply: FastifyReply,
  tokens: Tokens | null,
): FastifyReply | undefined => {
  if (SECRET_PARAMETER.test(decoded(request.url))) {
    return sendProblem(
      reply,
      400,
      'a token in a URL ends in logs: send it as "Authorization: Bearer TOKEN", and replace it',
    );
  }
  const { access } = request.routeOptions.config;
  // What is not there is not there for anybody.
  if (access === 'public' || request.is404) return undefined;
  if (tokens === null) {
    request.by = LOOPBACK;
    const isHere = isLoopback(request.socket.remoteAddress ?? '');
    return isHere ? undefined : sendProblem(reply, 403, 'without auth.tokens only this machine may ask');
  }
  const holder = tokens.find(request.headers.authorization);
  if (holder === null) {
    reply.header('www-authenticate', 'Bearer realm="cleanmiss"');
    return sendProblem(reply, 401, 'a token of auth.tokens is needed: "Authorization: Bearer TOKEN"');
  }
  request.by = holder.name;
  if (access?.some((scope) => holder.scopes.includes(scope))) return undefined;
  return sendProblem(reply, 403, `this token has not the scope that this needs: ${access?.join(' or ') ?? 'none has'}`);
};

const decoded = (url: string): string => {
  try {
    return decodeURIComponent(url);
  } catch {
    return url;
  }
};
