// Blobs as the services see them: obtained through the heart, held in our store, present upstream; each at one instance.

import type { Claim } from '../core/claim.ts';
import { type Clock, within } from '../core/clock.ts';
import { type Digest, digestKey } from '../core/digest.ts';
import { isCode } from '../core/errors.ts';
import type { Failure } from '../core/verdict.ts';
import type { Obtained, Obtainer } from '../proof/obtain.ts';
import type { Suspects } from '../proof/suspects.ts';
import type { Access, MayRead } from '../store/access.ts';
import type { FormStore } from '../store/forms.ts';
import type { Ledger, LedgerRow } from '../store/ledger.ts';
import { Lru } from '../store/lru.ts';
import type { CallError } from './call-error.ts';
import { notFound } from './call-error.ts';
import type { Caller } from './caller.ts';
import { isEmpty } from './digest.ts';
import type { BlobEncoding } from './resource-name.ts';
import type { Blob, ReapiUpstream } from './upstream.ts';

export interface BlobPorts {
  readonly clock: Clock;
  readonly access: Access;
  readonly upstream: ReapiUpstream;
  readonly obtainer: Obtainer;
  readonly forms: FormStore;
  readonly ledger: Ledger;
  readonly suspects: Suspects;
  /** Up to this size a blob is proven in memory, and never followed. */
  readonly memoryBytes: number;
}

/** How long the upstream's word that it has a blob is good (`bazel-remote` asks its store anew each time). */
const PRESENT_MS = 60_000;
/** About 150 bytes each. */
const MAX_PRESENT = 100_000;

const MAX_INSTANCES = 1000;

/** Whom a place belongs to: what one instance was given never answers another. No Nix cache has a line break in its name. */
export const tenantOf = (instance: string): string => `bazel\n${instance}`;

export const instanceOf = (tenant: string): string => tenant.slice('bazel\n'.length);

export const claimOf = ({ instance, digest, encoding }: Blob, isSizeHearsay = false): Claim => ({
  digest,
  encoding,
  place: { tenant: tenantOf(instance), path: 'cas' },
  ...(isSizeHearsay && { isSizeHearsay }),
});

/** All bytes of one encoding, every one of them proven. */
export interface Whole {
  readonly kind: 'whole';
  readonly bytes: Buffer;
  readonly source: 'hit' | 'fill';
}

export class Blobs {
  readonly #ports: BlobPorts;
  /** Monotonic ms at which the upstream last said that it has a blob. */
  readonly #presentAt = new Lru<number>({ maxEntries: MAX_PRESENT, maxBytes: Number.POSITIVE_INFINITY });

  readonly #lastRead = new Lru<BlobEncoding>({ maxEntries: MAX_INSTANCES, maxBytes: Number.POSITIVE_INFINITY });

  constructor(ports: BlobPorts) {
    this.#ports = ports;
  }

  /** Throws as the upstream refuses; `unknown` where it can't be asked in time, and nothing speaks for the caller. */
  async requireReader(instance: string, caller: Caller, unknown = nobodyToAsk): Promise<void> {
    const may = await this.mayRead(instance, caller);
    if (may === 'no') throw this.#ports.upstream.refusal(caller.credentials);
    if (may === 'unknown') throw unknown();
  }

  async mayRead(instance: string, { credentials, deadline }: Caller): Promise<MayRead> {
    const { access, clock, upstream } = this.#ports;
    if (!upstream.isThere) return 'yes';
    const may = access.mayRead(tenantOf(instance), credentials);
    return (await within(clock, deadline - clock.monotonic(), may)) ?? 'unknown';
  }

  /** What to tell the client of a failure: a miss, or the upstream's own refusal. */
  errorOf(failure: Failure, { credentials }: Caller): CallError {
    return failure.kind === 'denied' ? this.#ports.upstream.refusal(credentials) : notFound(missOf(failure));
  }

  /** `isNamedByClient`: nobody but the client says how large it is. */
  async obtain(
    blob: Blob,
    caller: Caller,
    {
      mayFollow = false,
      isNamedByClient = false,
    }: { readonly mayFollow?: boolean; readonly isNamedByClient?: boolean } = {},
  ): Promise<Obtained> {
    const { obtainer, upstream, forms, memoryBytes } = this.#ports;
    // Nobody is there to be asked.
    if (!upstream.isThere && forms.encodings(blob.digest).length === 0) return { kind: 'absent' };
    const { client, signal, deadline } = caller;
    const follow = mayFollow ? { aboveBytes: memoryBytes, byFrame: true } : ('never' as const);
    const fetch = upstream.fetch(blob, caller);
    return await obtainer.obtain(claimOf(blob, isNamedByClient), { client, signal, deadline, follow, fetch });
  }

