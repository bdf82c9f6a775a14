// Resolves a narinfo's URL, and spells the one that clients get: ours, relative, pinned to the digest it promised.

import type { HttpUpstream } from './http-upstream.ts';
import type { Narinfo } from './narinfo.ts';
import { encodeNix32 } from './nix32.ts';
import { readTarget } from './target.ts';

/** Where a NAR is fetched, and under which relative URL clients ask us for it. */
export interface NarUrl {
  /** For HttpUpstream.get: relative to its base, or absolute on a host that was named. */
  readonly target: string;
  /** Relative to the cache, as written where that can stay; without a pin. */
  readonly clientUrl: string;
}

/** Null for a URL that leads off the upstream, or out of its own cache, to a host that nobody named. */
export const resolveNarUrl = (upstream: HttpUpstream, cache: string, storeHash: string, url: string): NarUrl | null => {
  const base = upstream.url(cache === '' ? '' : `${cache}/`);
  if (/[\\\s#]/.test(url) || /%2e|%2f|%5c|%00/i.test(url)) return null;
  let resolved: URL;
  try {
    resolved = new URL(url, base);
  } catch {
    return null;
  }
  if (!upstream.isNamed(resolved)) {
    upstream.refuse(resolved);
    return null;
  }
  if (resolved.username !== '' || resolved.password !== '') return null;
  if (resolved.origin === base.origin) {
    if (!resolved.pathname.startsWith(base.pathname)) return null;
    const relative = resolved.pathname.slice(base.pathname.length) + resolved.search;
    if (relative === '') return null;
    const clientUrl = isAskedAsNar(cache, relative) ? relative : ownUrl(storeHash);
    return { target: cache === '' ? relative : `${cache}/${relative}`, clientUrl };
  }
  // A store's own URL may be presigned.
  return { target: resolved.href, clientUrl: ownUrl(storeHash) };
};

/** What clients get instead of a URL that can't stay. */
const ownUrl = (storeHash: string): string => `nar/${storeHash}.nar`;

/**
 * Whether a client's request for this URL is known for a NAR's, letter by letter. One that lies among logs or listings, say,
 * would be passed on unproven (test: narinfo-urls).
 */
const isAskedAsNar = (cache: string, url: string): boolean => {
  const path = cache === '' ? url : `${cache}/${url}`;
  const asked = readTarget(`/${path}`);
  if (asked.kind === 'nar') return asked.pin === null && asked.cache === cache && asked.url === url;
  if (asked.kind !== 'unknown' || asked.pin !== null || asked.path.split('/').includes('')) return false;
  return path === (asked.query === '' ? asked.path : `${asked.path}?${asked.query}`);
};

/** URL is unsigned, and Nix passes queries on: who keeps the narinfo for 30 days asks for the bytes that it promised. */
export const pinUrl = (clientUrl: string, narinfo: Narinfo): string => {
  const nar = encodeNix32(Buffer.from(narinfo.nar.sha256, 'hex'));
  return `${clientUrl}${clientUrl.includes('?') ? '&' : '?'}nar=${nar}&as=${narinfo.compression}`;
};
