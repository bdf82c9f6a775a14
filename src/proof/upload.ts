// Proves an upload against the digest that its uploader named, while it streams in, and keeps what matched.

import type { Claim } from '../core/claim.ts';
import type { Clock } from '../core/clock.ts';
import type { Digest } from '../core/digest.ts';
import { type Failure, unavailable } from '../core/verdict.ts';
import type { ProvenForm, Spool } from '../store/form.ts';
import type { FormStore } from '../store/forms.ts';
import { batches } from './batches.ts';
import { Prover } from './prover.ts';
import { ownFailure } from './transfer.ts';
import { TransferWatch } from './watch.ts';

export interface UploadPorts {
  readonly clock: Clock;
  readonly forms: FormStore;
  /** A slow uploader is given so long between two bytes. */
  readonly idleMs: number;
  /** Nothing is behind us: what is kept is synced, and what can't be kept is no success. */
  readonly isDurable: boolean;
}

/** Where the bytes go besides: each batch is the taker's until it resolves. */
export type OnBytes = (batch: Buffer) => Promise<void>;

/** Proven, and not kept yet. Whoever is given one calls `keep` or `discard`. */
export interface ProvenUpload {
  readonly kind: 'proven';
  readonly digest: Digest;
  /** Encoded bytes. */
  readonly fileBytes: number;
  /** Null where there is no room for it, and need not be. */
  keep(): Promise<ProvenForm | null>;
  discard(): Promise<void>;
}

/** Rejects with what `bytes` or `onBytes` reject with, and with the reason of `signal` when that is aborted. */
export const proveUpload = async (
  ports: UploadPorts,
  { digest, encoding }: Claim,
  bytes: AsyncIterable<Buffer>,
  { onBytes, signal }: { readonly onBytes: OnBytes; readonly signal?: AbortSignal },
): Promise<ProvenUpload | Failure> => {
  const taking = new Taking(ports, new Prover(digest, encoding));
  let isProven = false;
  try {
    const failure = await taking.all(bytes, onBytes, signal);
    const proof = failure ?? (await taking.prover.finish());
    if (proof.kind !== 'proven') return proof;
    isProven = true;
    const { spool } = taking;
    return {
      kind: 'proven',
      digest: proof.digest,
      fileBytes: taking.prover.encodedBytes,
      keep: async () => {
        try {
          return spool && (await ports.forms.keep(spool, { ...proof, encoding }, ports.isDurable));
        } catch (error) {
          if (ports.isDurable) throw error;
          return null;
        } finally {
          await spool?.discard();
        }
      },
      discard: async () => await spool?.discard(),
    };
  } finally {
    taking.prover.close();
    if (!isProven) await taking.spool?.discard();
  }
};

class Taking {
  readonly prover: Prover;
  spool: Spool | null;
  readonly #ports: UploadPorts;

  constructor(ports: UploadPorts, prover: Prover) {
    this.#ports = ports;
    this.prover = prover;
    this.spool = ports.forms.spool();
  }

  async all(bytes: AsyncIterable<Buffer>, onBytes: OnBytes, signal?: AbortSignal): Promise<Failure | null> {
    const { clock, idleMs } = this.#ports;
    const slow = new AbortController();
    const watch = new TransferWatch(clock, { firstByteMs: idleMs, idleMs }, () => slow.abort());
    const ended = signal === undefined ? slow.signal : AbortSignal.any([signal, slow.signal]);
    try {
      for await (const batch of batches(bytes, watch, ended)) {
        const [failure, full] = await Promise.all([this.prover.take(batch), this.#spool(batch), onBytes(batch)]);
        if (failure !== null || full !== null) return failure ?? full;
      }
      return null;
    } catch (error) {
      if (slow.signal.aborted) return unavailable('idle');
      throw error;
    } finally {
      watch.close();
    }
  }

  /** Without room an upload goes on past us, if there is somewhere to go. */
  async #spool(batch: Buffer): Promise<Failure | null> {
    try {
      await this.spool?.append(batch);
      return null;
    } catch (error) {
      if (this.#ports.isDurable) return ownFailure(error);
      const { spool } = this;
      this.spool = null;
      await spool?.discard();
      return null;
    }
  }
}
