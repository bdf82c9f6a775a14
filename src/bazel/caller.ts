// What a call tells of the one who makes it: who they are, how long they wait, and what of it goes on to the upstream.

import { Metadata } from '@grpc/grpc-js';
import type { Clock } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import type { Access, Credentials } from '../store/access.ts';

/** What all kinds of calls have. */
export interface AnyCall {
  readonly cancelled: boolean;
  readonly metadata: Metadata;
  getPeer(): string;
  getHost(): string;
  getPath(): string;
  /** Milliseconds since 1970; infinite where there is none. */
  getDeadline(): Date | number;
  once(event: 'cancelled', listener: () => void): unknown;
}

export interface Caller {
  readonly credentials: Credentials;
  /** Whose fills are counted together. */
  readonly client: string;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Monotonic ms by which the answer must begin: some time before the call's own deadline. */
  readonly deadline: number;
  /** A little later: what keeps to `deadline` by itself has said more by then than that it is late. */
  readonly lastMoment: number;
  /** Monotonic ms by which an answer that goes on must have ended; null where the client sets no limit. */
  readonly endBy: number | null;
  /** The client's own, for calls to the upstream on its behalf. */
  readonly metadata: Metadata;
}

/** For calls without a deadline: what proxies between commonly give up at, less ten seconds. */
const PATIENCE_MS = 50_000;
/** An answer must reach the client before it gives up; of short deadlines half is kept for that. */
const RESERVE_MS = 2_000;
/** Of this hop alone. `grpc-*` and names with a colon are left out besides. */
const OWN_HEADERS = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'content-type',
  'host',
  'keep-alive',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
]);
/** They tell one action from another, not one client from another. */
const REAPI_HEADERS = /^build\.bazel\./;

const GONE = new CleanmissError('GONE', 'client', 'the client is gone');

export const callerOf = (
  { clock, access }: { readonly clock: Clock; readonly access: Access },
  call: AnyCall,
): Caller => {
  const metadata = forwarded(call);
  const credentials = access.credentials(credentialsOf(metadata));
  const now = clock.monotonic();
  const leftMs = Number(call.getDeadline()) - clock.now();
  const isLimited = Number.isFinite(leftMs);
  const reserveMs = isLimited ? Math.max(0, Math.min(RESERVE_MS, leftMs / 2)) : RESERVE_MS;
  const deadline = now + (isLimited ? Math.max(0, leftMs - reserveMs) : PATIENCE_MS);
  return {
    credentials,
    client: `${call.getPeer().replace(/:\d+$/, '')} ${credentials.key}`,
    signal: whileWaiting(call),
    deadline,
    lastMoment: deadline + reserveMs / 4,
    endBy: isLimited ? deadline : null,
    metadata,
  };
};

const whileWaiting = (call: AnyCall): AbortSignal => {
  if (call.cancelled) return AbortSignal.abort(GONE);
  const gone = new AbortController();
  call.once('cancelled', () => gone.abort(GONE));
  return gone.signal;
};

const forwarded = (call: AnyCall): Metadata => {
  const metadata = new Metadata();
  for (const key of Object.keys(call.metadata.getMap())) {
    if (OWN_HEADERS.has(key) || /^grpc-|:/.test(key)) continue;
    for (const value of call.metadata.get(key)) metadata.add(key, value);
  }
  const login = loginOf(call.getHost());
  if (login !== null && metadata.get('authorization').length === 0) metadata.set('authorization', login);
  return metadata;
};

/** Bazel spells `grpc://user:pass@host` as an :authority; servers of other makes read only the header. */
const loginOf = (authority: string): string | null => {
  const at = authority.lastIndexOf('@');
  if (at < 0) return null;
  return `Basic ${Buffer.from(decodeLogin(authority.slice(0, at))).toString('base64')}`;
};

const decodeLogin = (login: string): string => {
  try {
    return decodeURIComponent(login);
  } catch {
    return login;
  }
};

/** Everything that may speak for a client: `--remote_header` sends credentials under any name. */
const credentialsOf = (metadata: Metadata): string | undefined => {
  const entries = Object.keys(metadata.getMap())
    .filter((key) => !REAPI_HEADERS.test(key))
    .sort()
    .filter((key) => !key.endsWith('-bin'))
    .map((key) => [key, metadata.get(key).map(String)]);
  return entries.length === 0 ? undefined : JSON.stringify(entries);
};

/** The metadata that `credentialsOf` was made from. */
export const metadataOf = ({ value }: Credentials): Metadata => {
  const metadata = new Metadata();
  const entries = value === null ? [] : (JSON.parse(value) as [string, string[]][]);
  for (const [key, values] of entries) for (const one of values) metadata.add(key, one);
  return metadata;
};
