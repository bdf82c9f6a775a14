// How a call of the Bazel front ends when it does not end well: a code of gRPC, and a sentence for whoever reads it.

import { status } from '@grpc/grpc-js';

/** Thrown by a handler; `details` is shown to the client. */
export class CallError extends Error {
  override readonly name = 'CallError';
  readonly code: status;

  constructor(code: status, details: string) {
    super(details);
    this.code = code;
  }
}

export const invalid = (details: string): CallError => new CallError(status.INVALID_ARGUMENT, details);

/** The one miss that every client takes in silence. */
export const notFound = (details: string): CallError => new CallError(status.NOT_FOUND, details);

/**
 * No word of a digest or a time in it: Bazel prints each text once a build. Not a code that Bazel tries again, which
 * would cost 3.3 s for each action (facts of 2026, with Bazel 7.7.1).
 */
export const notStored = (): CallError =>
  new CallError(
    status.FAILED_PRECONDITION,
    'cleanmiss: the cache behind cannot take writes now; what was built is not shared, the build itself is fine.',
  );
