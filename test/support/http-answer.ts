// What a client saw of one answer, to the byte, and how it ended.

import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { type BodyFraming, framingOf, type Head, readBody, readHead } from './http-message.ts';
import { SocketReader, WireError } from './socket-reader.ts';

/**
 * `clean`: the framing ended. `fin`, `reset`: the server ended the connection first (of a close-delimited body `fin` is the
 * only end there is). `aborted`, `timeout`: this client did. `malformed`: what came is no HTTP.
 */
export type Ending = 'clean' | 'fin' | 'reset' | 'refused' | 'aborted' | 'timeout' | 'malformed';

export interface Answer {
  /** 0 when no head came. */
  readonly status: number;
  /** By lower-case name; repeated ones joined with ", ". */
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly (readonly [name: string, value: string])[];
  /** Statuses of the 1xx heads that came before. */
  readonly interim: readonly number[];
  /** Empty when `keepBody` was false. */
  readonly body: Buffer;
  readonly bodyBytes: number;
  readonly bodySha256: string;
  readonly framing: BodyFraming['kind'];
  /** Content-Length met, last chunk seen, or an answer without a body. Never true of a close-delimited body. */
  readonly complete: boolean;
  /** What a client would take for complete: also a close-delimited body that ended with FIN. */
  readonly looksComplete: boolean;
  readonly ended: Ending;
  /** Request body bytes that were handed to the socket. */
  readonly sentBytes: number;
  readonly ms: number;
  /** From the start to the head, and to the first body byte; null when it did not come. */
  readonly headMs: number | null;
  readonly firstByteMs: number | null;
}

const statusOf = (head: Head): number => {
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(head.start)?.[1];
  if (status === undefined) throw new WireError('malformed', `status line ${head.start}`);
  return Number(status);
};

/** Reads one answer from a connection; `answer()` tells at any time what came so far. */
export class AnswerReader {
  ended: Ending | null = null;
  readonly #reader: SocketReader;
  readonly #startedAt = performance.now();
  readonly #keepBody: boolean;
  readonly #interim: number[] = [];
  readonly #pieces: Buffer[] = [];
  readonly #hash = createHash('sha256');
  #head: Head | null = null;
  #status = 0;
  #framing: BodyFraming['kind'] = 'none';
  #bodyBytes = 0;
  #headMs: number | null = null;
  #firstByteMs: number | null = null;

  constructor(reader: SocketReader, keepBody: boolean) {
    this.#reader = reader;
    this.#keepBody = keepBody;
  }

  /** Calls `onInterim` for each 1xx head, and returns the last one. */
  async readHead(onInterim: (status: number) => void): Promise<{ status: number; head: Head }> {
    while (true) {
      const head = await readHead(this.#reader);
      if (!head) throw new WireError('cut', 'no head');
      const status = statusOf(head);
      if (status >= 200 || status === 101) {
        this.#status = status;
        this.#head = head;
        this.#headMs = this.#ms();
        return { status, head };
      }
      this.#interim.push(status);
      onInterim(status);
    }
  }

  /** The body's pieces, counted and hashed on their way. */
  async *readBody(method: string): AsyncGenerator<Buffer, void, void> {
    if (!this.#head) throw new WireError('cut', 'no head');
    const isBodiless = method === 'HEAD' || this.#status === 204 || this.#status === 304;
    const framing: BodyFraming = isBodiless ? { kind: 'none' } : framingOf(this.#head, 'close');
    this.#framing = framing.kind;
    for await (const piece of readBody(this.#reader, framing)) {
      this.#firstByteMs ??= this.#ms();
      this.#bodyBytes += piece.length;
      this.#hash.update(piece);
      if (this.#keepBody) this.#pieces.push(piece);
      yield piece;
    }
    this.ended ??= framing.kind === 'close' ? (this.#reader.ended ?? 'fin') : 'clean';
  }

  get bodyBytes(): number {
    return this.#bodyBytes;
  }

  answer(sentBytes: number): Answer {
    const ended = this.ended ?? 'reset';
    return {
      status: this.#status,
      headers: this.#head?.headers ?? {},
      rawHeaders: this.#head?.rawHeaders ?? [],
      interim: this.#interim,
      body: Buffer.concat(this.#pieces),
      bodyBytes: this.#bodyBytes,
      bodySha256: this.#hash.copy().digest('hex'),
      framing: this.#framing,
      complete: ended === 'clean',
      looksComplete: ended === 'clean' || (this.#framing === 'close' && ended === 'fin'),
      ended,
      sentBytes,
      ms: this.#ms(),
      headMs: this.#headMs,
      firstByteMs: this.#firstByteMs,
    };
  }

  #ms(): number {
    return performance.now() - this.#startedAt;
  }
}

/** Splits the bytes of a connection into its answers; what is no whole answer at the end is left out. */
export const parseAnswers = async (bytes: Buffer, methods: readonly string[] = []): Promise<Answer[]> => {
  const reader = new SocketReader(Readable.from([bytes]));
  const answers: Answer[] = [];
  try {
    while (true) {
      const answer = new AnswerReader(reader, true);
      await answer.readHead(() => {});
      for await (const _ of answer.readBody(methods[answers.length] ?? 'GET'));
      answers.push(answer.answer(0));
    }
  } catch (error) {
    if (error instanceof WireError) return answers;
    throw error;
  }
};
