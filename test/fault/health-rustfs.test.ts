// The recorded answers of a real RustFS, sent again: the lost index is seen for what it is, and so is everything else.

import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { canaryBytes } from '../../src/health/canary-bytes.ts';
import { initialState } from '../../src/health/machine.ts';
import type { FaultClass, MachineState } from '../../src/health/state.ts';
import { openS3Watch, type S3Watch } from '../../src/health/watch-s3.ts';
import { fastClock } from '../support/fast-clock.ts';
import { refuseLeaks } from '../support/leaks.ts';
import { until } from '../support/waiting.ts';

refuseLeaks(t);
// The time goes into waiting for rounds and deadlines.
t.jobs = 8;

const wire = join(import.meta.dirname, '../support/rustfs-wire');

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body: Buffer;
}

/** null: nothing is sent, and the connection stays open. */
type Reply = Buffer | null;

const fileFor = ({ method, path }: Request): string => {
  if (path === '/health/ready') return 'health-ready';
  if (path.startsWith('/minio/')) return 'minio-health-cluster';
  if (path === '/') return 'list-buckets';
  if (method === 'HEAD') return path.split('/').length === 2 ? 'head-bucket' : 'head-object';
  return method === 'PUT' ? 'put-object' : 'get-object';
};

/** One recorded state. What was not recorded in it is answered as `otherwise` has it. */
const recorded =
  (state: string, otherwise?: string, names: Partial<Record<string, string>> = {}) =>
  (request: Request): Buffer => {
    const name = fileFor(request);
    const files = [state, ...(otherwise === undefined ? [] : [otherwise])].map((folder) =>
      join(wire, folder, `${names[name] ?? name}.http`),
    );
    const file = files.find(existsSync);
    if (file === undefined) throw new Error(`${state}: no answer recorded for ${request.method} ${request.path}`);
    return readFileSync(file);
  };

const objectReply = (body: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from(
      `HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`,
    ),
    body,
  ]);

/** A recorded state in which our canaries lie, and objects stay as they were written. */
const withCanaries = (answer: (request: Request) => Buffer, storeId = 'store-1') => {
  const written = new Map<string, Buffer>();
  return (request: Request): Reply => {
    const { method, path, body } = request;
    const [, bucket = '', ...key] = path.split('/');
    if (method === 'PUT') written.set(path, body);
    if (method !== 'GET' || key.length < 2) return answer(request);
    return objectReply(written.get(path) ?? canaryBytes(storeId, bucket));
  };
};

class Replay {
  answer: (request: Request) => Reply;
  readonly sockets = new Set<Socket>();
  readonly requests: string[] = [];
  port = 0;

  constructor(answer: (request: Request) => Reply) {
    this.answer = answer;
  }

