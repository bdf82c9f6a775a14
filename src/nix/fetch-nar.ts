// Fetches a NAR's encoded bytes for the heart, from where they broke off if the upstream can.

import { type Failure, unavailable } from '../core/verdict.ts';
import type { Fetch, FetchedBody, FetchRequest } from '../proof/fetch.ts';
import { undoContentCoding } from './content-coding.ts';
import type { HttpAnswer, HttpUpstream } from './http-upstream.ts';

/** `target` as in HttpRequest. */
export const narFetch =
  (upstream: HttpUpstream, target: string, credentials: string | null): Fetch =>
  async (request) => {
    const answer = await upstream.get({ target, credentials, signal: request.signal, headers: headersFor(request) });
    if (answer.kind === 'failed') return unavailable(answer.reason, answer.detail);
    const found = readAnswer(answer, request);
    if (found.kind !== 'body') discard(answer);
    return found;
  };

const headersFor = ({ fromByte, validator, isFresh }: FetchRequest): Record<string, string> => ({
  ...(fromByte > 0 && validator !== null ? { range: `bytes=${fromByte}-`, 'if-range': validator } : {}),
  ...(isFresh ? { 'cache-control': 'no-cache', pragma: 'no-cache' } : {}),
});

const readAnswer = (answer: HttpAnswer, request: FetchRequest): FetchedBody | Failure => {
  const { status, headers, isRedirected } = answer;
  switch (status) {
    case 200:
    case 206:
      break;
    case 404:
    case 410:
      // Behind a redirect it is the store that lacks what the cache's own metadata has.
      return isRedirected ? unavailable('status', String(status)) : { kind: 'absent' };
    case 401:
    case 403:
    case 407:
      return isRedirected ? unavailable('status', String(status)) : { kind: 'denied' };
    default:
      return unavailable('status', String(status));
  }
  const fromByte = status === 206 ? rangeStart(headers['content-range']) : 0;
  if (fromByte !== 0 && fromByte !== request.fromByte)
    return unavailable('protocol', 'another range than the one asked for');
  const content = undoContentCoding(answer);
  if (content === null) return unavailable('protocol', 'a Content-Encoding that we do not know');
  if (content.isCoded && status === 206) return unavailable('protocol', 'a range of an encoded body');
  return {
    kind: 'body',
    fromByte,
    validator: content.isCoded ? null : strongValidator(headers['etag']),
    bytes: content.bytes,
  };
};

const rangeStart = (contentRange: string | string[] | undefined): number => {
  const [, start] = typeof contentRange === 'string' ? (/^bytes (\d{1,16})-/.exec(contentRange) ?? []) : [];
  return start === undefined ? -1 : Number(start);
};

/** Only a strong ETag may join two transfers (RFC 9110 §13.1.5). */
const strongValidator = (etag: string | string[] | undefined): string | null =>
  typeof etag === 'string' && /^"[\x21\x23-\x7e]+"$/.test(etag) ? etag : null;

const discard = (answer: HttpAnswer): void => {
  answer.body.on('error', () => {});
  answer.body.destroy();
};
