// What a front knows of the one who asks: who they are, whether they still wait, and how they may be answered.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import type { Asker } from '../proof/obtain.ts';
import type { Access, Credentials } from '../store/access.ts';

export interface Release {
  /** By when an answer must begin: proxies between give up after a minute. */
  readonly budgetMs: number;
  readonly follow: Asker['follow'];
}

export interface NixClient {
  readonly credentials: Credentials;
  /** For one obtain; its time begins now. */
  asker(): Omit<Asker, 'fetch'>;
  /** For a second obtain behind a head that has left: nothing may be followed into it. */
  refiller(): Omit<Asker, 'fetch'>;
}

/** One for all: an error that is made anew for every answer costs more than the answer's head. */
const GONE = new CleanmissError('GONE', 'client', 'the client is gone');

/** Aborted when the client goes before its answer has ended. */
const whileWaiting = (response: ServerResponse): AbortSignal => {
  if (response.destroyed) return AbortSignal.abort(GONE);
  const gone = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(GONE);
  });
  return gone.signal;
};

export const nixClient = (
  ports: { readonly clock: Clock; readonly access: Access; readonly release: Release },
  request: IncomingMessage,
  response: ServerResponse,
): NixClient => {
  const credentials = ports.access.credentials(request.headers.authorization);
  const refiller = () => ({
    client: `${request.socket.remoteAddress} ${credentials.key}`,
    signal: whileWaiting(response),
    deadline: ports.clock.monotonic() + ports.release.budgetMs,
    follow: 'never' as const,
  });
  // An HTTP/1.0 client has no chunks: it would take a cut body for a whole one. Nor can a range begin before its form is known.
  const mayFollow = request.httpVersionMinor > 0 && request.headers.range === undefined;
  return {
    credentials,
    refiller,
    asker: () => ({ ...refiller(), follow: mayFollow ? ports.release.follow : 'never' }),
  };
};
