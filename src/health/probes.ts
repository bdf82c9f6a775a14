// One round of looks at the store, and the rare proof that a write lands.

import { randomBytes } from 'node:crypto';
import {
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import type { Clock } from '../core/clock.ts';
import { type Answer, isPassing, type Outcome, said } from './answer.ts';
import { CANARY_BYTES, canaryKey, proofKey, storeNamedBy } from './canary-bytes.ts';
import type { BucketAnswers, Round } from './round.ts';
import type { Ask, Line, S3Store } from './s3-store.ts';

/** All of a round's looks are over then. */
const ROUND_MS = 3_500;
/** Leaves a second look its time: it is the more useful the less the first one knew. */
const FIRST_LOOK_MS = 2_000;
/** A PUT is asked once: it may hang in the server, and must not meet a second one there. */
const PROOF_MS = 5_000;
const PROOF_BYTES = 1024;

/** As many as are longer than any canary or proof tell that it is none. */
const MAX_READ_BYTES = 4 * CANARY_BYTES;

export interface ProbeOptions {
  readonly clock: Clock;
  readonly store: S3Store;
  /** Those that share the store's fate, ours or not. */
  readonly buckets: readonly string[];
  readonly canaryPrefix: string;
}

const well: Outcome = { kind: 'well' };

/** The bytes of an object. Throws what the connection throws where it is cut. */
const read = async (line: Line, bucket: string, key: string): Promise<Buffer> => {
  const { Body } = await line.client.send(new GetObjectCommand({ Bucket: bucket, Key: key }), line.options);
  const pieces: Buffer[] = [];
  let bytes = 0;
  // The SDK types its body for browsers as well; in Node it is a stream, and a stream it must be.
  for await (const piece of Body as unknown as AsyncIterable<Buffer>) {
    bytes += piece.length;
    pieces.push(piece);
    if (bytes > MAX_READ_BYTES) break;
  }
  return Buffer.concat(pieces);
};

/** One canary's bytes, at any time: for the round, and for `canary init`. */
export const askForCanary = (bucket: string, key: string, limitMs: number): Ask => ({
  operation: 'get-canary',
  bucket,
  limitMs,
  async run(line) {
    const storeId = storeNamedBy(await read(line, bucket, key), bucket);
    return storeId === null ? { kind: 'wrong-bytes' } : { kind: 'canary', storeId };
  },
});

export const askToPut = (operation: 'put-proof', bucket: string, key: string, bytes: Buffer, limitMs: number): Ask => ({
  operation,
  bucket,
  limitMs,
  async run({ client, options }) {
    const put = { Bucket: bucket, Key: key, Body: bytes, ContentType: 'application/octet-stream' };
    await client.send(new PutObjectCommand(put), options);
    return well;
  },
});

const list: Omit<Ask, 'limitMs'> = {
  operation: 'list-buckets',
  bucket: null,
  async run({ client, options }) {
    // No page size, no prefix: RustFS and MinIO answer all at once, and the fewer words the fewer odd answers.
    const { Buckets, ContinuationToken } = await client.send(new ListBucketsCommand({}), options);
    // An empty body and a page of HTML end here, without an error.
    if (Buckets === undefined) return { kind: 'unreadable' };
    const buckets = Buckets.flatMap(({ Name }) => Name ?? []);
    return { kind: 'listed', buckets, isWhole: ContinuationToken === undefined };
  },
};

const headBucket = (bucket: string): Omit<Ask, 'limitMs'> => ({
  operation: 'head-bucket',
  bucket,
  async run({ client, options }) {
    await client.send(new HeadBucketCommand({ Bucket: bucket }), options);
    return well;
  },
});

const headCanary = (bucket: string, key: string): Omit<Ask, 'limitMs'> => ({
  operation: 'head-canary',
  bucket,
  async run({ client, options }) {
    await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }), options);
    return well;
  },
});

export class Probes {
  readonly #options: ProbeOptions;

  constructor(options: ProbeOptions) {
    this.#options = options;
  }

  /** Never rejects; over after 3.5 s. Only reads. */
  async look(): Promise<Pick<Round, 'list' | 'buckets'>> {
    const endsAt = this.#options.clock.monotonic() + ROUND_MS;
    const [listed, ...buckets] = await Promise.all([
      this.#askTwice(list, endsAt),
      ...this.#options.buckets.map((bucket) => this.#lookAt(bucket, endsAt)),
    ]);
    return { list: listed, buckets };
  }

  /**
   * One bucket after the other, and none after the first that failed: two small writes that hang at once are what
   * RustFS loses its index by (facts: rustfs-ran.md, 0.3).
   */
  async proveWrite(): Promise<readonly Answer[]> {
    const { clock, store, buckets, canaryPrefix } = this.#options;
    const key = proofKey(canaryPrefix);
    const answers: Answer[] = [];
    for (const bucket of buckets) {
      const bytes = randomBytes(PROOF_BYTES);
      const put = await store.ask(askToPut('put-proof', bucket, key, bytes, PROOF_MS));
      answers.push(put);
      if (said(put) !== 'OK') return answers;
      const get: Omit<Ask, 'limitMs'> = {
        operation: 'get-proof',
        bucket,
        run: async (line) => ((await read(line, bucket, key)).equals(bytes) ? well : { kind: 'wrong-bytes' }),
      };
      const got = await this.#askTwice(get, clock.monotonic() + ROUND_MS);
      answers.push(got);
      if (said(got) !== 'OK') return answers;
    }
    return answers;
  }

  async #lookAt(bucket: string, endsAt: number): Promise<BucketAnswers> {
    const key = canaryKey(this.#options.canaryPrefix);
    const [head, headed, got] = await Promise.all([
      this.#askTwice(headBucket(bucket), endsAt),
      this.#askTwice(headCanary(bucket, key), endsAt),
      this.#askTwice(askForCanary(bucket, key, 0), endsAt),
    ]);
    return { bucket, head, headCanary: headed, getCanary: got };
  }

  /**
   * What may be over in the next moment is asked once more within the round: a connection that the server closed while
   * it idled, a worker that was busy. So one lost answer in a hundred makes no bad round (bench/health-false-reds.ts).
   */
  async #askTwice(ask: Omit<Ask, 'limitMs'>, endsAt: number): Promise<Answer> {
    const { store, clock } = this.#options;
    const first = await store.ask({ ...ask, limitMs: FIRST_LOOK_MS });
    const leftMs = endsAt - clock.monotonic();
    return isPassing(first) && leftMs > 0 ? store.ask({ ...ask, limitMs: leftMs }) : first;
  }
}
