// What the Bazel front asks of the cache behind it; without one, `no-upstream.ts` answers that nothing is there.

import type { Metadata } from '@grpc/grpc-js';
import type { Digest } from '../core/digest.ts';
import type { Failure } from '../core/verdict.ts';
import type { Fetch } from '../proof/fetch.ts';
import type { Credentials } from '../store/access.ts';
import type { BatchUpdate } from './batch-envelope.ts';
import type { CallError } from './call-error.ts';
import type {
  ActionResult,
  GetActionResultRequest,
  UpdateActionResultRequest,
} from './generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import type { BlobEncoding } from './resource-name.ts';

/** One blob at one instance, in the encoding in which it is wanted or sent. */
export interface Blob {
  readonly instance: string;
  readonly digest: Digest;
  readonly encoding: BlobEncoding;
}

/** On whose behalf the upstream is asked, and for how long. */
export interface Behalf {
  readonly credentials: Credentials;
  readonly metadata: Metadata;
  readonly signal: AbortSignal;
}

/** Stored there, or not; `refuted` never, for what goes out is proven. */
export type Stored = { readonly kind: 'stored' } | Failure;

/** A blob on its way out. Whoever opens one finishes or cancels it. */
export interface BlobUpload {
  /** Takes the next encoded bytes. Resolves when there is room for more, or with why there never will be. */
  send(bytes: Buffer): Promise<Failure | null>;
  /** The last bytes, proven: only they make the upload complete. */
  finish(bytes: Buffer): Promise<Stored>;
  /** Nothing of it may be stored. */
  cancel(): void;
}

export interface ReapiUpstream {
  /** False where our own store is the cache. */
  readonly isThere: boolean;
  fetch(blob: Blob, behalf: Omit<Behalf, 'signal'>): Fetch;
  /** The keys (`digestKey`) of those it lacks. */
  findMissing(
    instance: string,
    digests: readonly Digest[],
    behalf: Behalf,
  ): Promise<{ readonly kind: 'missing'; readonly keys: ReadonlySet<string> } | Failure>;
  getActionResult(
    request: GetActionResultRequest,
    behalf: Behalf,
  ): Promise<{ readonly kind: 'result'; readonly result: ActionResult } | Failure>;
  updateActionResult(
    request: UpdateActionResultRequest,
    behalf: Behalf,
  ): Promise<{ readonly kind: 'result'; readonly result: ActionResult } | Failure>;
  upload(blob: Blob, behalf: Behalf): BlobUpload;
  /** Proven blobs, of any number and size that one message of the client's may have. */
  batchUpdate(batch: BatchUpdate, behalf: Behalf): Promise<Stored>;
  /** What to tell who was denied: the words of the upstream's last refusal. */
  refusal(credentials: Credentials): CallError;
  close(): void;
}
