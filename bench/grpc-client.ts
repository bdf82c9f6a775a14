// A process that makes gRPC calls and tells how long they took: `node grpc-client.ts FILE`, which holds a `Job` as JSON.

import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';

/*
 * Bare HTTP/2: no message is decoded, so that what is measured is the server. A call is right when its status is 0 and it
 * brought as many bytes as it must. Windows are those of Bazel, 1 MiB a call.
 */
const WINDOW_BYTES = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 16 * WINDOW_BYTES;

export interface Call {
  /** `/google.bytestream.ByteStream/Read`. */
  readonly path: string;
  /** Of the one message of its request, in base64. */
  readonly message: string;
  /** A whole answer has no less. */
  readonly minBytes: number;
}

/** A blob of this size that nobody has, in one message. */
export interface NewBlob {
  readonly newBytes: number;
}

export type Job =
  /** Again and again, in turn. */
  | {
      readonly kind: 'load';
      readonly calls: readonly (Call | NewBlob)[];
      readonly inFlight: number;
      readonly seconds: number;
    }
  /** Each once, all at the same time, on connections of their own. */
  | { readonly kind: 'once'; readonly calls: readonly Call[] }
  /** Sent, and never read, until the process is killed. */
  | { readonly kind: 'stall'; readonly calls: readonly Call[]; readonly connections: number }
  /** One new blob. */
  | { readonly kind: 'write'; readonly sizeBytes: number };

export interface JobResult {
  readonly callsPerSecond: number;
  readonly p99Ms: number;
  readonly ms: number;
}

const open = async (address: string): Promise<ClientHttp2Session> => {
  const session = connect(`http://${address}`, { settings: { initialWindowSize: WINDOW_BYTES, enablePush: false } });
  await once(session, 'connect');
  session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
  return session;
};

const request = (session: ClientHttp2Session, path: string): ClientHttp2Stream =>
  session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });

const framed = (message: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

/** Resolves with the bytes of its messages. Rejects unless its status is 0. */
const answered = (stream: ClientHttp2Stream): Promise<number> =>
  new Promise((resolve, reject) => {
    let bytes = 0;
    let status: unknown;
    const note = (headers: Readonly<Record<string, unknown>>) => {
      status ??= headers['grpc-status'];
      if (status !== undefined && status !== '0')
        reject(new Error(`grpc-status ${status}: ${headers['grpc-message']}`));
    };
    stream.on('response', note).on('trailers', note).on('error', reject);
    stream.on('data', (piece: Buffer) => {
      bytes += piece.length;
    });
    stream.on('close', () => (status === '0' ? resolve(bytes) : reject(new Error('a call ended without a status'))));
  });

const perform = async (session: ClientHttp2Session, { path, minBytes }: Call, body: Buffer): Promise<void> => {
  const stream = request(session, path);
  stream.end(body);
  const bytes = await answered(stream);
  if (bytes < minBytes) throw new Error(`${path}: ${bytes} bytes, of at least ${minBytes}`);
};

const bodyOf = ({ message }: Call): Buffer => framed(Buffer.from(message, 'base64'));

const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];

/** WriteRequest { resource_name = 1, write_offset = 2, finish_write = 3, data = 10 }. */
const writeRequest = (name: string, offset: number, isLast: boolean, data: Buffer): Buffer =>
  framed(
    Buffer.concat([
      ...(offset === 0 ? [Buffer.from([0x0a, ...varint(name.length)]), Buffer.from(name)] : []),
      Buffer.from([...(offset === 0 ? [] : [0x10, ...varint(offset)]), ...(isLast ? [0x18, 1] : [])]),
      Buffer.from([0x52, ...varint(data.length)]),
      data,
    ]),
  );

const WRITE = '/google.bytestream.ByteStream/Write';
const TEXT = Buffer.from('every object file has a symbol table, a string table and some text; '.repeat(20_000));

