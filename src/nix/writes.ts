// Lets a write through the gate or refuses it with a text that the client prints; the body of a refused one is only drained.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../core/clock.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Decision, Gate, Write } from '../gate/gate.ts';
import { atticError } from './pass-through.ts';
import { sendText } from './send.ts';
import { readTarget, type Target } from './target.ts';

/** Attic's clients lose an early answer when the connection is reset under their upload: so much is read and dropped. */
const DRAIN_BYTES = 64 * 1024 * 1024;
const DRAIN_MS = 10_000;

export interface WritePorts {
  readonly clock: Clock;
  readonly gate: Gate;
  readonly telemetry: Telemetry;
}

/** Asks the gate. True when the body may be read; otherwise the refusal has been sent, or its client is gone. */
export const admitWrite = async (
  { clock, gate, telemetry }: WritePorts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> => {
  const target = readTarget(request.url ?? '');
  if (target.kind === 'bad') {
    refuse(clock, request, response, () => sendText(response, 400, `${target.detail}\n`));
    return false;
  }
  // It asks, and changes nothing: a client that watches a store dies when it is refused.
  if (request.method === 'POST' && target.kind === 'attic-api' && target.path === '_api/v1/get-missing-paths')
    return true;
  const gone = new AbortController();
  const onClose = () => gone.abort();
  response.once('close', onClose);
  const operation = `${request.method} ${target.kind}`;
  const decision = await gate.decide({ front: 'nix', ...addressed(target, request), operation }, gone.signal);
  response.off('close', onClose);
  if (gone.signal.aborted) return false;
  if (decision.allow) return true;
  telemetry.writeRefused('nix', decision.by);
  refuse(clock, request, response, () => sendRefusal(response, target, decision));
  return false;
};

/** What `Expect: 100-continue` waits for, once nothing speaks against the body. */
export const invite = (request: IncomingMessage, response: ServerResponse): void => {
  if (/100-continue/i.test(request.headers.expect ?? '')) response.writeContinue();
};

/** Answers without having read the body, and reads some of it so that the answer arrives. */
export const refuse = (clock: Clock, request: IncomingMessage, response: ServerResponse, send: () => void): void => {
  if (/100-continue/i.test(request.headers.expect ?? '')) {
    // The client holds its body back: with the connection kept, it could not tell whether to send it.
    response.setHeader('connection', 'close');
    return send();
  }
  drain(clock, request);
  send();
};

/** Reads and drops what a client still sends, so that it comes to read its answer. */
export const drain = (clock: Clock, request: IncomingMessage): void => {
  let left = DRAIN_BYTES;
  const timer = clock.after(DRAIN_MS, () => request.destroy());
  request.on('data', (piece: Buffer) => {
    left -= piece.length;
    if (left < 0) request.destroy();
  });
  request.once('close', () => timer.cancel());
  request.once('error', () => {});
  request.resume();
};

const sendRefusal = (response: ServerResponse, target: Target, refusal: Decision & { readonly allow: false }): void => {
  // Nix prints a 403 once and ends; a 5xx makes it send the body five times, and Nix 2.8 hang.
  if (target.kind !== 'attic-api') return sendText(response, 403, `${refusal.sentence}\n`);
  const status = refusal.by === 'health' ? 503 : 403;
  const retryAfter = refusal.by === 'health' ? { 'retry-after': String(refusal.retryAfterSeconds ?? 60) } : {};
  const json = atticError(status, 'CacheReadOnly', refusal.sentence);
  sendText(response, status, json, { 'content-type': 'application/json', ...retryAfter });
};

/** Whose cache it writes to, and what: the Attic cache and store path of an upload, or the first segment of a path. */
const addressed = (target: Target, request: IncomingMessage): Pick<Write, 'tenant' | 'subject'> => {
  switch (target.kind) {
    case 'attic-api': {
      const { cache, storePath } = readNarInfo(request.headers['x-attic-nar-info']);
      // Only the body of an upload may say it: its preamble does, where the header is left out.
      const tenant = cache ?? target.path.split('/')[3] ?? null;
      return storePath === undefined ? { tenant } : { tenant, subject: storePath };
    }
    case 'bad':
      return { tenant: '' };
    case 'unknown':
      return { tenant: target.path.split('/')[0] ?? '' };
    case 'narinfo':
      return { tenant: target.cache.split('/')[0] ?? '', subject: target.storeHash };
    default:
      return { tenant: target.cache.split('/')[0] ?? '' };
  }
};

/** A header that comes twice is no JSON. */
const readNarInfo = (
  header: string | string[] | undefined,
): { readonly cache?: string | undefined; readonly storePath?: string | undefined } => {
  if (typeof header !== 'string') return {};
  try {
    const info: unknown = JSON.parse(header);
    if (typeof info !== 'object' || info === null) return {};
    const text = (value: unknown) => (typeof value === 'string' ? value : undefined);
    return {
      cache: 'cache' in info ? text(info.cache) : undefined,
      storePath: 'store_path' in info ? text(info.store_path) : undefined,
    };
  } catch {
    return {};
  }
};
