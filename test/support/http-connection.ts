// One client connection: it sends what it is told, well formed or not, and reads answers with every stall and abort wanted.

import { connect, type Socket } from 'node:net';
import { type Answer, AnswerReader, type Ending } from './http-answer.ts';
import { SocketReader, WireError } from './socket-reader.ts';

export interface RequestOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** Something iterable is sent chunked, unless a Content-Length is among `headers`. */
  readonly body?: string | Buffer | AsyncIterable<Buffer> | Iterable<Buffer>;
  readonly version?: '1.0' | '1.1';
  /** Sent as it is (latin1) in place of the URL's path and query. */
  readonly rawTarget?: string;
  /** Holds the body back until `100 Continue`, and for good when another status comes. */
  readonly expectContinue?: boolean;
  /** Reads nothing until the whole body went out, as a plain client does. Otherwise an answer stops the sending. */
  readonly sendsAllFirst?: boolean;
  /** False for bodies too large to hold: `bodyBytes` and `bodySha256` tell of them. */
  readonly keepBody?: boolean;
  /** Destroys the connection after that many body bytes. */
  readonly abortAfterBytes?: number;
  /** Stops reading after that many body bytes, until the promise resolves. */
  readonly stall?: { readonly afterBytes: number; readonly until: Promise<unknown> };
  /** Gives up after this long altogether. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly onHead?: (status: number, headers: Readonly<Record<string, string>>) => void;
  readonly onBytes?: (piece: Buffer, bytesSoFar: number) => void;
}

const hasHeader = ({ headers = {} }: RequestOptions, name: string): boolean =>
  Object.keys(headers).some((given) => given.toLowerCase() === name);

const isInMemory = (body: RequestOptions['body']): body is string | Buffer =>
  typeof body === 'string' || Buffer.isBuffer(body);

const isChunked = (options: RequestOptions): boolean =>
  options.body !== undefined && !isInMemory(options.body) && !hasHeader(options, 'content-length');

const requestHead = (url: URL, options: RequestOptions): Buffer => {
  const { method = 'GET', version = '1.1', body, headers = {} } = options;
  const target = options.rawTarget ?? `${url.pathname}${url.search}`;
  const lines = [`${method} ${target} HTTP/${version}`];
  const add = (name: string, value: string | number) => {
    if (!hasHeader(options, name.toLowerCase())) lines.push(`${name}: ${value}`);
  };
  add('Host', url.host);
  if (options.expectContinue) add('Expect', '100-continue');
  if (isInMemory(body)) add('Content-Length', Buffer.byteLength(body));
  if (isChunked(options)) add('Transfer-Encoding', 'chunked');
  for (const [name, values] of Object.entries(headers)) {
    for (const value of [values].flat()) lines.push(`${name}: ${value}`);
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
};

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;

/** One connection, kept alive as long as the server does. Whoever opens it closes it. */
export class HttpConnection {
  readonly socket: Socket;
  readonly reader: SocketReader;
  readonly #url: URL;
  readonly #closed: Promise<void>;

  constructor(url: string | URL) {
    this.#url = new URL(url);
    const host = this.#url.hostname.replace(/^\[|\]$/g, '');
    this.socket = connect({ port: Number(this.#url.port) || 80, host, noDelay: true });
    this.reader = new SocketReader(this.socket);
    this.#closed = new Promise((resolve) => {
      this.socket.once('close', () => resolve());
    });
  }

  /** Rejects when the connection is refused. */
  async opened(): Promise<void> {
    if (!this.socket.connecting) return;
    await new Promise<void>((resolve, reject) => {
      this.socket.once('connect', resolve).once('error', reject);
    });
  }

  /** Resolves when there is room for more, or nobody to send to. */
  async write(bytes: Buffer | string): Promise<void> {
    if (!this.socket.writable || this.socket.write(bytes)) return;
    let onDrain = () => {};
    const drained = new Promise<void>((resolve) => {
      onDrain = resolve;
      this.socket.once('drain', onDrain);
    });
    await Promise.race([drained, this.#closed]);
    this.socket.off('drain', onDrain);
  }

  /** Sends one request (to this path of the same server, if given) and reads its answer. What goes wrong is in `ended`. */
  async request(options: RequestOptions = {}, path?: string): Promise<Answer> {
    const url = path === undefined ? this.#url : new URL(path, this.#url);
    const answer = new AnswerReader(this.reader, options.keepBody ?? true);
    const upload = new Upload(this, options);
    const stop = (why: Ending) => {
      answer.ended ??= why;
      this.close();
    };
    const limit = setTimeout(() => stop('timeout'), options.timeoutMs ?? 20_000);
    const abort = () => stop('aborted');
    options.signal?.addEventListener('abort', abort, { once: true });
    if (options.signal?.aborted) abort();
    try {
      await this.opened();
      await this.write(requestHead(url, options));
      if (!options.expectContinue) upload.start();
      if (options.sendsAllFirst) await this.#sendFirst(upload);
      await this.#readAnswer(answer, upload, options);
    } catch (error) {
      if (isCode(error, 'ECONNREFUSED')) answer.ended ??= 'refused';
      else if (error instanceof WireError && error.fault === 'malformed') answer.ended ??= 'malformed';
      else if (this.reader.ended) answer.ended ??= this.reader.ended;
      else throw error;
    } finally {
      clearTimeout(limit);
      options.signal?.removeEventListener('abort', abort);
      if (!upload.isDone) this.close();
      await upload.stopped();
    }
    return answer.answer(upload.sentBytes);
  }

  close(): void {
    this.socket.destroy();
  }

  async #sendFirst(upload: Upload): Promise<void> {
    this.reader.hold(true);
    await upload.stopped();
    this.reader.hold(false);
  }

  async #readAnswer(answer: AnswerReader, upload: Upload, options: RequestOptions): Promise<void> {
    const { method = 'GET', abortAfterBytes, onBytes, onHead } = options;
    const { status, head } = await answer.readHead(() => upload.start());
    onHead?.(status, head.headers);
    let { stall } = options;
    for await (const piece of answer.readBody(method)) {
      onBytes?.(piece, answer.bodyBytes);
      if (abortAfterBytes !== undefined && answer.bodyBytes >= abortAfterBytes) {
        answer.ended = 'aborted';
        return this.close();
      }
      if (stall && answer.bodyBytes >= stall.afterBytes) {
        this.reader.hold(true);
        await Promise.race([stall.until, this.#closed]);
        this.reader.hold(false);
        stall = undefined;
      }
    }
  }
}

/** The body of one request on its way out. */
class Upload {
  sentBytes = 0;
  isDone: boolean;
  readonly #connection: HttpConnection;
  readonly #options: RequestOptions;
  #running: Promise<void> | null = null;

  constructor(connection: HttpConnection, options: RequestOptions) {
    this.#connection = connection;
    this.#options = options;
    this.isDone = options.body === undefined;
  }

  start(): void {
    if (!this.isDone) this.#running ??= this.#send();
  }

  async stopped(): Promise<void> {
    await this.#running;
  }

  async #send(): Promise<void> {
    const { body = '' } = this.#options;
    const connection = this.#connection;
    const chunked = isChunked(this.#options);
    for await (const piece of isInMemory(body) ? slices(Buffer.from(body)) : body) {
      if (!connection.socket.writable) return;
      if (chunked) await connection.write(`${piece.length.toString(16)}\r\n`);
      await connection.write(piece);
      if (chunked) await connection.write('\r\n');
      this.sentBytes += piece.length;
    }
    if (chunked) await connection.write('0\r\n\r\n');
    this.isDone = true;
  }
}

function* slices(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}