  /** The encoded bytes of a blob that fits into memory. Where our disk fails under it, once, it is obtained anew. */
  async bytes(blob: Blob, caller: Caller, isNamedByClient = false): Promise<Whole | Failure> {
    for (let isLast = false; ; isLast = true) {
      const obtained = await this.obtain(blob, caller, { isNamedByClient });
      if (obtained.kind === 'followed') throw new Error('nothing is followed that was not to be');
      if (obtained.kind !== 'proven') return obtained;
      const { form, source } = obtained;
      try {
        const bytes = form.body ?? Buffer.concat(await Array.fromAsync(form.read(0, form.fileBytes)));
        return { kind: 'whole', bytes, source };
      } catch (error) {
        if (isLast || !(isCode(error, 'ROT') || isCode(error, 'DISK'))) throw error;
      }
    }
  }

  /** In either encoding, as far as can be told without reading it. */
  async holds(instance: string, digest: Digest): Promise<boolean> {
    if (isEmpty(digest)) return true;
    const { forms } = this.#ports;
    const isHeld = encodings.some((encoding) => forms.has(digest, encoding));
    return isHeld && (await this.provenAt(instance, digest)) !== undefined;
  }

  /** Whether it could be proven here again: what never can is no more than a word, whoever gives it. */
  mayProve({ sizeBytes }: Digest): boolean {
    return this.#ports.forms.mayEverHold(sizeBytes);
  }

  /** Its row in the ledger, if it was ever proven at this instance. */
  async provenAt(instance: string, { sha256, sizeBytes }: Digest): Promise<LedgerRow | undefined> {
    const row = await this.#ports.ledger.find(tenantOf(instance), sha256);
    return row?.sizeBytes === sizeBytes ? row : undefined;
  }

  /** Missing until it is proven again, unless our store has proven bytes of it. */
  isSuspect(instance: string, digest: Digest): boolean {
    const { suspects } = this.#ports;
    return encodings.some((encoding) => suspects.isSuspect(claimOf({ instance, digest, encoding })));
  }

  /** The same, until it is due to be tried again. */
  isRefuted(instance: string, digest: Digest): boolean {
    const { suspects } = this.#ports;
    return encodings.some((encoding) => suspects.find(claimOf({ instance, digest, encoding })) !== undefined);
  }

  isPresent(instance: string, digest: Digest): boolean {
    const at = this.#presentAt.get(presentKey(instance, digest));
    return at !== undefined && this.#ports.clock.monotonic() - at < PRESENT_MS;
  }

  notePresent(instance: string, digest: Digest): void {
    this.#presentAt.set(presentKey(instance, digest), this.#ports.clock.monotonic());
  }

  /** Those that the upstream lacks, of which it said nothing lately. */
  async missingUpstream(
    instance: string,
    digests: readonly Digest[],
    caller: Caller,
  ): Promise<readonly Digest[] | Failure> {
    const asked = digests.filter((digest) => !this.isPresent(instance, digest));
    if (asked.length === 0) return [];
    const answer = await this.#ports.upstream.findMissing(instance, asked, caller);
    if (answer.kind !== 'missing') return answer;
    const missing: Digest[] = [];
    for (const digest of asked) {
      if (answer.keys.has(digestKey(digest))) missing.push(digest);
      else this.notePresent(instance, digest);
    }
    return missing;
  }

  /** In which this instance's clients last read: what is proven before they ask had best be kept so. */
  preferredEncoding(instance: string): BlobEncoding {
    return this.#lastRead.get(instance) ?? 'identity';
  }

  noteRead({ instance, encoding }: Blob): void {
    this.#lastRead.set(instance, encoding);
  }
}

const encodings: readonly BlobEncoding[] = ['identity', 'zstd'];

const nobodyToAsk = () => notFound('the cache behind cannot be asked now');

const presentKey = (instance: string, digest: Digest): string => `${instance}\n${digestKey(digest)}`;

const missOf = (failure: Failure): string => {
  switch (failure.kind) {
    case 'refuted':
      return `the cache behind holds other bytes under this digest (${failure.reason})`;
    case 'unavailable':
      return `the blob cannot be had now (${failure.reason})`;
    case 'absent':
    case 'denied':
      return 'there is no such blob';
  }
};
