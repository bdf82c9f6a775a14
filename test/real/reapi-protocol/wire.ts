// One way to a REAPI cache, as the protocol's rows ask it: blobs that lie there, calls of any bytes, answers in a word.

import { createHash } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { BlobDigest } from '../../../src/bazel/batch-envelope.ts';
import { type ReadAnswer, type ReadOptions, ReapiClient, type WriteAnswer } from '../../support/reapi-client.ts';
import { seededBytes } from '../../support/seeded.ts';

/** cleanmiss alone, cleanmiss over a real bazel-remote, and bazel-remote itself. */
export const ways = ['alone', 'over', 'remote'] as const;
export type Way = (typeof ways)[number];

export type Differs = Readonly<Partial<Record<Way, { readonly sees: unknown; readonly why: string }>>>;

export interface Row {
  readonly reason: string;
  ask(wire: Wire): Promise<unknown>;
  /** The same on every way, but for those below. */
  readonly sees: unknown;
  /** What a way answers that differs, and why. */
  readonly differs?: Differs | undefined;
}

export interface Blob {
  readonly bytes: Buffer;
  readonly digest: BlobDigest;
}

export interface RawAnswer {
  readonly code: string;
  readonly details: string;
  readonly messages: readonly Buffer[];
}

export const digestOf = (bytes: Uint8Array): BlobDigest => ({
  hash: createHash('sha256').update(bytes).digest('hex'),
  sizeBytes: bytes.length,
});

export const codeOf = ({ code }: { readonly code: number }): string => status[code] ?? String(code);

let made = 0;
/** Unlike any other. */
export const newBlob = (sizeBytes: number): Blob => {
  const bytes = seededBytes(`blob ${made++}`, sizeBytes);
  return { bytes, digest: digestOf(bytes) };
};

const asIs = (bytes: Buffer): Buffer => bytes;

export class Wire {
  readonly way: Way;
  readonly client: ReapiClient;
  /** Of whoever holds blobs to begin with: what lies behind a cleanmiss is new to it. */
  readonly #source: ReapiClient;
  readonly #raw: Client;

  /** Addresses as `host:port`. Whoever makes it closes it. */
  constructor(way: Way, address: string, source = address) {
    this.way = way;
    this.client = new ReapiClient(address);
    this.#source = new ReapiClient(source);
    this.#raw = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
  }

  close(): void {
    this.client.close();
    this.#source.close();
    this.#raw.close();
  }

  async put(bytes: Buffer, instance = ''): Promise<Blob> {
    const blob = { bytes, digest: digestOf(bytes) };
    const { code, details } = await this.#source.write(blob.digest, inPieces(bytes), { instance });
    if (code !== status.OK) throw new Error(`a blob cannot be put: ${details}`);
    return blob;
  }

  /** A new one, which lies there. */
  lying(sizeBytes: number, instance = ''): Promise<Blob> {
    return this.put(newBlob(sizeBytes).bytes, instance);
  }

  /** `present` or `missing`. */
  async has({ hash, sizeBytes }: BlobDigest, instance = ''): Promise<string> {
    const { response, ...end } = await this.client.findMissing([{ hash, sizeBytes }], { instance });
    if (response === null) return codeOf(end);
    return response.includes(hash) ? 'missing' : 'present';
  }

  /** One request of any bytes, to any method. */
  raw(path: string, message: Buffer, signal?: AbortSignal): Promise<RawAnswer> {
    const call = this.#raw.makeServerStreamRequest(path, asIs, asIs, message, new Metadata());
    const messages: Buffer[] = [];
    signal?.addEventListener('abort', () => call.cancel(), { once: true });
    return new Promise((resolve) => {
      call.on('data', (bytes: Buffer) => messages.push(bytes));
      call.on('error', () => {});
      call.on('status', (end) => resolve({ code: codeOf(end), details: end.details, messages }));
    });
  }

  /** Any messages to a method that takes a stream of them. */
  rawWrite(messages: readonly Buffer[], deadlineMs = 10_000): Promise<string> {
    return new Promise((resolve) => {
      const path = '/google.bytestream.ByteStream/Write';
      const limits = { deadline: Date.now() + deadlineMs };
      const done = (error: ServiceError | null) => {
        if (error === null) resolve('OK');
        // Both sides count it, and the server may be the first: then it says CANCELLED.
        else resolve(Date.now() >= limits.deadline ? 'DEADLINE_EXCEEDED' : codeOf(error));
      };
      const call = this.#raw.makeClientStreamRequest(path, asIs, asIs, new Metadata(), limits, done);
      call.on('error', () => {});
      for (const message of messages) call.write(message);
      call.end();
    });
  }
}

const PIECE_BYTES = 1024 * 1024;

/** An empty one is sent too: finish_write must be said of something. */
export const inPieces = (bytes: Buffer, pieceBytes = PIECE_BYTES): Buffer[] => {
  const count = Math.max(1, Math.ceil(bytes.length / pieceBytes));
  return Array.from({ length: count }, (_, index) => bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes));
};

/** `OK` where the bytes are those that `expected` has; with zstd, once they are decoded. */
export const toldOfRead = (
  answer: ReadAnswer,
  expected: Buffer,
  encoding: 'identity' | 'zstd' = 'identity',
): string => {
  const code = codeOf(answer);
  if (answer.code !== status.OK) return answer.bytes.length === 0 ? code : `${code} after ${answer.bytes.length} bytes`;
  const largest = Math.max(0, ...answer.messages);
  if (largest > 2 * 1024 * 1024) return `${code} in a message of ${largest} bytes`;
  const decoded = encoding === 'zstd' && answer.bytes.length > 0 ? zstdDecompressSync(answer.bytes) : answer.bytes;
  return decoded.equals(expected) ? code : `${code} with ${decoded.length} wrong bytes`;
};

export const readAll = async (wire: Wire, { digest, bytes }: Blob, options: ReadOptions = {}): Promise<string> => {
  const { offset = 0, encoding } = options;
  return toldOfRead(await wire.client.read(digest, options), bytes.subarray(Math.max(0, offset)), encoding);
};

/** `OK 5`: with the committed size. */
export const toldOfWrite = (answer: WriteAnswer): string =>
  answer.code === status.OK ? `OK ${answer.committedSize}` : codeOf(answer);
