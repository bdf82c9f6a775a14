// What the scripted REAPI upstream is about to do with a call: a plain value, which behaviours change before it is carried out.

import type { BlobDigest } from '../../../src/bazel/batch-envelope.ts';
import type { ActionResult } from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';

/**
 * `before` anything is sent (of a Write: after its first message came), `after` all was, or after so many bytes, counted as
 * `ReapiCall` counts: of a Write those received, else those sent. A negative number counts from the end of what
 * is sent; a place past the end is never reached.
 */
export type Where = 'before' | 'after' | number;

export interface Encoded {
  readonly encoding: 'identity' | 'zstd';
  readonly offset: number;
}

export interface Plan {
  /** What the blob holds, before it is cut at an offset and encoded. */
  readonly content: (decoded: Buffer) => Buffer;
  /** What of it goes over the wire. */
  readonly wire: (encoded: Buffer, about: Encoded) => Buffer;
  /** The status of a batch's item, and null to leave it unset. */
  readonly item: (digest: BlobDigest, code: number | null) => number | null;
  readonly missing: (missing: readonly BlobDigest[], asked: readonly BlobDigest[]) => readonly BlobDigest[];
  readonly result: (result: ActionResult) => ActionResult;
  /** Of a Read's messages; null leaves it to the upstream. */
  readonly pieceBytes: number | null;
  readonly holds: readonly { readonly at: Where; readonly until: Promise<unknown> }[];
  readonly pace: { readonly bytesPerSecond: number; readonly pieceBytes: number } | null;
  /** In place of what would be sent from there on. */
  readonly end: { readonly at: Where; readonly code: number; readonly details: string } | null;
}

export const plainPlan: Plan = {
  content: (decoded) => decoded,
  wire: (encoded) => encoded,
  item: (_digest, code) => code,
  missing: (missing) => missing,
  result: (result) => result,
  pieceBytes: null,
  holds: [],
  pace: null,
  end: null,
};
