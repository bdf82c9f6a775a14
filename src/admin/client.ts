// Asks a running cleanmiss over its admin API, for the commands.

import { systemClock } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import type { Secret } from '../core/secret.ts';
import { readEvents } from './event-stream.ts';

/** Admin answers from memory: whoever is silent for so long will not answer. */
const PATIENCE_MS = 5_000;

export interface AdminAddress {
  /** `http://127.0.0.1:9501`. */
  readonly url: string;
  /** A Bearer token. */
  readonly token?: Secret | undefined;
}

const unreachable = (url: string, why: string, cause?: unknown): CleanmissError =>
  new CleanmissError('UNREACHABLE', 'upstream', `no answer from ${url}: ${why}`, cause);

/** undici hides what happened under "fetch failed". */
const deepest = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return `nothing within ${PATIENCE_MS / 1_000} s`;
  if (error.cause !== undefined) return deepest(error.cause);
  return error.message || ('code' in error ? String(error.code) : error.name);
};

/** Where `path` is. Throws ADMIN_URL at what is no address of an admin API. */
const targetOf = (url: string, path: string): string => {
  // Neither is repeated: there may be a password in the one, and a token in the other.
  if (/[@?#]/.test(url)) {
    throw new CleanmissError(
      'ADMIN_URL',
      'client',
      '--admin: credentials do not belong into a URL, nor a query: --token-file names a file',
    );
  }
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
    throw new CleanmissError('ADMIN_URL', 'client', `--admin ${url}: accepted: an http:// or https:// URL`);
  }
  return `${url.replace(/\/+$/, '')}${path}`;
};

export interface AdminCall {
  readonly path: string;
  /** GET without it. */
  readonly method?: 'PUT' | 'POST' | 'DELETE';
  /** Sent as JSON; what is undefined in it is not. */
  readonly body?: object | undefined;
  readonly ifMatch?: string | undefined;
}

export interface AdminAnswer {
  readonly status: number;
  readonly etag: string | undefined;
  /** Of a problem, what it says; empty otherwise. */
  readonly detail: string;
  /** The JSON object; throws ADMIN_REFUSED where it is a problem of the asker's, ADMIN_FAILED of the house's, UNREACHABLE of neither. */
  orThrow(): object;
}

const send = async ({ url, token }: AdminAddress, call: AdminCall, signal: AbortSignal): Promise<Response> => {
  const target = targetOf(url, call.path);
  const headers = {
    ...(token !== undefined && { authorization: `Bearer ${token.reveal()}` }),
    ...(call.body !== undefined && { 'content-type': 'application/json' }),
    ...(call.ifMatch !== undefined && { 'if-match': call.ifMatch }),
  };
  const { method = 'GET' } = call;
  const body = call.body === undefined ? null : JSON.stringify(call.body);
  try {
    return await fetch(target, { method, headers, body, redirect: 'error', signal });
  } catch (error) {
    throw unreachable(target, deepest(error), error);
  }
};

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** Rejects with UNREACHABLE where nobody answers; whatever is answered is the caller's to judge. */
export const callAdmin = async (address: AdminAddress, call: AdminCall): Promise<AdminAnswer> => {
  const response = await send(address, call, AbortSignal.timeout(PATIENCE_MS));
  const target = targetOf(address.url, call.path);
  const { status } = response;
  const text = await response.text().catch((error: unknown) => {
    throw unreachable(target, deepest(error), error);
  });
  const body = jsonOf(text);
  const isObject = typeof body === 'object' && body !== null;
  const detail = isObject && 'detail' in body ? String(body.detail) : '';
  return {
    status,
    etag: response.headers.get('etag') ?? undefined,
    detail,
    orThrow: () => {
      const words = detail === '' ? '' : `: ${detail}`;
      if (status >= 400 && status < 500 && detail !== '') {
        throw new CleanmissError('ADMIN_REFUSED', 'client', `${target} answered ${status}${words}`);
      }
      if (status === 503 && detail !== '') {
        throw new CleanmissError('ADMIN_FAILED', 'self', `${target} answered ${status}${words}`);
      }
      if (status < 200 || status > 299 || !isObject) {
        throw unreachable(target, `it answered ${status}${words || ', and not as cleanmiss does'}`);
      }
      return body;
    },
  };
};

/** The JSON object at `path`. */
export const askAdmin = async (address: AdminAddress, path: string): Promise<object> =>
  (await callAdmin(address, { path })).orThrow();

/** The JSON objects of an event stream, until it ends or its consumer does. */
export async function* watchAdmin(address: AdminAddress, path: string): AsyncGenerator<object> {
  const patience = new AbortController();
  const timer = systemClock.after(PATIENCE_MS, () =>
    patience.abort(new Error(`nothing within ${PATIENCE_MS / 1_000} s`)),
  );
  const response = await send(address, { path }, patience.signal).finally(() => timer.cancel());
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
  if (response.status !== 200 || !isStream || response.body === null) {
    const body = jsonOf(await response.text());
    const detail = typeof body === 'object' && body !== null && 'detail' in body ? `: ${body.detail}` : '';
    const isRefused = response.status >= 400 && response.status < 500 && detail !== '';
    if (isRefused) throw new CleanmissError('ADMIN_REFUSED', 'client', `${path} answered ${response.status}${detail}`);
    throw unreachable(targetOf(address.url, path), `it answered ${response.status}${detail}`);
  }
  yield* readEvents(response.body);
}
