// Admin as an operator meets it: over a socket, with a gate and a health that tests steer.

import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Test } from 'tap';
import { Metrics } from '../../src/admin/metrics.ts';
import { type AdminParts, adminServer } from '../../src/admin/server.ts';
import type { Readings } from '../../src/admin/status.ts';
import { Tokens } from '../../src/core/tokens.ts';
import { type GuardOptions, openGuard } from '../../src/gate/guard.ts';
import { initialState, restored } from '../../src/health/machine.ts';
import type { FaultClass } from '../../src/health/state.ts';
import { BrokenDisk } from './broken-disk.ts';
import { FakeClock } from './fake-clock.ts';
import { HealthScript } from './health-script.ts';

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** As JSON, or as it is. */
  readonly body?: object | string;
  readonly token?: string;
}

export interface AdminRigOptions extends Partial<Pick<AdminParts, 'listen' | 'suspects'>> {
  readonly isWatched?: boolean;
  /** The content of a file of `auth.tokens`. */
  readonly tokens?: string;
  readonly dir?: string;
}

const readings: Readings = {
  store: { bytes: 5, maxBytes: 10, objects: 2 },
  fillsActive: 0,
  spoolBytes: 0,
  suspects: { open: 0, held: 0 },
  breakers: {},
  redirectsRefused: [],
};

export const adminRig = async (t: Test, options: AdminRigOptions = {}) => {
  const { isWatched = false, tokens, dir = t.testdir(), listen = { host: '127.0.0.1', port: 0 }, ...rest } = options;
  const clock = new FakeClock();
  const disk = new BrokenDisk();
  /** Every line, as JSON. */
  const logged: string[] = [];
  const say = (fields: object, message: string) => void logged.push(JSON.stringify({ ...fields, message }));
  const log = { info: say, warn: say, error: say };
  const guardOptions: GuardOptions = { dir, clock, log, isWatched, openFile: disk.open };
  const guard = await openGuard(guardOptions);
  const saved = guard.keeper?.saved ?? null;
  const health = new HealthScript(clock, saved === null ? initialState(clock.now()) : restored(saved, clock.now()));
  guard.keeper?.follow(health);
  const metrics = new Metrics(['nix', 'bazel']);
  const admin = adminServer({
    clock,
    listen,
    log,
    metrics,
    readings: () => readings,
    tokens: tokens === undefined ? null : Tokens.parse(tokens),
    guard,
    ...(isWatched && { probe: () => health.round() }),
    ...rest,
  });
  t.teardown(async () => {
    await admin.app.close();
    await guard.close();
  });
  const url = await admin.app.listen({ host: '127.0.0.1', port: 0 });
  const ask = async (path: string, { method = 'GET', headers = {}, body, token }: AskOptions = {}) => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const sent = typeof body === 'object' ? JSON.stringify(body) : body;
    const all = {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(sent !== undefined && {
        'content-type': 'application/json',
        'content-length': String(Buffer.byteLength(sent)),
      }),
      ...headers,
    };
    request(`${url}${path}`, { headers: all, method, agent: false }, resolve).on('error', reject).end(sent);
    const response = await promise;
    const answered = await text(response);
    const isJson = /json/.test(response.headers['content-type'] ?? '');
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      etag: response.headers.etag ?? '',
      text: answered,
      json: isJson && answered !== '' ? JSON.parse(answered) : null,
    };
  };
  const rounds = async (fault: FaultClass | 'OK', count: number) => {
    for (let done = 0; done < count; done++) {
      await clock.advance(5_000);
      await health.round(fault);
    }
  };
  return { dir, clock, disk, logged, guard, health, metrics, url, ask, rounds, admin };
};
