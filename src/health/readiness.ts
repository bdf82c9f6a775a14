// Asks the server how it finds itself, without a key: RustFS's readiness, else MinIO's.

import { Agent, request } from 'undici';
import { type Clock, pause } from '../core/clock.ts';
import { codeOf } from '../core/errors.ts';
import type { Answer, Outcome } from './answer.ts';
import type { Readiness } from './round.ts';

const LIMIT_MS = 2_000;
const MAX_BODY_BYTES = 64 * 1024;

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

type Word = Pick<Readiness, 'word' | 'version'>;

const nothing: Word = { word: 'unknown', version: null };

const asObject = (body: string): object | null => {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' ? value : null;
  } catch {
    return null; // A page, or nothing: not the server that we know.
  }
};

/** The body says it, and not the status alone: anything may stand at this path of a server that is not RustFS. */
export const rustfsSays = ({ body }: Reply): Word => {
  const json = asObject(body);
  if (json === null || !('ready' in json) || typeof json.ready !== 'boolean') return nothing;
  const version = 'version' in json && typeof json.version === 'string' ? json.version.slice(0, 64) : null;
  return { word: json.ready ? 'ready' : 'not-ready', version };
};

/** It has no body; the status counts where MinIO's own headers stand beside it. */
export const minioSays = ({ status, headers }: Reply): Word => {
  const isMinio = headers['server'] === 'MinIO' || headers['x-minio-write-quorum'] !== undefined;
  if (!isMinio || (status !== 200 && status !== 503)) return nothing;
  return { word: status === 200 ? 'ready' : 'not-ready', version: null };
};

const dialects: readonly { readonly path: string; readonly says: (reply: Reply) => Word }[] = [
  { path: '/health/ready', says: rustfsSays },
  { path: '/minio/health/cluster', says: minioSays },
];

const read = async (body: AsyncIterable<Buffer>): Promise<string> => {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of body) {
    bytes += piece.length;
    if (bytes > MAX_BODY_BYTES) return '';
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
};

export class ReadinessProbe {
  readonly #clock: Clock;
  readonly #origin: string;
  readonly #agent = new Agent({ connections: 1, connect: { timeout: 1_000 } });
  /** The one that this server spoke last is asked first. */
  #spoken = 0;

  /** Whoever makes one closes it. */
  constructor(clock: Clock, endpoint: string) {
    this.#clock = clock;
    this.#origin = new URL(endpoint).origin;
  }

  /** Never rejects; at most 2 s a dialect. */
  async look(): Promise<Readiness> {
    let last: Readiness = { ...nothing, answer: null };
    for (let turn = 0; turn < dialects.length; turn++) {
      const index = (this.#spoken + turn) % dialects.length;
      const dialect = dialects[index];
      if (dialect === undefined) continue;
      const { answer, reply } = await this.#ask(dialect.path);
      // A server that does not answer speaks no other dialect either.
      if (reply === null) return { ...nothing, answer };
      last = { ...dialect.says(reply), answer };
      if (last.word === 'unknown') continue;
      this.#spoken = index;
      return last;
    }
    return last;
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #ask(path: string): Promise<{ answer: Answer; reply: Reply | null }> {
    const at = this.#clock.now();
    const startedAt = this.#clock.monotonic();
    const over = new AbortController();
    const answered = new AbortController();
    const base = { operation: 'readiness', bucket: null, at, asksToRetryLater: false } as const;
    const none = { ...base, status: null, requestId: null, contentType: null };
    const asked = async (): Promise<{ answer: Omit<Answer, 'ms'>; reply: Reply | null }> => {
      try {
        const response = await request(this.#origin + path, { dispatcher: this.#agent, signal: over.signal });
        const reply = {
          status: response.statusCode,
          headers: response.headers,
          body: await read(response.body),
        };
        const requestId = response.headers['x-request-id'];
        const contentType = response.headers['content-type'];
        const outcome: Outcome = { kind: response.statusCode < 300 ? 'well' : 'refused' };
        const answer = {
          ...base,
          status: reply.status,
          code: null,
          requestId: typeof requestId === 'string' ? requestId : null,
          contentType: typeof contentType === 'string' ? contentType : null,
          outcome,
        };
        return { answer, reply };
      } catch (error) {
        return { answer: { ...none, code: codeOf(error), outcome: { kind: 'failed' } }, reply: null };
      }
    };
    const late = pause(this.#clock, LIMIT_MS, answered.signal).then(() => {
      over.abort();
      return { answer: { ...none, code: null, outcome: { kind: 'late' } as Outcome }, reply: null };
    });
    const { answer, reply } = await Promise.race([asked(), late]);
    answered.abort();
    return { answer: { ...answer, ms: this.#clock.monotonic() - startedAt }, reply };
  }
}
