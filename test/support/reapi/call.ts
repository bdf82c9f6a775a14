// One call as the scripted REAPI upstream saw it, and what became of it.

import type { BlobDigest } from '../../../src/bazel/batch-envelope.ts';

export type ReapiMethod =
  | 'GetCapabilities'
  | 'GetActionResult'
  | 'UpdateActionResult'
  | 'FindMissingBlobs'
  | 'BatchUpdateBlobs'
  | 'BatchReadBlobs'
  | 'GetTree'
  | 'SplitBlob'
  | 'SpliceBlob'
  | 'Read'
  | 'Write'
  | 'QueryWriteStatus'
  | 'Check'
  | 'Watch';

/** Filled in while it goes on. */
export interface ReapiCall {
  readonly method: ReapiMethod;
  /** From the request or the resource name. */
  instance: string;
  /** All that the request names: blobs, or the action. */
  digests: readonly BlobDigest[];
  /** Of the bytes on the wire; of a batch, zstd where it is among what is accepted or sent. */
  encoding: 'identity' | 'zstd';
  resourceName: string;
  /** Of a Read; of a Write its first. */
  offset: number;
  limit: number;
  /** The last message of a Write said so. */
  isFinished: boolean;
  readonly metadata: Readonly<Record<string, string | Buffer>>;
  readonly authority: string;
  /** Address and port of the client's end: calls with the same peer shared a connection. */
  readonly peer: string;
  /** What was left when it came; infinite without one. */
  readonly deadlineMs: number;
  /** By `performance.now()`. */
  readonly atMs: number;
  /** Of blobs in a Read or a Write, else of messages with their 5-byte heads. */
  bytesSent: number;
  bytesReceived: number;
  messagesSent: number;
  messagesReceived: number;
  /** `cancelled`: by the client, its deadline or a lost connection, before our status was sent. */
  ended: 'open' | 'ok' | 'failed' | 'cancelled';
  /** The status that was sent. */
  code: number | null;
}
