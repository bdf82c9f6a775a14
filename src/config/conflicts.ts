// Pairs of keys that contradict each other, though each alone is fine.

import { sep } from 'node:path';
import type { Config } from '../config.ts';
import { isLoopback, isWildcard, type Listen } from '../core/listen.ts';

export interface Conflict {
  /** The first is the one to change. */
  readonly keys: readonly string[];
  readonly message: string;
}

const isOneAddress = (a: Listen, b: Listen): boolean => {
  const host = ({ host }: Listen): string => (host === 'localhost' ? '127.0.0.1' : host);
  return a.port !== 0 && a.port === b.port && (host(a) === host(b) || isWildcard(a.host) || isWildcard(b.host));
};

const isInside = (inner: string, outer: string): boolean => `${inner}${sep}`.startsWith(outer + sep);

export const conflictsOf = ({
  nix,
  bazel,
  store,
  state,
  release,
  auth,
  health,
  admin,
}: Config): readonly Conflict[] => {
  const found: Conflict[] = [];
  const check = (isBroken: boolean, keys: readonly string[], message: string): void => {
    if (isBroken) found.push({ keys, message });
  };

  // Our own store takes writes from whoever reaches it, and this version knows no tokens to tell writers by.
  check(
    nix.upstream === undefined && !isLoopback(nix.listen.host),
    ['nix.listen', 'nix.upstream'],
    'without an upstream everyone who reaches this address could write: listen on a loopback address',
  );
  check(
    bazel.upstream === undefined && !isLoopback(bazel.listen.host),
    ['bazel.listen', 'bazel.upstream'],
    'without an upstream everyone who reaches this address could write: listen on a loopback address',
  );
  check(
    auth.tokens === undefined && !isLoopback(admin.listen.host),
    ['admin.listen', 'auth.tokens'],
    'without tokens everyone who reaches this address could read and change what admin shows: listen on a loopback address',
  );
  const listens = Object.entries({ admin: admin.listen, bazel: bazel.listen, nix: nix.listen });
  for (const [at, [one, listen]] of listens.entries()) {
    for (const [other, otherListen] of listens.slice(at + 1)) {
      const keys = [`${one}.listen`, `${other}.listen`];
      check(isOneAddress(listen, otherListen), keys, 'one address cannot serve both');
    }
  }

  const needsUpstream = { prefix: nix.prefix, upstreamCa: nix.upstreamCa, credentials: nix.credentials };
  for (const [word, value] of Object.entries(needsUpstream)) {
    check(
      nix.upstream === undefined && value !== undefined,
      [`nix.${word}`, 'nix.upstream'],
      'it says how to reach an upstream, and there is none',
    );
  }
  check(
    nix.upstream === undefined && nix.redirectHosts.length > 0,
    ['nix.redirectHosts', 'nix.upstream'],
    'it says where an upstream may redirect to, and there is none',
  );
  check(
    nix.upstreamCa !== undefined && nix.upstream?.origin.startsWith('http:') === true,
    ['nix.upstreamCa', 'nix.upstream'],
    'a CA vouches for https:// only',
  );

  check(
    isInside(store.dir, state.dir) || isInside(state.dir, store.dir),
    ['store.dir', 'state.dir'],
    'neither may lie in the other: the store is disposable, the state is not',
  );
  check(
    release.follow.kind === 'above' && release.follow.sizeBytes < release.memoryBytes,
    ['release.follow', 'release.memory'],
    'what fits into release.memory is never followed',
  );
  const { endpoint } = health.s3;
  const isWatched = health.watch === 's3' && endpoint !== undefined;
  check(isWatched && health.s3.buckets.length === 0, ['health.s3.buckets'], 'which buckets have to be there?');
  check(
    endpoint !== undefined && endpoint.path !== '',
    ['health.s3.endpoint'],
    'an S3 endpoint has no path: its buckets come there',
  );
  check(
    health.markers !== undefined && !isWatched,
    ['health.markers', 'health.s3.endpoint'],
    'markers bear out what the probes say, and nothing is probed',
  );
  for (const [front, { upstream }] of Object.entries({ nix, bazel })) {
    check(
      upstream !== undefined && health.watch === 's3' && endpoint === undefined,
      [`${front}.upstream`, 'health.watch', 'health.s3.endpoint'],
      'nobody watches the object store behind it: name that, or say health.watch = "none"',
    );
  }
  return found;
};
