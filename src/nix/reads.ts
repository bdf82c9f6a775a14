// Answers GET and HEAD: whatever goes wrong behind it, a client sees the right bytes or a clean miss.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Telemetry } from '../core/telemetry.ts';
import type { NixCache } from './cache.ts';
import type { NixClient } from './client.ts';
import type { NarAnswer } from './nars.ts';
import { cut, sendFollowed, sendForm, sendMiss, sendText } from './send.ts';
import type { Target } from './target.ts';

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly client: NixClient;
}

export interface ReadPorts {
  readonly cache: NixCache;
  readonly telemetry: Telemetry;
  /** What carries no digest, and Attic's own API. */
  passThrough(
    target: Target & { readonly kind: 'extra' | 'attic-api' | 'attic-cache-info' },
    exchange: Exchange,
  ): Promise<void>;
  /** An URL of another shape than `nar/…` that a narinfo once named, as cache and URL relative to it. */
  findUrl(path: string, query: string): Promise<{ readonly cache: string; readonly url: string } | undefined>;
  onMiss(fields: { readonly cache: string; readonly url: string; readonly reason: string }): void;
}

/** Never rejects, and always ends the response. */
export const answerRead = async (ports: ReadPorts, target: Target, exchange: Exchange): Promise<void> => {
  try {
    await answer(ports, target, exchange);
  } catch (error) {
    ports.onMiss({
      cache: '',
      url: exchange.request.url ?? '',
      reason: error instanceof Error ? error.message : String(error),
    });
    if (exchange.response.headersSent) cut(exchange.response);
    else sendMiss(exchange.response);
  }
};

const answer = async (ports: ReadPorts, target: Target, exchange: Exchange): Promise<void> => {
  const { response, client } = exchange;
  switch (target.kind) {
    case 'bad':
      return sendText(response, 400, `${target.detail}\n`);
    case 'cache-info': {
      const info = await ports.cache.cacheInfo(target.cache, client);
      return info.kind === 'text' ? sendText(response, 200, info.text, CACHE_INFO) : sendNone(response, info.kind);
    }
    case 'narinfo': {
      const info = await ports.cache.narinfo(target.cache, target.storeHash, client);
      return info.kind === 'text' ? sendText(response, 200, info.text, NARINFO) : sendNone(response, info.kind);
    }
    case 'nar':
      return await answerNar(ports, target.cache, target.url, target.pin, exchange);
    case 'unknown': {
      const known = await ports.findUrl(target.path, target.query);
      return known === undefined
        ? sendMiss(response)
        : await answerNar(ports, known.cache, known.url, target.pin, exchange);
    }
    case 'extra':
    case 'attic-api':
    case 'attic-cache-info':
      return await ports.passThrough(target, exchange);
  }
};

const CACHE_INFO = { 'content-type': 'text/x-nix-cache-info' };
const NARINFO = { 'content-type': 'text/x-nix-narinfo' };

const answerNar = async (
  ports: ReadPorts,
  cache: string,
  url: string,
  pin: Parameters<NixCache['nar']>[2],
  { request, response, client }: Exchange,
): Promise<void> => {
  const nar = await ports.cache.nar(cache, url, pin, client);
  const { obtained, again } = nar;
  switch (obtained.kind) {
    case 'proven':
      ports.telemetry.request('nix', obtained.source);
      return await sendForm(request, response, {
        form: obtained.form,
        mayRange: nar.mayRange,
        refill: () => again(client.refiller()),
      });
    case 'followed':
      ports.telemetry.request('nix', 'fill');
      return await sendFollowed(request, response, obtained.followed);
    default:
      ports.telemetry.request('nix', 'miss');
      if (obtained.kind !== 'absent') ports.onMiss({ cache, url, reason: reasonOf(nar) });
      return sendNone(response, obtained.kind);
  }
};

const reasonOf = ({ obtained }: NarAnswer): string => {
  if (!('reason' in obtained)) return obtained.kind;
  return 'detail' in obtained ? `${obtained.reason}: ${obtained.detail}` : obtained.reason;
};

/** 403 is a miss for every Nix, 401 is none from 2.35 on. */
const sendNone = (response: ServerResponse, kind: string): void => {
  if (kind === 'denied') sendText(response, 403, 'the cache refused these credentials\n');
  else sendMiss(response);
};
