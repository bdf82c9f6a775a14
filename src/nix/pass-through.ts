// Passes on what carries no digest, bounded: listings, logs, realisations, debuginfo, and reads of Attic's own API.

import type { Clock } from '../core/clock.ts';
import { endpointsAt, protocolOf, rewriteEndpoints } from './attic-endpoints.ts';
import { undoContentCoding } from './content-coding.ts';
import type { HttpAnswer, HttpFailure, HttpUpstream } from './http-upstream.ts';
import type { Exchange } from './reads.ts';
import { cut, sendMiss, sendStream, sendText } from './send.ts';
import type { Target } from './target.ts';

export interface PassThroughPorts {
  readonly clock: Clock;
  readonly upstream: HttpUpstream;
  readonly firstByteMs: number;
  readonly idleMs: number;
}

type Passed = Target & { readonly kind: 'extra' | 'attic-api' | 'attic-cache-info' };

/** A build log or a listing of a large closure; beyond it the transfer is cut. */
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_CONFIG_BYTES = 1024 * 1024;
const PASSED_HEADERS = ['content-type', 'last-modified', 'x-attic-cache-visibility'];

export const passThrough =
  ({ clock, upstream, firstByteMs, idleMs }: PassThroughPorts) =>
  async (target: Passed, exchange: Exchange): Promise<void> => {
    const { request, response, client } = exchange;
    const abort = new AbortController();
    response.once('close', () => abort.abort());
    let timer = clock.after(firstByteMs, () => abort.abort());
    const moved = () => {
      timer.cancel();
      timer = clock.after(idleMs, () => abort.abort());
    };
    try {
      const path = pathOf(target, request.url ?? '');
      const headers = target.kind === 'extra' ? {} : { 'x-forwarded-proto': protocolOf(request) };
      const answer = await upstream.get({
        target: path,
        headers,
        credentials: client.credentials.value,
        signal: abort.signal,
      });
      moved();
      await send(target, answer, exchange, moved);
    } catch {
      if (response.headersSent) cut(response);
      else sendFailure(target, exchange);
    } finally {
      timer.cancel();
      abort.abort();
    }
  };

const pathOf = (target: Passed, rawTarget: string): string => {
  const mark = rawTarget.indexOf('?');
  if (target.kind === 'extra') return target.cache === '' ? target.url : `${target.cache}/${target.url}`;
  const path =
    target.kind === 'attic-api' ? target.path : `${target.cache === '' ? '' : `${target.cache}/`}attic-cache-info`;
  return mark < 0 ? path : path + rawTarget.slice(mark);
};

const send = async (
  target: Passed,
  answer: HttpAnswer | HttpFailure,
  exchange: Exchange,
  moved: () => void,
): Promise<void> => {
  const { request, response } = exchange;
  const content = answer.kind === 'answer' ? undoContentCoding(answer) : null;
  if (answer.kind === 'failed' || content === null || (answer.isRedirected && answer.status !== 200))
    return sendFailure(target, exchange);
  // The client's miss; Attic's API has clients that print what the server says.
  if (target.kind === 'extra' && answer.status !== 200) {
    answer.body.destroy();
    return answer.status === 401 || answer.status === 403
      ? sendText(response, 403, 'the cache refused these credentials\n')
      : sendMiss(response);
  }
  const headers: Record<string, string> = {};
  for (const name of PASSED_HEADERS) {
    const value = answer.headers[name];
    if (typeof value === 'string' && value !== '') headers[name] = value;
  }
  if (isConfig(target) && answer.status === 200) {
    const json = rewriteEndpoints(await readText(content.bytes), endpointsAt(request));
    return json === null ? sendFailure(target, exchange) : sendText(response, 200, json, headers);
  }
  if (request.method === 'HEAD') {
    response.writeHead(answer.status, headers);
    response.end();
    answer.body.destroy();
    return;
  }
  await sendStream(response, answer.status, headers, bounded(content.bytes, moved));
};

async function* bounded(bytes: AsyncIterable<Buffer>, moved: () => void): AsyncGenerator<Buffer, void, void> {
  let left = MAX_BYTES;
  for await (const piece of bytes) {
    moved();
    left -= piece.length;
    if (left < 0) throw new Error('longer than what may pass');
    yield piece;
  }
}

const isConfig = (target: Passed): boolean =>
  target.kind === 'attic-cache-info' ||
  (target.kind === 'attic-api' && /^_api\/v1\/cache-config\/[^/]+$/.test(target.path));

const readText = async (bytes: AsyncIterable<Buffer>): Promise<string> => {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of bytes) {
    length += piece.length;
    if (length > MAX_CONFIG_BYTES) throw new Error('longer than any cache-config');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
};

/** In the shape that `attic` prints. */
export const atticError = (code: number, error: string, message: string): string =>
  JSON.stringify({ code, error, message });

const sendFailure = (target: Passed, { response }: Exchange): void => {
  if (target.kind === 'extra') return sendMiss(response);
  const json = atticError(502, 'UpstreamUnavailable', 'The cache behind cleanmiss gives no answer.');
  sendText(response, 502, json, { 'content-type': 'application/json' });
};
