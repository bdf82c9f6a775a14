// Asks the upstream over HTTP/1.1, and follows its redirects inside: no request leaves for a host that nobody named.

import type { Readable } from 'node:stream';
import { rootCertificates } from 'node:tls';
import { Agent, type Dispatcher } from 'undici';
import type { UnavailableReason } from '../core/verdict.ts';

export interface HttpAnswer {
  readonly kind: 'answer';
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Throws when the transfer breaks off. Whoever gets it reads it to its end, or destroys it. */
  readonly body: Readable;
  /** Whether a redirect led here: what it says then is not the upstream's own word. */
  readonly isRedirected: boolean;
}

export type HttpFailure = { readonly kind: 'failed'; readonly reason: UnavailableReason; readonly detail?: string };

export interface HttpRequest {
  /** Relative to the upstream's base, without a leading slash, query included; or absolute, on a host that was named. */
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly credentials: string | null;
  readonly signal: AbortSignal;
}

export interface HttpUpstreamOptions {
  /** `http://host:port`, without a path. */
  readonly origin: string;
  /** The authority as it was configured: Attic's allowed-hosts matches letter case and port. */
  readonly authority: string;
  /** The path that everything lives under, with neither leading nor trailing slash; empty for none. */
  readonly basePath: string;
  /** PEM. */
  readonly ca: string | null;
  /** `host:port` that a redirect or an absolute URL may lead to. */
  readonly redirectHosts: readonly string[];
  readonly connectTimeoutMs: number;
}

const MAX_REDIRECTS = 3;
/** A Nix client keeps 25 connections; fills are bounded elsewhere. Attic's metadata must not queue behind its bodies. */
const MAX_CONNECTIONS = 256;
/** Hosts remembered for the operator: a redirect's host is the upstream's choice, so their number is bounded. */
const MAX_REFUSED_HOSTS = 64;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Before a head: nothing listens, or the name or the route to it is gone. */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);

export class HttpUpstream {
  readonly #options: HttpUpstreamOptions;
  readonly #agent: Agent;
  readonly #named: ReadonlySet<string>;
  readonly #refusedHosts = new Map<string, number>();

  /** Whoever makes one closes it. */
  constructor(options: HttpUpstreamOptions) {
    this.#options = options;
    this.#named = new Set([
      hostOf(new URL(options.origin)),
      ...options.redirectHosts.map((host) => host.toLowerCase()),
    ]);
    this.#agent = new Agent({
      connections: MAX_CONNECTIONS,
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        timeout: options.connectTimeoutMs,
        ...trusting(options.ca),
      },
    });
  }

  /** Redirects and narinfo URLs that led to hosts nobody named, by host. */
  get refusedHosts(): ReadonlyMap<string, number> {
    return this.#refusedHosts;
  }

  /** The absolute URL of something below the base. */
  url(relative: string): URL {
    const { origin, basePath } = this.#options;
    return new URL(`${origin}/${basePath === '' ? '' : `${basePath}/`}${relative}`);
  }

  /** Whether a request to `url` may leave: its host is the upstream's or was named. */
  isNamed(url: URL): boolean {
    return (url.protocol === 'http:' || url.protocol === 'https:') && this.#named.has(hostOf(url));
  }

  /** GETs, through redirects. Rejects only when the signal is aborted or the connection ends without a head. */
  async get(request: HttpRequest): Promise<HttpAnswer | HttpFailure> {
    let url = /^https?:\/\//i.test(request.target) ? new URL(request.target) : this.url(request.target);
    for (let hop = 0; ; hop += 1) {
      if (!this.isNamed(url)) return this.refuse(url);
      const answer = await this.#request(url, request, hop === 0);
      if ('kind' in answer) return answer;
      const { statusCode: status, headers, body } = answer;
      if (!REDIRECTS.has(status)) return { kind: 'answer', status, headers, body, isRedirected: hop > 0 };
      await body.dump({ limit: 64 * 1024, signal: request.signal }).catch(() => undefined);
      const next = locationOf(headers['location'], url);
      if (next === null || hop === MAX_REDIRECTS)
        return { kind: 'failed', reason: 'redirect', detail: 'no way to follow it' };
      url = next;
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #request(url: URL, request: HttpRequest, isFirst: boolean): Promise<Dispatcher.ResponseData | HttpFailure> {
    const { authority, origin } = this.#options;
    const isOwn = isFirst && url.origin === new URL(origin).origin;
    try {
      return await this.#agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: 'GET',
        headers: {
          ...request.headers,
          // A presigned URL is signed for its own Host, and other credentials beside its own make a store refuse it.
          ...(isOwn ? { host: authority } : {}),
          ...(isOwn && request.credentials !== null ? { authorization: request.credentials } : {}),
        },
        signal: request.signal,
      });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      if (UNREACHABLE.has(code)) return { kind: 'failed', reason: isFirst ? 'refused' : 'redirect', detail: code };
      if (code.startsWith('HPE_') || code === 'UND_ERR_HEADERS_OVERFLOW')
        return { kind: 'failed', reason: 'protocol', detail: code };
      throw error;
    }
  }

  /** Counts a URL that leads to a host that nobody named. */
  refuse(url: URL): HttpFailure {
    // Of another scheme it may have no host.
    const host = url.hostname === '' ? url.protocol : hostOf(url);
    if (this.#refusedHosts.has(host) || this.#refusedHosts.size < MAX_REFUSED_HOSTS) {
      this.#refusedHosts.set(host, (this.#refusedHosts.get(host) ?? 0) + 1);
    }
    return { kind: 'failed', reason: 'redirect', detail: `${host} is not among nix.redirectHosts` };
  }
}

/** For an Agent's `connect`: the system's authorities, and the one of that PEM. */
export const trusting = (ca: string | null): { readonly ca?: string[] } =>
  ca === null ? {} : { ca: [...rootCertificates, ca] };

/** `host:port` with the scheme's own port spelled out. */
const hostOf = (url: URL): string => `${url.hostname}:${url.port || (url.protocol === 'https:' ? '443' : '80')}`;

const locationOf = (location: string | string[] | undefined, base: URL): URL | null => {
  if (typeof location !== 'string') return null;
  try {
    return new URL(location, base);
  } catch {
    return null;
  }
};
