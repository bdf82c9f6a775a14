// One probe's raw answer, and what it says by itself.

import type { FaultClass } from './state.ts';

export type Operation =
  | 'list-buckets'
  | 'head-bucket'
  | 'head-canary'
  | 'get-canary'
  | 'readiness'
  | 'put-proof'
  | 'get-proof';

export interface Answer {
  readonly operation: Operation;
  readonly bucket: string | null;
  /** Wall clock, milliseconds. */
  readonly at: number;
  readonly ms: number;
  /** Of the HTTP head as it came off the wire; null when none came. */
  readonly status: number | null;
  /** Of the body's XML, or of MinIO's header where there is no body; else the system's, or Node's. */
  readonly code: string | null;
  readonly requestId: string | null;
  readonly contentType: string | null;
  readonly asksToRetryLater: boolean;
  readonly outcome: Outcome;
}

export type Outcome =
  /** 2xx, and as S3 says it. */
  | { readonly kind: 'well' }
  | { readonly kind: 'listed'; readonly buckets: readonly string[]; readonly isWhole: boolean }
  /** A canary's bytes; `storeId` where they are some store's canary of this bucket. */
  | { readonly kind: 'canary'; readonly storeId: string | null }
  /** 2xx whose body is none that was asked for: HTML, broken XML, no list in the list. */
  | { readonly kind: 'unreadable' }
  /** 2xx whose body ended early, or is not what was written. */
  | { readonly kind: 'wrong-bytes' }
  | { readonly kind: 'refused' }
  /** No head: the connection failed, `code` says how. */
  | { readonly kind: 'failed' }
  | { readonly kind: 'late' }
  /** Nothing was sent: we have no key. */
  | { readonly kind: 'no-key' };

/** What one answer says: well, a fault, or of what it asked for that it is not there. */
export type Said = FaultClass | 'OK' | 'NO_BUCKET' | 'NO_KEY';

/** Nobody knows the key, or the signature is wrong; the odd ones are versitygw's, s3s-fs's and STS's. */
const credentialCodes = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'ExpiredToken',
  'InvalidToken',
  'TokenRefreshRequired',
  'AuthorizationHeaderMalformed',
  'RequestTimeTooSkewed',
  'XAdminUserNotFound',
  'NotSignedUp',
  'InvalidClientTokenId',
  'AccountProblem',
]);

const tlsCodes =
  /^(?:ERR_TLS_|ERR_SSL_|EPROTO$|CERT_|DEPTH_ZERO_SELF_SIGNED_CERT$|SELF_SIGNED_CERT_IN_CHAIN$|UNABLE_TO_)/;

const failure = (code: string | null): Said => {
  if (code !== null && tlsCodes.test(code)) return 'TLS';
  return code?.startsWith('HPE_') ? 'PROTOCOL' : 'UNREACHABLE';
};

const isHead = (answer: Answer): boolean => answer.operation.startsWith('head-');

const refusal = (answer: Answer): Said => {
  const { status, code, contentType } = answer;
  if (status === null) return 'PROTOCOL';
  if (code !== null && credentialCodes.has(code)) return 'CREDENTIALS';
  // What an S3 server says is XML, or nothing. A proxy's page tells nothing of buckets.
  if (contentType?.startsWith('text/html')) return 'PROTOCOL';
  if (status === 503 && contentType?.startsWith('text/plain') && answer.asksToRetryLater) return 'STARTING';
  if (status >= 500 || status === 429) return 'BACKEND_5XX';
  if (code === 'NoSuchBucket') return 'NO_BUCKET';
  if (code === 'NoSuchKey') return 'NO_KEY';
  // A HEAD has no body that could say which.
  if (status === 404 && isHead(answer)) return answer.operation === 'head-bucket' ? 'NO_BUCKET' : 'NO_KEY';
  if (status === 401) return 'CREDENTIALS';
  if (status === 403) return 'FORBIDDEN';
  // An error in the body of a 200 is one of the server's own.
  return status < 300 && code !== null ? 'BACKEND_5XX' : 'PROTOCOL';
};

export const said = (answer: Answer): Said => {
  switch (answer.outcome.kind) {
    case 'well':
    case 'listed':
    case 'canary':
      return 'OK';
    case 'unreadable':
      return 'PROTOCOL';
    case 'wrong-bytes':
      return answer.contentType?.startsWith('text/html') ? 'PROTOCOL' : 'BODY_BROKEN';
    case 'late':
      return 'SLOW';
    case 'no-key':
      return 'CREDENTIALS';
    case 'failed':
      return failure(answer.code);
    case 'refused':
      return refusal(answer);
  }
};

/** Said by the network, or by a server in trouble, which may say otherwise in the next moment. */
export const isPassing = (answer: Answer): boolean => {
  const word = said(answer);
  return word === 'UNREACHABLE' || word === 'SLOW' || word === 'BACKEND_5XX' || word === 'PROTOCOL' || isCut(answer);
};

/** MinIO's face of a flipped part, and a network's of a bad moment. */
const isCut = (answer: Answer): boolean => answer.outcome.kind === 'wrong-bytes' && answer.code !== null;
