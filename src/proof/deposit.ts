// Takes an upload whose digest nobody told us yet: proves that its bytes are what its file hash names, and measures what they decode to.

import { canDecode } from '../codec/open.ts';
import type { Encoding } from '../core/claim.ts';
import type { Clock } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import type { ProvenForm, Spool } from '../store/form.ts';
import type { FormStore } from '../store/forms.ts';
import { batches } from './batches.ts';
import { Meter } from './meter.ts';
import { TransferWatch } from './watch.ts';

export interface Deposit {
  /** As the uploader named it: SHA-256 of the encoded bytes, hex. */
  readonly fileHash: string;
  readonly fileBytes: number;
  /** Given its first bytes, at least 32 where there are as many; null when nothing we can decode begins so. */
  encodingOf(head: Buffer): Encoding | null;
  /** Throws when the connection breaks off. */
  readonly bytes: AsyncIterable<Buffer>;
  /** Breaks the connection off. */
  abort(): void;
}

export interface DepositPorts {
  readonly clock: Clock;
  readonly forms: FormStore;
  /** A slow uploader is given so long between two bytes. */
  readonly idleMs: number;
  /** Decoded bytes that one upload may have. */
  readonly maxDecodedBytes: number;
}

/** The longest magic is a NAR's own: 21 bytes. */
const HEAD_BYTES = 32;

/** What Nix calls the encodings that have a decoder here. */
export const provableWords = (): string => `none, zstd, ${canDecode('xz') ? 'xz, ' : ''}gzip or br`;

const wrong = (message: string) => new CleanmissError('WRONG_UPLOAD', 'client', message);

/**
 * Resolves when the form is stored and synced. Throws a CleanmissError: WRONG_UPLOAD with what is
 * wrong, BUSY or DISK where there is no room; nothing is kept then.
 */
export const deposit = async (ports: DepositPorts, upload: Deposit): Promise<ProvenForm> => {
  const spool = ports.forms.spool();
  try {
    return await take(ports, upload, spool);
  } finally {
    await spool.discard();
  }
};

const take = async (ports: DepositPorts, upload: Deposit, spool: Spool): Promise<ProvenForm> => {
  const limits = { firstByteMs: ports.idleMs, idleMs: ports.idleMs };
  const watch = new TransferWatch(ports.clock, limits, () => upload.abort());
  let metered: { readonly meter: Meter; readonly encoding: Encoding } | null = null;
  try {
    for await (const batch of withHead(batches(upload.bytes, watch))) {
      metered ??= openMeter(upload, batch, ports.maxDecodedBytes);
      if (spool.bytes + batch.length > upload.fileBytes) throw wrong('the body is longer than its Content-Length');
      const [fault] = await Promise.all([metered.meter.take(batch), spool.append(batch)]);
      if (fault !== null) throw wrong(`the body is no right ${metered.encoding} stream: ${fault.detail}`);
    }
    if (metered === null || spool.bytes !== upload.fileBytes) throw wrong('the body ended before its Content-Length');
    const { meter, encoding } = metered;
    const fault = await meter.end();
    if (fault !== null) throw wrong(`the body is no whole ${encoding} stream: ${fault.detail}`);
    const fileHash = meter.encodedHash();
    if (fileHash !== upload.fileHash) throw wrong('the body does not have the file hash that its name says');
    const digest = { sha256: meter.decodedHash(), sizeBytes: meter.decodedBytes };
    return await ports.forms.keep(spool, { digest, encoding, fileHash }, true);
  } finally {
    watch.close();
    metered?.meter.close();
  }
};

/** The same bytes, of which the first piece is long enough to tell an encoding by, however few came at first. */
async function* withHead(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  let head: Buffer | null = Buffer.alloc(0);
  for await (const piece of pieces) {
    if (head !== null) head = Buffer.concat([head, piece]);
    if (head !== null && head.length < HEAD_BYTES) continue;
    yield head ?? piece;
    head = null;
  }
  if (head !== null && head.length > 0) yield head;
}

const openMeter = (upload: Deposit, head: Buffer, maxDecodedBytes: number) => {
  const encoding = upload.encodingOf(head);
  if (encoding === null || !canDecode(encoding))
    throw wrong(`the body is in no encoding that can be proven: use ${provableWords()}`);
  return { encoding, meter: new Meter(encoding, maxDecodedBytes) };
};
