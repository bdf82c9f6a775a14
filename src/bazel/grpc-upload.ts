// One ByteStream.Write to the upstream: its last bytes are held back until they are proven.

import { randomUUID } from 'node:crypto';
import type { ClientWritableStream, ServiceError } from '@grpc/grpc-js';
import { type Failure, unavailable } from '../core/verdict.ts';
import type { WriteChunk } from './envelope.ts';
import type { WriteResponse } from './generated/google/bytestream/bytestream_pb.ts';
import { writeName } from './resource-name.ts';
import type { Blob, BlobUpload, Stored } from './upstream.ts';

interface UploadPorts {
  open(callback: (error: ServiceError | null, response?: WriteResponse) => void): ClientWritableStream<WriteChunk>;
  failureOf(error: ServiceError): Failure;
}

/** Below the 4 MiB that servers accept, and large enough that a message's own cost does not count. */
const MESSAGE_BYTES = 1024 * 1024;

export class GrpcUpload implements BlobUpload {
  readonly #blob: Blob;
  readonly #call: ClientWritableStream<WriteChunk>;
  /** Settles when the upstream has answered, early or in the end. */
  readonly #answered: Promise<Stored>;
  #answer: Stored | null = null;
  #sentBytes = 0;
  #resourceName: string;
  #goOn = (): void => {};

  constructor(ports: UploadPorts, blob: Blob, signal: AbortSignal) {
    this.#blob = blob;
    this.#resourceName = writeName(blob, randomUUID());
    const { promise, resolve } = Promise.withResolvers<Stored>();
    this.#call = ports.open((error, response) => {
      signal.removeEventListener('abort', this.#onAbort);
      this.#answer = error === null ? this.#readAnswer(response) : ports.failureOf(error);
      resolve(this.#answer);
      this.#goOn();
    });
    this.#answered = promise;
    // It tells nothing that the callback does not.
    this.#call.on('error', () => {});
    signal.addEventListener('abort', this.#onAbort, { once: true });
    if (signal.aborted) this.#onAbort();
  }

  async send(bytes: Buffer): Promise<Failure | null> {
    for (let at = 0; at < bytes.length && this.#answer === null; at += MESSAGE_BYTES)
      await this.#write(bytes.subarray(at, at + MESSAGE_BYTES), false);
    // An early OK: it has the blob already, and needs no more of it.
    return this.#answer === null || this.#answer.kind === 'stored' ? null : this.#answer;
  }

  async finish(bytes: Buffer): Promise<Stored> {
    if (this.#answer === null) {
      const last = Math.max(0, bytes.length - MESSAGE_BYTES);
      await this.send(bytes.subarray(0, last));
      await this.#write(bytes.subarray(last), true);
      this.#call.end();
    }
    return await this.#answered;
  }

  cancel(): void {
    this.#call.cancel();
  }

  readonly #onAbort = (): void => this.cancel();

  async #write(data: Buffer, finishWrite: boolean): Promise<void> {
    if (this.#answer !== null) return;
    const chunk = { resourceName: this.#resourceName, writeOffset: this.#sentBytes, finishWrite, data };
    this.#resourceName = '';
    this.#sentBytes += data.length;
    await new Promise<void>((resolve) => {
      // After an answer nobody reads what is written, and its callback may never come.
      this.#goOn = resolve;
      this.#call.write(chunk, () => resolve());
    });
  }

  /** An early answer, because it has the blob, tells the full size, or -1 where it is compressed. */
  #readAnswer(response: WriteResponse | undefined): Stored {
    const committed = Number(response?.committedSize ?? 0);
    const { digest, encoding } = this.#blob;
    const isWhole =
      committed === this.#sentBytes || (encoding === 'zstd' ? committed === -1 : committed === digest.sizeBytes);
    return isWhole ? { kind: 'stored' } : unavailable('protocol', `committed ${committed} bytes of ${this.#sentBytes}`);
  }
}
