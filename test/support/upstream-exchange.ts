// One request as the scripted upstream saw it, and what became of its answer.

import { type BodyFraming, framingOf, type Head } from './http-message.ts';
import { WireError } from './socket-reader.ts';

/** Filled in while it goes on. */
export interface Exchange {
  readonly method: string;
  /** As it stood in the request line. */
  readonly target: string;
  /** Without the query; not decoded. */
  readonly path: string;
  readonly version: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly (readonly [name: string, value: string])[];
  /** Counts connections from 1: requests with the same number shared one. */
  readonly connection: number;
  /** By `performance.now()`. */
  readonly atMs: number;
  readonly uploadFraming: BodyFraming;
  /** The request's body: its length, and its bytes up to 16 MiB. */
  uploadedBytes: number;
  uploaded: Buffer;
  status: number | null;
  /** Body bytes handed to the kernel, without chunk sizes. */
  bodyBytesSent: number;
  /**
   * `complete`: every byte of the content and the end of its framing were sent. `cut`: the script stopped it. `gone`: the client
   * ended it, or the upstream was closed.
   */
  ended: 'open' | 'complete' | 'cut' | 'gone';
}

export const exchangeOf = (head: Head, connection: number): Exchange => {
  const line = /^([A-Z]+) (.+) HTTP\/(1\.[01])$/.exec(head.start);
  if (!line) throw new WireError('malformed', head.start);
  const [, method = '', target = '', version = ''] = line;
  return {
    method,
    target,
    path: target.replace(/^https?:\/\/[^/]*/, '').replace(/\?.*$/, ''),
    version,
    headers: head.headers,
    rawHeaders: head.rawHeaders,
    connection,
    atMs: performance.now(),
    uploadFraming: framingOf(head, 'none'),
    uploadedBytes: 0,
    uploaded: Buffer.alloc(0),
    status: null,
    bodyBytesSent: 0,
    ended: 'open',
  };
};
