// The heart over a real store, a clock of the test's own, and upstreams that are a list of transfers.

import { Breaker } from '../../src/core/breaker.ts';
import type { Claim, Encoding } from '../../src/core/claim.ts';
import type { Digest, NamedDigest } from '../../src/core/digest.ts';
import { RetryBudget } from '../../src/core/retry-budget.ts';
import { type Failure, unavailable } from '../../src/core/verdict.ts';
import { Admission } from '../../src/proof/admission.ts';
import type { Fetch, FetchedBody, FetchRequest } from '../../src/proof/fetch.ts';
import type { Verdict } from '../../src/proof/fill.ts';
import { type Asker, type Obtained, Obtainer, type ObtainPorts } from '../../src/proof/obtain.ts';
import { Suspects } from '../../src/proof/suspects.ts';
import { MIB, type ProvenForm } from '../../src/store/form.ts';
import { FormStore, type FormStoreOptions } from '../../src/store/forms.ts';
import { Ledger } from '../../src/store/ledger.ts';
import { RecordStore } from '../../src/store/records.ts';
import type { BodyKind } from './encodings.ts';
import { encodeBody } from './encodings.ts';
import { FakeClock } from './fake-clock.ts';
import { digestOf } from './nar.ts';
import { seededBytes } from './seeded.ts';
import { CollectedLog, FakeFiles } from './store-rig.ts';

/** One transfer: what the upstream does with one request. */
export type Step = (request: FetchRequest) => FetchedBody | Failure | Promise<FetchedBody | Failure>;

/** How a body ends before its end, or where it waits. Offsets are the whole body's. */
export interface Course {
  /** Breaks off, as a reset connection does. */
  readonly cutAt?: number;
  /** Ends well there, by its framing. */
  readonly endAt?: number;
  /** Says no more there, until it is aborted; `deaf` not even then. */
  readonly silentAt?: number;
  readonly isDeaf?: boolean;
  /** Waits there for the promise. */
  readonly hold?: { readonly at: number; readonly until: Promise<unknown> };
  readonly pieceBytes?: number;
  /** Its ETag: a range is answered where the request names it. */
  readonly validator?: string;
}

