// Says what a request target asks for. Whatever is not spelled plainly is refused here, before anything is looked up.

import { decodeNix32, isNix32Sha256, isStoreHash } from './nix32.ts';

/** The digest and Compression that a narinfo of ours promised with this URL. */
export interface Pin {
  readonly sha256: string;
  readonly compression: string;
}

export type Target =
  | { readonly kind: 'cache-info'; readonly cache: string }
  | { readonly kind: 'attic-cache-info'; readonly cache: string }
  | { readonly kind: 'narinfo'; readonly cache: string; readonly storeHash: string }
  /** `url` is relative to the cache, with the upstream's own query and without our pin. */
  | { readonly kind: 'nar'; readonly cache: string; readonly url: string; readonly pin: Pin | null }
  | { readonly kind: 'attic-api'; readonly path: string }
  /** `.ls`, logs, realisations, debuginfo: no digest is advertised for them. */
  | { readonly kind: 'extra'; readonly cache: string; readonly url: string }
  | { readonly kind: 'unknown'; readonly path: string; readonly query: string; readonly pin: Pin | null }
  | { readonly kind: 'bad'; readonly detail: string };

/** More segments than any cache's own path has. */
const MAX_SEGMENTS = 16;
const MAX_TARGET_BYTES = 4096;
const SEGMENT = /^[A-Za-z0-9._~!$&'()*+,;=:@-]+$/;
const EXTRA_FOLDERS = new Set(['log', 'realisations', 'build-trace-v2', 'debuginfo']);

const bad = (detail: string): Target => ({ kind: 'bad', detail });

export const readTarget = (rawTarget: string): Target => {
  if (rawTarget.length > MAX_TARGET_BYTES) return bad(`the request target is longer than ${MAX_TARGET_BYTES} bytes`);
  if (!rawTarget.startsWith('/')) return bad('the request target must be a path');
  const mark = rawTarget.indexOf('?');
  const path = mark < 0 ? rawTarget : rawTarget.slice(0, mark);
  const rawQuery = mark < 0 ? '' : rawTarget.slice(mark + 1);
  if (!/^[\x21-\x7e]*$/.test(rawQuery) || rawQuery.includes('#'))
    return bad('the query has a character that URLs do not have');
  const segments = readSegments(path);
  if (typeof segments === 'string') return bad(segments);
  const query = readQuery(rawQuery);
  if (query === null) return bad('nar= must be a SHA-256 in Nix base 32, and as= a compression');
  const target = classify(segments, query);
  // Whatever else its path looks like: we pin nothing but NARs.
  return query.pin === null || target.kind === 'nar' ? target : unknownTarget(segments, query);
};

interface Query {
  /** Without the pin, and without the question mark. */
  readonly own: string;
  readonly pin: Pin | null;
}

/** Splits off our pin; null when there is one that can't have come from us. */
const readQuery = (rawQuery: string): Query | null => {
  const pinned = new Map<string, string>();
  const own: string[] = [];
  for (const part of rawQuery === '' ? [] : rawQuery.split('&')) {
    const [name = '', value = ''] = part.split('=', 2);
    if (name !== 'nar' && name !== 'as') own.push(part);
    else if (pinned.has(name)) return null;
    else pinned.set(name, value);
  }
  if (pinned.size === 0) return { own: own.join('&'), pin: null };
  const nar = pinned.get('nar') ?? '';
  const compression = pinned.get('as') ?? '';
  const sha256 = isNix32Sha256(nar) ? (decodeNix32(nar)?.toString('hex') ?? null) : null;
  if (sha256 === null || !/^[a-z0-9]{1,16}$/.test(compression)) return null;
  return { own: own.join('&'), pin: { sha256, compression } };
};

/** The decoded segments, or what is wrong with them. */
const readSegments = (path: string): string[] | string => {
  const raw = path.split('/').slice(1);
  if (raw.length > MAX_SEGMENTS) return `the path has more than ${MAX_SEGMENTS} segments`;
  const segments: string[] = [];
  for (const part of raw) {
    let segment: string;
    try {
      segment = decodeURIComponent(part);
    } catch {
      return 'the path has a malformed percent escape';
    }
    if (segment === '.' || segment === '..') return 'the path must not climb';
    if (segment !== '' && !SEGMENT.test(segment)) return 'the path has a character that no cache uses in names';
    segments.push(segment);
  }
  return segments;
};

const unknownTarget = (segments: readonly string[], { own, pin }: Query): Target => ({
  kind: 'unknown',
  path: segments.join('/'),
  query: own,
  pin,
});

const classify = (segments: readonly string[], query: Query): Target => {
  const path = segments.join('/');
  const last = segments.at(-1) ?? '';
  const parent = segments.slice(0, -1).join('/');
  const unknown = unknownTarget(segments, query);
  if (segments.includes('')) return unknown;
  if (segments[0] === '_api') return { kind: 'attic-api', path };
  if (last === 'nix-cache-info') return { kind: 'cache-info', cache: parent };
  if (last === 'attic-cache-info') return { kind: 'attic-cache-info', cache: parent };
  if (last.endsWith('.narinfo')) {
    const storeHash = last.slice(0, -'.narinfo'.length);
    return isStoreHash(storeHash) ? { kind: 'narinfo', cache: parent, storeHash } : unknown;
  }
  const withQuery = (from: number) => segments.slice(from).join('/') + (query.own === '' ? '' : `?${query.own}`);
  const folder = segments.findLastIndex((segment, index) => index < segments.length - 1 && isFolder(segment));
  if (folder >= 0) {
    const cache = segments.slice(0, folder).join('/');
    const url = withQuery(folder);
    return segments[folder] === 'nar' ? { kind: 'nar', cache, url, pin: query.pin } : { kind: 'extra', cache, url };
  }
  if (last.endsWith('.ls') && isStoreHash(last.slice(0, -'.ls'.length)))
    return { kind: 'extra', cache: parent, url: withQuery(segments.length - 1) };
  return unknown;
};

const isFolder = (segment: string): boolean => segment === 'nar' || EXTRA_FOLDERS.has(segment);
