// Asks a running cleanmiss over its admin API, for the commands.

import { CleanmissError } from '../core/errors.ts';
import type { Secret } from '../core/secret.ts';

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

/** The JSON object at `path`. Rejects with UNREACHABLE, or with ADMIN_REFUSED where the answer is a problem of the asker's. */
export const askAdmin = async ({ url, token }: AdminAddress, path: string): Promise<object> => {
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
  const target = `${url.replace(/\/+$/, '')}${path}`;
  const headers = token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` };
  let status: number;
  let body: unknown;
  try {
    const response = await fetch(target, { headers, redirect: 'error', signal: AbortSignal.timeout(PATIENCE_MS) });
    status = response.status;
    body = await response.json().catch(() => undefined);
  } catch (error) {
    throw unreachable(target, deepest(error), error);
  }
  const detail = typeof body === 'object' && body !== null && 'detail' in body ? `: ${body.detail}` : '';
  if (status >= 400 && status < 500 && detail !== '') {
    throw new CleanmissError('ADMIN_REFUSED', 'client', `${target} answered ${status}${detail}`);
  }
  if (status !== 200 || typeof body !== 'object' || body === null) {
    throw unreachable(target, `it answered ${status}${detail || ', and not as cleanmiss does'}`);
  }
  return body;
};
