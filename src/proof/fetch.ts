// What the heart asks of a front's upstream: the encoded bytes of one claim, from some byte on.

import type { Failure } from '../core/verdict.ts';

export interface FetchRequest {
  /** Encoded bytes that are here already. The answer may begin at 0 all the same. */
  readonly fromByte: number;
  /** Strong validator of what is here, for If-Range. Null where the upstream gave none: then ask for the whole. */
  readonly validator: string | null;
  /** Past any cache between: what came before was refuted. */
  readonly isFresh: boolean;
  /** Aborted when the bytes are no longer wanted or late; the body then throws and the connection is closed. */
  readonly signal: AbortSignal;
}

export interface FetchedBody {
  readonly kind: 'body';
  /** `request.fromByte` (a 206 of the same bytes), or 0. */
  readonly fromByte: number;
  readonly validator: string | null;
  /** Ends when the transfer's framing says so; throws when the transfer breaks off. */
  readonly bytes: AsyncIterable<Buffer>;
}

export type Fetch = (request: FetchRequest) => Promise<FetchedBody | Failure>;
