// Points Attic's clients at us: with the endpoints that atticd names, all pushes after the first request would go round the gate.

import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

/** How the client speaks to us, or to a proxy before us. */
export const protocolOf = (request: IncomingMessage): 'http' | 'https' => {
  const isTls = 'encrypted' in request.socket && (request.socket as TLSSocket).encrypted;
  return isTls || request.headers['x-forwarded-proto'] === 'https' ? 'https' : 'http';
};

/** Our own address as this client spelled it: `http://host:port`. */
export const endpointsAt = (request: IncomingMessage): string =>
  `${protocolOf(request)}://${request.headers.host ?? ''}`;

/**
 * A cache-config with `api_endpoint` and `substituter_endpoint` moved to `origin`: the first at its root, where our own
 * `_api/` lives, the second at the cache's name. Null for what is no JSON object.
 */
export const rewriteEndpoints = (json: string, origin: string): string | null => {
  let config: unknown;
  try {
    config = JSON.parse(json);
  } catch {
    return null;
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) return null;
  const fields = config as Record<string, unknown>;
  const { api_endpoint: api, substituter_endpoint: substituter } = fields;
  return JSON.stringify({
    ...fields,
    ...(typeof api === 'string' ? { api_endpoint: `${origin}/` } : {}),
    ...(typeof substituter === 'string' ? { substituter_endpoint: `${origin}/${lastSegment(substituter)}` } : {}),
  });
};

const lastSegment = (url: string): string => url.split('?')[0]?.split('/').filter(Boolean).at(-1) ?? '';
