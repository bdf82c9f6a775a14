// Streams the status to whoever watches: once at the start, and again whenever the gate's state changes.

import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Clock, Timer } from '../core/clock.ts';
import type { Changes } from '../gate/changes.ts';
import { sendProblem } from './problem.ts';

/** Each holds a connection. */
const MAX_WATCHERS = 32;
/** A burst of changes is one event. */
const SETTLE_MS = 100;
/** So often it is sent unasked: counts change without telling, and proxies cut what is silent. */
const EVERY_MS = 10_000;
/** A watcher that does not read is cut: it comes back if it is still there. */
const MAX_UNREAD_BYTES = 256 * 1024;

export interface EventPorts {
  readonly clock: Clock;
  readonly changes: Changes;
  readonly status: () => object;
}

/** `GET /v1/events`: server-sent events, each `event: status` with the status as JSON. */
export const eventRoutes = (app: FastifyInstance, ports: EventPorts): void => {
  const watchers = new Set<ServerResponse>();
  app.addHook('preClose', async () => {
    for (const watcher of watchers) watcher.destroy();
  });
  // A HEAD would hold its connection, and get nothing for it.
  app.get('/v1/events', { exposeHeadRoute: false, config: { access: ['read'] } }, (_request, reply) => {
    if (watchers.size >= MAX_WATCHERS) return sendProblem(reply, 503, `${MAX_WATCHERS} watch already`);
    reply.hijack();
    const response = reply.raw;
    response.writeHead(200, { ...reply.getHeaders(), 'content-type': 'text/event-stream; charset=utf-8' } as Record<
      string,
      string
    >);
    watchers.add(response);
    const stop = watch(response, ports);
    response.once('close', () => {
      watchers.delete(response);
      stop();
    });
  });
};

const watch = (response: ServerResponse, { clock, changes, status }: EventPorts): (() => void) => {
  let timer: Timer | undefined;
  const send = (): void => {
    timer?.cancel();
    if (response.writableLength > MAX_UNREAD_BYTES) return void response.destroy();
    response.write(`event: status\ndata: ${JSON.stringify(status())}\n\n`);
    timer = clock.after(EVERY_MS, send);
  };
  const unlisten = changes.listen(() => {
    timer?.cancel();
    timer = clock.after(SETTLE_MS, send);
  });
  send();
  return () => {
    unlisten();
    timer?.cancel();
  };
};