  async listen(t: Test): Promise<void> {
    const server = createServer((socket) => this.#serve(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    this.port = typeof address === 'object' && address !== null ? address.port : 0;
    t.teardown(async () => {
      for (const socket of this.sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
  }

  #serve(socket: Socket): void {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => {}); // A client that went.
    let received = Buffer.alloc(0);
    socket.on('data', (piece: Buffer) => {
      received = Buffer.concat([received, piece]);
      // A TLS client's first byte, and what servers of plain HTTP answer to it.
      if (received[0] === 0x16) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
      const end = received.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = received.subarray(0, end).toString('latin1');
      const [method = '', target = ''] = head.split(' ');
      const bytes = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (received.length < end + 4 + bytes) return;
      const path = new URL(target, 'http://x').pathname;
      this.requests.push(`${method} ${path}`);
      const reply = this.answer({ method, path, body: received.subarray(end + 4, end + 4 + bytes) });
      received = Buffer.alloc(0);
      if (reply !== null) socket.end(reply);
    });
  }
}

interface Opened {
  readonly replay: Replay;
  readonly opened: S3Watch;
  /** Runs rounds until the machine says so. */
  reaches(state: MachineState['state'], withinMs?: number): Promise<MachineState>;
}

const opened = async (
  t: Test,
  answer: (request: Request) => Reply,
  { buckets = ['attic', 'bazel-cache', 'tofu-state'], clock = systemClock, endpoint = '' } = {},
): Promise<Opened> => {
  const replay = new Replay(answer);
  await replay.listen(t);
  const watched = openS3Watch({
    clock,
    endpoint: endpoint === '' ? `http://127.0.0.1:${replay.port}` : endpoint,
    region: 'us-east-1',
    pathStyle: true,
    credentials: { accessKeyId: 'labkey', secretAccessKey: 'marked-secret' },
    buckets,
    canaryPrefix: '.cleanmiss/',
    intervalMs: 5_000,
    markersDir: null,
    version: '0',
    state: initialState(clock.now()),
    mayWrite: () => true,
    random: () => 0.5,
    log: { warn() {} },
  });
  t.teardown(() => watched.close());
  watched.watch.start();
  return {
    replay,
    opened: watched,
    async reaches(state, withinMs = 20_000) {
      await until(() => watched.watch.current.state === state, withinMs);
      return watched.watch.current;
    },
  };
};

const healthy = () => withCanaries(recorded('beta.1/healthy'));

const lost: { reason: string; state: string; otherwise?: string; class: FaultClass; latches: boolean; attic?: true }[] =
  [
    { reason: 'drive still frozen', state: 'beta.1/fault-frozen', class: 'INDEX_LOST', latches: true },
    { reason: 'thawed', state: 'beta.1/fault-after-thaw', class: 'INDEX_LOST', latches: true },
    { reason: 'six minutes on', state: 'beta.1/fault-6min', class: 'INDEX_LOST', latches: true },
    { reason: 'beta.7', state: 'beta.7/fault-recovering', class: 'INDEX_LOST', latches: true },
    { reason: 'beta.8', state: 'beta.8/fault-latched-after-blip', class: 'INDEX_LOST', latches: true },
    {
      reason: 'a key that may not list',
      state: 'beta.1/fault-narrow-key',
      otherwise: 'beta.1/fault-after-thaw',
      class: 'INDEX_LOST',
      latches: true,
      attic: true,
    },
    {
      reason: 'that key after the server forgot it: 500 everywhere, and its readiness says why',
      state: 'beta.1/fault-narrow-key-after-iam-expiry',
      otherwise: 'beta.1/fault-after-thaw',
      class: 'QUORUM',
      latches: false,
      attic: true,
    },
  ];

for (const row of lost) {
  t.test(`the index is lost: ${row.reason}`, async (t) => {
    const { replay, opened: watched, reaches } = await opened(t, healthy(), row.attic ? { buckets: ['attic'] } : {});
    await reaches('green');
    replay.answer = recorded(row.state, row.otherwise);
    await watched.watch.probeNow();
    const { incident } = await reaches('red', 7_000);
    t.equal(incident?.class, row.class);
    t.equal(incident?.isLatching, row.latches);
    const bad = incident?.evidence.filter((one) => one.class === row.class) ?? [];
    t.ok(bad.length > 0, 'evidence of that class');
    t.ok(
      bad.every((one) => one.requestId !== null),
      'with the request ids of the server',
    );
    t.match(incident?.evidence.at(-1)?.serverVersion, /^1\.0\.0-beta\.\d$/);
    t.notMatch(JSON.stringify(watched.watch.current), /marked-secret|Signature|Credential/, 'and no secret');
  });
}

t.test('it is also seen by who has never seen it well', async (t) => {
  const { reaches } = await opened(t, recorded('beta.1/fault-after-thaw'));
  const { incident } = await reaches('red');
  t.equal(incident?.class, 'INDEX_LOST');
});

const masks: { reason: string; answer: (request: Request) => Reply; class: FaultClass }[] = [
  {
    reason: 'a wrong secret',
    // HEADs of RustFS then answer 403 without a body.
    answer: (request) =>
      request.method === 'HEAD'
        ? Buffer.from('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n')
        : recorded('beta.1/healthy', undefined, {
            'list-buckets': 'list-buckets-wrong-secret',
            'get-object': 'list-buckets-wrong-secret',
          })(request),
    class: 'CREDENTIALS',
  },
  {
    reason: 'starting',
    answer: (request) =>
      recorded('beta.1/starting', undefined, { 'head-object': 'head-bucket', 'get-object': 'list-buckets' })(request),
    class: 'STARTING',
  },
  {
    reason: "a proxy's page for everything, with 200",
    answer: () =>
      Buffer.from(
        'HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>',
      ),
    class: 'PROTOCOL',
  },
  {
    reason: "a proxy's 404 for everything",
    answer: () =>
      Buffer.from(
        'HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>',
      ),
    class: 'PROTOCOL',
  },
  {
    reason: 'a 301',
    answer: () =>
      Buffer.from(
        'HTTP/1.1 301 Moved Permanently\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n',
      ),
    class: 'PROTOCOL',
  },
  { reason: 'an empty 200', answer: () => objectReply(Buffer.alloc(0)), class: 'PROTOCOL' },
  {
    reason: 'SlowDown',
    answer: ({ method }) => {
      const body =
        '<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>';
      const head = `HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/xml\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`;
      return Buffer.from(method === 'HEAD' ? head : head + body);
    },
    class: 'BACKEND_5XX',
  },
  { reason: 'no answer', answer: () => null, class: 'SLOW' },
];

for (const { reason, answer, class: fault } of masks) {
  t.test(`another fault: ${reason}`, async (t) => {
    const { replay, opened: watched, reaches } = await opened(t, healthy());
    await reaches('green');
    replay.answer = answer;
    await watched.watch.probeNow();
    const { incident } = await reaches('red');
    t.equal(incident?.class, fault);
    t.equal(incident?.isLatching, false);
  });
}

t.test('another fault: TLS where none is spoken, and nobody there', async (t) => {
  const replay = new Replay(healthy());
  await replay.listen(t);
  for (const [endpoint, fault] of [
    [`https://127.0.0.1:${replay.port}`, 'TLS'],
    ['http://127.0.0.1:1', 'UNREACHABLE'],
  ] as const) {
    const { reaches } = await opened(t, healthy(), { endpoint });
    const { incident } = await reaches('red');
    t.equal(incident?.class, fault, endpoint);
  }
});

t.test('one bad round between good ones refuses nothing', async (t) => {
  const { replay, opened: watched, reaches } = await opened(t, healthy());
  await reaches('green');
  replay.answer = recorded('beta.1/fault-after-thaw');
  await watched.watch.probeNow();
  t.equal(watched.watch.current.state, 'doubtful');
  replay.answer = healthy();
  await reaches('green');
  t.equal(watched.watch.current.incident, null);
});

t.test('after a restart: recovering, a write that lands, latched until it is acked', async (t) => {
  const { replay, opened: watched, reaches } = await opened(t, healthy(), { clock: fastClock(10) });
  await reaches('green');
  replay.answer = recorded('beta.1/fault-after-thaw');
  await watched.watch.probeNow();
  const { incident } = await reaches('red');
  replay.answer = withCanaries(recorded('beta.1/after-restart'));
  replay.requests.length = 0;
  await reaches('recovering');
  t.notMatch(replay.requests.join('\n'), /PUT/, 'nothing is written before the reads are well');
  const latched = await reaches('latched');
  t.match(replay.requests.join('\n'), /PUT \/attic\/\.cleanmiss\/write-proof/);
  t.equal(latched.incident?.id, incident?.id);
  t.notMatch(replay.requests.join('\n'), /DELETE/);
  const id = incident?.id ?? '';
  await watched.watch.apply({ kind: 'ack', id: 'another', note: 'n', by: 'b' });
  t.equal(watched.watch.current.state, 'latched');
  const after = await watched.watch.apply({ kind: 'ack', id, note: 'looked', by: 'op' });
  t.equal(after.state, 'green');
  t.match(after.lastIncident, { id, ackNote: 'looked', ackedBy: 'op' });
});
