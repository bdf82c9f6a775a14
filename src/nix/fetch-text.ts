// Fetches small metadata within a limit of bytes and time, and says what its status means for a reader.

import { isUtf8 } from 'node:buffer';
import type { Breaker } from '../core/breaker.ts';
import type { Clock } from '../core/clock.ts';
import type { UnavailableReason } from '../core/verdict.ts';
import { undoContentCoding } from './content-coding.ts';
import type { HttpAnswer, HttpUpstream } from './http-upstream.ts';

export type TextAnswer =
  | { readonly kind: 'text'; readonly text: string; readonly headers: HttpAnswer['headers'] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'denied' }
  | { readonly kind: 'unavailable'; readonly reason: UnavailableReason };

export interface TextPorts {
  readonly clock: Clock;
  readonly upstream: HttpUpstream;
  /** Of the upstream's metadata: its bodies may hang while this answers. */
  readonly breaker: Breaker;
}

export interface TextRequest {
  readonly target: string;
  readonly credentials: string | null;
  readonly maxBytes: number;
  /** For head and body together; the breaker may shorten it. */
  readonly withinMs: number;
}

/** One request. Never rejects. */
export const fetchText = async (ports: TextPorts, request: TextRequest): Promise<TextAnswer> => {
  const { clock, upstream, breaker } = ports;
  if (!breaker.admits() && !(await breaker.closesSoon())) return { kind: 'unavailable', reason: 'breaker' };
  const abort = new AbortController();
  const timer = clock.after(Math.min(request.withinMs, breaker.firstByteMs), () => abort.abort());
  try {
    const { target, credentials } = request;
    const answer = await upstream.get({ target, credentials, signal: abort.signal });
    if (answer.kind === 'failed') {
      // That nobody listens costs no wait, and who is patient must see at once when somebody does again.
      if (answer.reason === 'refused' && answer.detail !== 'ECONNREFUSED') breaker.failed();
      return { kind: 'unavailable', reason: answer.reason };
    }
    const text = await readAnswer(answer, request.maxBytes);
    // Of metadata, "absent" is a whole answer: while an upstream starts, most of what is asked for is in no cache.
    if (text.kind !== 'unavailable') breaker.succeeded();
    return text;
  } catch {
    if (!abort.signal.aborted) return { kind: 'unavailable', reason: 'cut' };
    breaker.failed();
    return { kind: 'unavailable', reason: 'first-byte' };
  } finally {
    timer.cancel();
    abort.abort();
  }
};

const readAnswer = async (answer: HttpAnswer, maxBytes: number): Promise<TextAnswer> => {
  const content = answer.status === 200 ? undoContentCoding(answer) : null;
  if (content === null) {
    await drain(answer);
    return statusAnswer(answer);
  }
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of content.bytes) {
    bytes += piece.length;
    if (bytes > maxBytes) return { kind: 'unavailable', reason: 'protocol' };
    pieces.push(piece);
  }
  const body = Buffer.concat(pieces);
  // What UTF-8 can't carry would not leave as it came.
  if (!isUtf8(body)) return { kind: 'unavailable', reason: 'protocol' };
  return { kind: 'text', text: body.toString('utf8'), headers: answer.headers };
};

const statusAnswer = ({ status, isRedirected }: HttpAnswer): TextAnswer => {
  if (status === 200 || isRedirected) return { kind: 'unavailable', reason: status === 200 ? 'protocol' : 'redirect' };
  if (status === 404 || status === 410) return { kind: 'absent' };
  if (status === 401 || status === 403 || status === 407) return { kind: 'denied' };
  return { kind: 'unavailable', reason: 'status' };
};

/** Reads a small error body, so that the connection can serve again; a large one is cut. */
const drain = async (answer: HttpAnswer): Promise<void> => {
  let left = 64 * 1024;
  for await (const piece of answer.body) {
    left -= piece.length;
    if (left < 0) return;
  }
};