/** Half text, half noise of its own. */
const newBlob = (sizeBytes: number): { readonly name: string; readonly bytes: Buffer } => {
  const bytes = Buffer.alloc(sizeBytes);
  const seed = createHash('shake256', { outputLength: Math.ceil(sizeBytes / 2) })
    .update(randomUUID())
    .digest();
  for (let at = 0, from = 0; at < sizeBytes; at += 4096, from += 2048) {
    seed.copy(bytes, at, from, from + 2048);
    TEXT.copy(bytes, at + 2048, at % 1_000_003, (at % 1_000_003) + 2048);
  }
  const hash = createHash('sha256').update(bytes).digest('hex');
  return { name: `uploads/${randomUUID()}/blobs/${hash}/${sizeBytes}`, bytes };
};

const load = async (address: string, { calls, inFlight, seconds }: Job & { kind: 'load' }): Promise<JobResult> => {
  const session = await open(address);
  const bodies = calls.map((call) => ('path' in call ? bodyOf(call) : Buffer.alloc(0)));
  const times: number[] = [];
  let next = 0;
  const startedAt = performance.now();
  const until = startedAt + seconds * 1000;
  const work = async () => {
    while (performance.now() < until) {
      const index = next++ % calls.length;
      const call = calls[index];
      let body = bodies[index];
      if (call === undefined || body === undefined) throw new Error('no calls');
      let made: Call = 'path' in call ? call : { path: WRITE, message: '', minBytes: 0 };
      if (!('path' in call)) {
        const { name, bytes } = newBlob(call.newBytes);
        body = writeRequest(name, 0, true, bytes);
        made = { ...made, minBytes: 1 };
      }
      const askedAt = performance.now();
      await perform(session, made, body);
      times.push(performance.now() - askedAt);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, work));
  const ms = performance.now() - startedAt;
  session.destroy();
  times.sort((a, b) => a - b);
  return { callsPerSecond: (times.length / ms) * 1000, p99Ms: times[Math.floor(times.length * 0.99)] ?? 0, ms };
};

const onceAll = async (address: string, { calls }: Job & { kind: 'once' }): Promise<JobResult> => {
  const sessions = await Promise.all(calls.map(() => open(address)));
  const startedAt = performance.now();
  await Promise.all(calls.map((call, index) => perform(sessions[index] as ClientHttp2Session, call, bodyOf(call))));
  const ms = performance.now() - startedAt;
  for (const session of sessions) session.destroy();
  return { callsPerSecond: (calls.length / ms) * 1000, p99Ms: ms, ms };
};

const stall = async (address: string, { calls, connections }: Job & { kind: 'stall' }): Promise<never> => {
  const sessions = await Promise.all(Array.from({ length: connections }, () => open(address)));
  for (const [index, call] of calls.entries()) {
    const stream = request(sessions[index % connections] as ClientHttp2Session, call.path);
    stream.on('error', () => process.exit(1));
    stream.end(bodyOf(call));
  }
  return await new Promise<never>(() => {});
};

const PIECE_BYTES = 256 * 1024;

const write = async (address: string, { sizeBytes }: Job & { kind: 'write' }): Promise<JobResult> => {
  const { name, bytes } = newBlob(sizeBytes);
  const session = await open(address);
  const startedAt = performance.now();
  const stream = request(session, WRITE);
  const answer = answered(stream);
  for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
    const isLast = at + PIECE_BYTES >= sizeBytes;
    if (!stream.write(writeRequest(name, at, isLast, bytes.subarray(at, at + PIECE_BYTES))))
      await once(stream, 'drain');
  }
  stream.end();
  await answer;
  const ms = performance.now() - startedAt;
  session.destroy();
  return { callsPerSecond: 1000 / ms, p99Ms: ms, ms };
};

const { address, job }: { address: string; job: Job } = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8'));
const run = (): Promise<JobResult> => {
  switch (job.kind) {
    case 'load':
      return load(address, job);
    case 'once':
      return onceAll(address, job);
    case 'stall':
      return stall(address, job);
    case 'write':
      return write(address, job);
  }
};
console.log(JSON.stringify(await run()));
