// Our own S3 client for looking at the store: a deadline each, no retries of its own, and the raw head of every answer.

import { AsyncLocalStorage } from 'node:async_hooks';
import { readFile } from 'node:fs/promises';
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { type Clock, pause } from '../core/clock.ts';
import { CleanmissError, isCode } from '../core/errors.ts';
import type { Answer, Operation, Outcome } from './answer.ts';

export interface S3Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface S3StoreOptions {
  readonly clock: Clock;
  /** `http://host:port`. */
  readonly endpoint: string;
  readonly region: string;
  readonly pathStyle: boolean;
  /** `file`: as AWS writes them, its `default` profile. null: as the SDK finds them in the environment. */
  readonly credentials: S3Keys | { readonly file: string } | null;
  /** Ours, for the server's log. */
  readonly version: string;
}

/** How long a key read from a file is used before the file is read again: keys are rotated under us. */
const KEYS_FRESH_MS = 300_000;
const CONNECT_MS = 1_000;
/** The SDK's own limits lie beyond the deadline of every request: they are the net below it. */
const SDK_LIMIT_MS = 6_000;

const profile = (text: string, name: string): ReadonlyMap<string, string> => {
  const values = new Map<string, string>();
  let section = name; // Lines above any heading count, too.
  for (const line of text.split(/\r?\n/)) {
    const heading = /^\s*\[\s*(?:profile\s+)?([^\]]+?)\s*\]/.exec(line);
    if (heading?.[1] !== undefined) section = heading[1];
    const [, key, value] = /^\s*(aws_\w+)\s*=\s*(\S+)\s*$/.exec(line) ?? [];
    if (section === name && key !== undefined && value !== undefined) values.set(key.toLowerCase(), value);
  }
  return values;
};

/** Throws code CREDENTIALS; the message names the file and no key. */
export const keysFrom = async (file: string): Promise<S3Keys> => {
  const values = profile(await readFile(file, 'utf8'), 'default');
  const accessKeyId = values.get('aws_access_key_id');
  const secretAccessKey = values.get('aws_secret_access_key');
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new CleanmissError('CREDENTIALS', 'self', `${file}: no aws_access_key_id and aws_secret_access_key`);
  }
  const sessionToken = values.get('aws_session_token');
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
};

const keysOf = ({ credentials, clock }: S3StoreOptions): Pick<S3ClientConfig, 'credentials'> => {
  if (credentials === null) return {};
  if (!('file' in credentials)) return { credentials };
  return {
    credentials: async () => ({
      ...(await keysFrom(credentials.file)),
      expiration: new Date(clock.now() + KEYS_FRESH_MS),
    }),
  };
};

interface Head {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Where the one middleware leaves what it saw for the request that runs in it. */
interface Slot {
  head: Head | null;
}

/** What one request needs, whatever the SDK made of the answer. */
export interface Ask {
  readonly operation: Operation;
  readonly bucket: string | null;
  readonly limitMs: number;
  /** Sends one command, and says what its good answer holds. Reading the body is within the limit. */
  run(line: Line): Promise<Outcome>;
}

export interface Line {
  readonly client: S3Client;
  readonly options: { readonly abortSignal: AbortSignal };
}

const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);

/** RustFS sends `x-request-id` and nothing else. */
const requestIdOf = (head: Head | null): string | null =>
  head === null ? null : (text(head.headers['x-amz-request-id']) ?? text(head.headers['x-request-id']));

const codeOf = (error: unknown, head: Head | null): string | null => {
  if (!(error instanceof Error)) return null;
  const s3Code = 'Code' in error ? text(error.Code) : null;
  const systemCode = 'code' in error ? text(error.code) : null;
  return s3Code ?? text(head?.headers['x-minio-error-code']) ?? systemCode;
};

const outcomeOf = (error: unknown, { operation }: Ask, head: Head | null, isLate: boolean): Outcome => {
  if (isLate) return { kind: 'late' };
  if (!(error instanceof Error)) return { kind: 'failed' };
  const hasNoKey = error.name === 'CredentialsProviderError' || isCode(error, 'CREDENTIALS');
  if (head === null) return { kind: hasNoKey ? 'no-key' : 'failed' };
  if ('$fault' in error) return { kind: 'refused' };
  // Of a GET the SDK reads nothing but the head: what failed after a good one is the body.
  return { kind: operation.startsWith('get-') && head.status < 300 ? 'wrong-bytes' : 'unreadable' };
};

export class S3Store {
  readonly #options: S3StoreOptions;
  readonly #client: S3Client;
  readonly #slots = new AsyncLocalStorage<Slot>();
  readonly #closing = new AbortController();

  constructor(options: S3StoreOptions) {
    this.#options = options;
    this.#client = new S3Client({
      endpoint: options.endpoint,
      region: options.region,
      forcePathStyle: options.pathStyle,
      ...keysOf(options),
      maxAttempts: 1,
      // The default adds trailers and headers that stores other than AWS's were seen to refuse (aws-sdk-js-v3 #6810).
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      expectContinueHeader: false,
      followRegionRedirects: false,
      customUserAgent: [['cleanmiss-health', options.version]],
      requestHandler: {
        connectionTimeout: CONNECT_MS,
        requestTimeout: SDK_LIMIT_MS,
        throwOnRequestTimeout: true,
        socketTimeout: SDK_LIMIT_MS,
        // Apart from all other traffic, whose crowding must not read as ill health.
        // A request that waits for a socket counts as not connected: enough of them for 21 buckets at once.
        httpAgent: { keepAlive: true, maxSockets: 64 },
        httpsAgent: { keepAlive: true, maxSockets: 64 },
      },
    });
    this.#client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        const slot = this.#slots.getStore();
        // The handler's own response, before the SDK reads it: no type says so, test/fault/health-rustfs.test.ts does.
        const { statusCode, headers } = result.response as { statusCode: number; headers: Record<string, string> };
        if (slot !== undefined) slot.head = { status: statusCode, headers };
        return result;
      },
      { step: 'deserialize', priority: 'low', name: 'cleanmissHead' },
    );
  }

  /** Never rejects, and never lasts beyond its limit, whatever the SDK does. */
  async ask(ask: Ask): Promise<Answer> {
    const { operation, bucket, limitMs, run } = ask;
    const { clock } = this.#options;
    const at = clock.now();
    const startedAt = clock.monotonic();
    const over = new AbortController();
    const answered = new AbortController();
    const slot: Slot = { head: null };
    const line: Line = { client: this.#client, options: { abortSignal: over.signal } };
    const working = this.#slots
      .run(slot, () => run(line))
      .then(
        (outcome) => ({ outcome, code: null as string | null }),
        (error: unknown) => ({
          outcome: outcomeOf(error, ask, slot.head, over.signal.aborted),
          code: over.signal.aborted ? null : codeOf(error, slot.head),
        }),
      );
    const late = pause(clock, limitMs, AbortSignal.any([answered.signal, this.#closing.signal])).then(() => {
      over.abort();
      return { outcome: { kind: 'late' } as Outcome, code: null };
    });
    const { outcome, code } = await Promise.race([working, late]);
    answered.abort();
    const { head } = slot;
    return {
      operation,
      bucket,
      at,
      ms: clock.monotonic() - startedAt,
      status: head?.status ?? null,
      code,
      requestId: requestIdOf(head),
      contentType: text(head?.headers['content-type']),
      asksToRetryLater: head?.headers['retry-after'] !== undefined,
      outcome,
    };
  }

  /** What is under way ends as late. */
  close(): void {
    this.#closing.abort();
    this.#client.destroy();
  }
}
