// Keeps what was promised from eviction for a while: no more of it than a share of the store, or nothing new would fit.

import type { Encoding } from '../core/claim.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { type Digest, digestKey } from '../core/digest.ts';
import type { FormStore } from './forms.ts';

export interface LeaseTerms {
  readonly leaseMs: number;
  /** Decoded bytes under lease. What finds no place is not kept: its promise rests on the upstream. */
  readonly maxBytes: number;
}

interface Lease {
  readonly digest: Digest;
  /** Monotonic ms. */
  readonly until: number;
}

/** About 300 bytes each. */
const MAX_LEASES = 200_000;
const SWEEP_MS = 60_000;
/** In whichever of them it is held, or will be. */
const ENCODINGS: readonly Encoding[] = ['identity', 'zstd'];

export class Leases {
  readonly #clock: Clock;
  readonly #forms: FormStore;
  readonly #terms: LeaseTerms;
  /** In order of their ends: a renewed one is the last. */
  readonly #leases = new Map<string, Lease>();
  #bytes = 0;
  #sweep: Timer | null = null;

  /** Whoever makes one closes it. */
  constructor(clock: Clock, forms: FormStore, terms: LeaseTerms) {
    this.#clock = clock;
    this.#forms = forms;
    this.#terms = terms;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Grants or renews. */
  grant(digests: Iterable<Digest>): void {
    const { leaseMs, maxBytes } = this.#terms;
    const until = this.#clock.monotonic() + leaseMs;
    this.#end();
    for (const digest of digests) {
      const key = digestKey(digest);
      if (this.#leases.delete(key)) this.#leases.set(key, { digest, until });
      else if (this.#leases.size < MAX_LEASES && this.#bytes + digest.sizeBytes <= maxBytes) {
        this.#leases.set(key, { digest, until });
        this.#bytes += digest.sizeBytes;
        for (const encoding of ENCODINGS) this.#forms.pin(digest, encoding);
      }
    }
    if (this.#sweep === null && this.#leases.size > 0) this.#sweepLater();
  }

  close(): void {
    this.#sweep?.cancel();
  }

  #sweepLater(): void {
    this.#sweep = this.#clock.after(SWEEP_MS, () => {
      this.#sweep = null;
      this.#end();
      if (this.#leases.size > 0) this.#sweepLater();
    });
  }

  #end(): void {
    const now = this.#clock.monotonic();
    for (const [key, { digest, until }] of this.#leases) {
      if (until > now) return;
      this.#leases.delete(key);
      this.#bytes -= digest.sizeBytes;
      for (const encoding of ENCODINGS) this.#forms.unpin(digest, encoding);
    }
  }
}
