// A claim is what metadata promises about one body: its digest, its encoding, and the place where it lies.

import type { NamedDigest } from './digest.ts';

/** How a body is encoded on the wire and on disk. `identity` is Nix's `Compression: none`. */
export type Encoding = 'identity' | 'zstd' | 'xz' | 'gzip' | 'br';

/** Where a body lies. `tenant` is the Nix cache or the REAPI instance: nothing held for one ever answers another. */
export interface Place {
  readonly tenant: string;
  readonly path: string;
}

export interface Claim {
  readonly digest: NamedDigest;
  readonly encoding: Encoding;
  readonly place: Place;
  /** Nobody but the client that asks says how large it is: another size is no fault of the upstream's. */
  readonly isSizeHearsay?: boolean;
}

/** One fill at a time runs under this key, so that askers of one claim share it. */
export const claimKey = (claim: Claim): string =>
  `${claim.place.tenant}\n${claim.place.path}\n${claim.digest.sha256}-${claim.digest.sizeBytes}\n${claim.encoding}`;