const never = (signal: AbortSignal, isDeaf: boolean): Promise<never> =>
  new Promise((_resolve, reject) => {
    if (isDeaf) return;
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

async function* pieces(bytes: Buffer, from: number, course: Course, signal: AbortSignal): AsyncGenerator<Buffer> {
  const { cutAt, endAt, silentAt, hold, isDeaf = false, pieceBytes = 16 * 1024 } = course;
  const last = Math.min(bytes.length, cutAt ?? bytes.length, endAt ?? bytes.length, silentAt ?? bytes.length);
  for (let at = from; at < last; ) {
    if (hold !== undefined && at === hold.at) await Promise.race([hold.until, never(signal, isDeaf)]);
    const stops = [last, at + pieceBytes, ...(hold !== undefined && hold.at > at ? [hold.at] : [])];
    const end = Math.min(...stops);
    yield bytes.subarray(at, end);
    at = end;
  }
  if (hold !== undefined && hold.at >= last) await Promise.race([hold.until, never(signal, isDeaf)]);
  if (silentAt !== undefined) await never(signal, isDeaf);
  if (cutAt !== undefined) throw new Error('ECONNRESET');
}

/** Sends `bytes`, from where the request asks if it names the validator. */
export const sends =
  (bytes: Buffer, course: Course = {}): Step =>
  ({ fromByte, validator, signal }) => {
    const start = validator !== null && validator === course.validator ? fromByte : 0;
    const body = pieces(bytes, start, course, signal);
    return { kind: 'body', fromByte: start, validator: course.validator ?? null, bytes: body };
  };

export const fails =
  (failure: Failure): Step =>
  () =>
    failure;

export const isUnavailable = (reason: Parameters<typeof unavailable>[0]): Step => fails(unavailable(reason));

/** The connection ends before a head. */
export const closes = (): Step => () => Promise.reject(new Error('other side closed'));

export class ScriptedFetch {
  readonly requests: FetchRequest[] = [];
  /** One a transfer; the last for all that follow. */
  steps: readonly Step[];
  open = 0;
  mostOpen = 0;
  /** Bodies that were sent to their end, by their own framing. */
  complete = 0;

  constructor(...steps: readonly Step[]) {
    this.steps = steps;
  }

  readonly fetch: Fetch = async (request) => {
    const step = this.steps[Math.min(this.requests.length, this.steps.length - 1)];
    this.requests.push(request);
    if (step === undefined) throw new Error('nothing is scripted');
    const answer = await step(request);
    return answer.kind === 'body' ? { ...answer, bytes: this.#counted(answer) } : answer;
  };

  /** From where each transfer was asked. */
  get starts(): number[] {
    return this.requests.map(({ fromByte }) => fromByte);
  }

  async *#counted({ bytes }: FetchedBody): AsyncGenerator<Buffer, void, void> {
    this.open += 1;
    this.mostOpen = Math.max(this.mostOpen, this.open);
    try {
      yield* bytes;
      this.complete += 1;
    } finally {
      this.open -= 1;
    }
  }
}

export interface TestBody {
  readonly decoded: Buffer;
  readonly encoded: Buffer;
  readonly digest: Digest;
  readonly encoding: Encoding;
}

export const makeBody = async (
  seed: string | number,
  sizeBytes: number,
  kind: BodyKind = 'none',
): Promise<TestBody> => {
  const decoded = seededBytes(seed, sizeBytes);
  const { bytes, compression } = await encodeBody(decoded, kind, { seed });
  return {
    decoded,
    encoded: bytes,
    digest: digestOf(decoded),
    encoding: compression === 'none' ? 'identity' : compression,
  };
};

export const claimOf = (
  { digest, encoding }: { readonly digest: NamedDigest; readonly encoding: Encoding },
  { tenant = 'lab', path = 'a' }: { readonly tenant?: string; readonly path?: string } = {},
): Claim => ({ digest, encoding, place: { tenant, path } });

export const flipped = (bytes: Buffer, at: number): Buffer => {
  const other = Buffer.from(bytes);
  other.writeUInt8(other.readUInt8(at) ^ 1, at);
  return other;
};

/** Lets promises and I/O go on. */
export const turns = async (count = 4): Promise<void> => {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

/**
 * Waits for the promise, and runs the clock's timers that are due within `atMostMs`: by default the pauses between two
 * transfers, but no limit of one.
 */
export const passing = async <T>(clock: FakeClock, promise: Promise<T>, atMostMs = 2_000): Promise<T> => {
  let isSettled = false;
  const settled = () => {
    isSettled = true;
  };
  promise.then(settled, settled);
  while (!isSettled) {
    await turns();
    const { nextInMs } = clock;
    if (!isSettled && nextInMs !== null && nextInMs <= atMostMs) await clock.advance(nextInMs);
  }
  return await promise;
};

/** Waits until it is true. */
export const until = async (isTrue: () => boolean, limitMs = 5_000): Promise<void> => {
  const start = performance.now();
  while (!isTrue()) {
    if (performance.now() - start > limitMs) throw new Error(`never true: ${isTrue}`);
    await turns(1);
  }
};

interface Test {
  testdir(): string;
  teardown(action: () => Promise<void>): unknown;
}

export interface HeartOptions {
  readonly store?: Partial<FormStoreOptions>;
  readonly max?: number;
  readonly perClient?: number;
  readonly maxDetached?: number;
  readonly ports?: Partial<ObtainPorts>;
}

export interface Heart {
  readonly obtainer: Obtainer;
  readonly forms: FormStore;
  readonly ledger: Ledger;
  readonly suspects: Suspects;
  readonly admission: Admission;
  readonly breaker: Breaker;
  readonly clock: FakeClock;
  readonly files: FakeFiles;
  readonly dir: string;
  readonly verdicts: Verdict[];
  /** Transfers that were counted. */
  transfers(): number;
  asker(fetch: Fetch, options?: Partial<Asker> & { readonly withinMs?: number }): Asker;
  /** Obtains it as a patient client would, and runs the pauses on the way. */
  obtain(claim: Claim, fetch: Fetch, options?: Partial<Asker>): Promise<Obtained>;
  close(): Promise<void>;
}

const FIRST_BYTE_MS = 15_000;
export const IDLE_MS = 10_000;

export const openHeart = async (t: Test, options: HeartOptions = {}): Promise<Heart> => {
  const opened: Array<() => Promise<void>> = [];
  const close = async () => {
    for (const action of opened.splice(0).reverse()) await action();
  };
  // Before testdir(), as `openForms` has it.
  t.teardown(close);
  const dir = t.testdir();
  const clock = new FakeClock();
  const log = new CollectedLog();
  const files = new FakeFiles();
  const shared = { dir, clock, log, durable: false };
  const bounds = { maxBytes: 256 * MIB, memoryBytes: 16 * MIB, freeBytesFloor: 0 };
  const forms = await FormStore.open({ ...shared, ...bounds, files, ...options.store });
  opened.push(() => forms.close());
  const records = await RecordStore.open(shared);
  opened.push(() => records.close());

  const ledger = new Ledger(records, clock);
  const suspects = new Suspects(clock);
  const admission = new Admission({ max: options.max ?? 64, perClient: options.perClient ?? 16 });
  const breaker = new Breaker(clock, FIRST_BYTE_MS);
  const verdicts: Verdict[] = [];
  let transfers = 0;
  const ports: ObtainPorts = {
    clock,
    forms,
    ledger,
    suspects,
    admission,
    breaker,
    retries: new RetryBudget(clock),
    idleMs: IDLE_MS,
    extraFirstByteMs: () => 0,
    maxDetached: options.maxDetached ?? 8,
    mayRefute: () => true,
    onTransfer: () => {
      transfers += 1;
    },
    onVerdict: (_claim, verdict) => void verdicts.push(verdict),
    ...options.ports,
  };
  const obtainer = new Obtainer(ports);
  opened.push(() => obtainer.close());

  const asker: Heart['asker'] = (fetch, { withinMs = 50_000, ...others } = {}) => ({
    client: 'client',
    signal: new AbortController().signal,
    deadline: clock.monotonic() + withinMs,
    follow: 'never',
    fetch,
    ...others,
  });
  return {
    ...{ obtainer, forms, ledger, suspects, admission, breaker, clock, files, dir, verdicts, asker, close },
    transfers: () => transfers,
    obtain: (claim, fetch, others) => passing(clock, obtainer.obtain(claim, asker(fetch, others))),
  };
};

export const bytesOf = async (form: ProvenForm): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(form.read(0, form.fileBytes)));
