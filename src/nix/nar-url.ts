// Resolves a narinfo's URL, and spells the one that clients get: ours, relative, pinned to the digest it promised.

import type { HttpUpstream } from './http-upstream.ts';
import type { Narinfo } from './narinfo.ts';
import { encodeNix32 } from './nix32.ts';

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
    return relative === '' ? null : { target: cache === '' ? relative : `${cache}/${relative}`, clientUrl: relative };
  }
  // A store's own URL may be presigned: clients get a plain one of ours instead.
  return { target: resolved.href, clientUrl: `nar/${storeHash}.nar` };
};

/** URL is unsigned, and Nix passes queries on: who keeps the narinfo for 30 days asks for the bytes that it promised. */
export const pinUrl = (clientUrl: string, narinfo: Narinfo): string => {
  const nar = encodeNix32(Buffer.from(narinfo.nar.sha256, 'hex'));
  return `${clientUrl}${clientUrl.includes('?') ? '&' : '?'}nar=${nar}&as=${narinfo.compression}`;
};
