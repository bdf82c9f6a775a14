// An action result is a promise: it is answered only when every blob that it names stands.

import { hash } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { type Digest, digestKey } from '../core/digest.ts';
import { Limiter } from '../core/limiter.ts';
import type { ActionMiss } from '../core/telemetry.ts';
import type { Blobs } from './blobs.ts';
import type { Caller } from './caller.ts';
import { isEmpty, readDigest } from './digest.ts';
import type { ActionResult } from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import type { Trees } from './trees.ts';

export interface PromiseTerms {
  /** `exists`: the upstream's word that it has a blob is enough. */
  readonly promise: 'proven' | 'exists';
  /** How long the blobs of one result may take to be proven. */
  readonly proveMs: number;
  /** How long a proof is good for bytes that only the upstream holds by now. */
  readonly trustMs: number;
}

export interface PromisePorts extends PromiseTerms {
  readonly clock: Clock;
  readonly blobs: Blobs;
  readonly trees: Trees;
  readonly isUpstreamThere: boolean;
  /** Whether the upstream's word is believed now: its bucket index is green, or nobody watches it. */
  mayTrust(): boolean;
  /** Keeps what was promised from eviction for a while. */
  lease(digests: readonly Digest[]): void;
}

export type Broken = Exclude<ActionMiss, 'absent' | 'unavailable'>;

/** Action results of real builds name some thousands of files at most. */
const MAX_DIGESTS = 200_000;
/** Obtained at the same time for one result, and for all: fills for one client have bounds, beyond which they are no fills but misses. */
const PARALLEL = 16;
const PARALLEL_IN_ALL = 128;

export class Promises {
  readonly #ports: PromisePorts;
  readonly #limiter = new Limiter(PARALLEL_IN_ALL);

  constructor(ports: PromisePorts) {
    this.#ports = ports;
  }

  /** Null when every blob stands, else the first thing that is wrong. Takes no longer than `proveMs`, nor than the caller. */
  async broken(
    instance: string,
    result: ActionResult,
    caller: Caller,
    { isHeldOnly = false } = {},
  ): Promise<Broken | null> {
    const { clock, trees, proveMs } = this.#ports;
    const inTime = { ...caller, deadline: Math.min(caller.deadline, clock.monotonic() + proveMs) };
    const named = readNamed(result);
    if (typeof named === 'string') return named;
    const digests = new Map<string, Digest>();
    const add = (digest: Digest) => void digests.set(digestKey(digest), digest);
    for (const digest of named.blobs) add(digest);
    for (const { digest, kind } of named.directories) {
      if (isHeldOnly && !(await this.#ports.blobs.holds(instance, digest))) return 'missing';
      const listed = await trees[kind](instance, digest, inTime);
      if (listed === null) return 'tree';
      add(digest);
      for (const one of listed) add(one);
      if (digests.size > MAX_DIGESTS) return 'tree';
    }
    const all = [...digests.values()].filter((digest) => !isEmpty(digest));
    const broken = await this.#firstBroken(instance, all, inTime, isHeldOnly);
    if (broken === null) this.#ports.lease(all);
    return broken;
  }

  async #firstBroken(
    instance: string,
    digests: readonly Digest[],
    caller: Caller,
    isHeldOnly: boolean,
  ): Promise<Broken | null> {
    const { blobs } = this.#ports;
    const unheld: Digest[] = [];
    for (const digest of digests) if (!(await blobs.holds(instance, digest))) unheld.push(digest);
    if (unheld.length === 0) return null;
    if (isHeldOnly || !unheld.every((digest) => blobs.mayProve(digest))) return 'missing';
    if (unheld.some((digest) => blobs.isRefuted(instance, digest))) return 'suspect';
    const unproven = await this.#unproven(instance, unheld, caller);
    if (typeof unproven === 'string') return unproven;
    return await this.#obtainAll(instance, unproven, caller);
  }

  /** Those of which neither the ledger nor, where that is enough, the upstream says that they stand. */
  async #unproven(instance: string, unheld: readonly Digest[], caller: Caller): Promise<readonly Digest[] | Broken> {
    const { blobs, clock, isUpstreamThere, mayTrust, promise, trustMs } = this.#ports;
    if (!isUpstreamThere) return 'missing';
    const trusted: Digest[] = [];
    const untrusted: Digest[] = [];
    for (const digest of unheld) {
      const row = promise === 'exists' ? { provenAt: clock.now() } : await blobs.provenAt(instance, digest);
      const isTrusted = row !== undefined && clock.now() - row.provenAt < trustMs && mayTrust();
      (isTrusted ? trusted : untrusted).push(digest);
    }
    const missing = await blobs.missingUpstream(instance, trusted, caller);
    // Its silence, or its "missing", says little: what can be had is had.
    return 'kind' in missing ? unheld : [...untrusted, ...missing];
  }

  async #obtainAll(instance: string, digests: readonly Digest[], caller: Caller): Promise<Broken | null> {
    const { blobs } = this.#ports;
    const encoding = blobs.preferredEncoding(instance);
    const left = digests.values();
    const givenUp = new AbortController();
    const asker = { ...caller, signal: AbortSignal.any([caller.signal, givenUp.signal]) };
    const work = async () => {
      for (const digest of left) {
        if (asker.signal.aborted) return;
        const { kind } = await this.#limiter.run(() => blobs.obtain({ instance, digest, encoding }, asker));
        // A miss that is known is told: what hangs besides would change nothing.
        if (kind !== 'proven') givenUp.abort();
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL, digests.length) }, work));
    return asker.signal.aborted ? 'missing' : null;
  }
}

interface Named {
  readonly blobs: readonly Digest[];
  /** A Tree lists all files below it; a Directory only its own, and further directories. */
  readonly directories: readonly { readonly digest: Digest; readonly kind: 'filesOfTree' | 'allBelow' }[];
}

/** Every digest that the result names. What is inlined beside its digest must match it. */
export const readNamed = (result: ActionResult): Named | Broken => {
  const blobs: Digest[] = [];
  const directories: Named['directories'][number][] = [];
  try {
    for (const { digest, contents } of result.outputFiles) {
      const named = readDigest(digest);
      if (contents.length > 0 && !isOf(named, contents)) return 'inlined';
      blobs.push(named);
    }
    for (const { digest, raw } of [
      { digest: result.stdoutDigest, raw: result.stdoutRaw },
      { digest: result.stderrDigest, raw: result.stderrRaw },
    ]) {
      if (digest === undefined) continue;
      const named = readDigest(digest);
      if (raw.length > 0 && !isOf(named, raw)) return 'inlined';
      blobs.push(named);
    }
    for (const { treeDigest, rootDirectoryDigest } of result.outputDirectories) {
      if (treeDigest === undefined && rootDirectoryDigest === undefined) return 'malformed';
      if (treeDigest !== undefined) directories.push({ digest: readDigest(treeDigest), kind: 'filesOfTree' });
      if (rootDirectoryDigest !== undefined)
        directories.push({ digest: readDigest(rootDirectoryDigest), kind: 'allBelow' });
    }
  } catch {
    return 'malformed';
  }
  return { blobs, directories };
};

const isOf = ({ sha256, sizeBytes }: Digest, bytes: Uint8Array): boolean =>
  bytes.length === sizeBytes && hash('sha256', bytes) === sha256;
