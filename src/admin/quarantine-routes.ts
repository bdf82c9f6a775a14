// Quarantines over HTTP: setting one needs no more than a scope and a reason, lifting one what it was when last seen.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../core/clock.ts';
import type { Guard } from '../gate/guard.ts';
import { type Order, parseScope, type Scope } from '../gate/orders.ts';
import type { Changed } from '../gate/quarantine.ts';
import { readReason, readTerms } from './bodies.ts';
import { sendProblem } from './problem.ts';
import { iso, orderView } from './views.ts';

interface Params {
  readonly scope: string;
}

const SCOPES = 'accepted: global, nix, bazel, cache:NAME';
const tagOf = ({ generation }: Order): string => `"g${generation}"`;

/** What the caller saw: null where they do not say, and no order's number where they say it otherwise than we did. */
const seenIn = (header: string | undefined): number | null => {
  if (header === undefined) return null;
  const [, digits] = /^"g(\d{1,15})"$/.exec(header.trim()) ?? [];
  return digits === undefined ? Number.NaN : Number(digits);
};

export const quarantineRoutes = (app: FastifyInstance, { quarantine, assumeClear }: Guard, clock: Clock): void => {
  const reading = { config: { access: ['read', 'quarantine'] as const } };
  const changing = { config: { access: ['quarantine'] as const } };

  app.get('/v1/quarantine', reading, (_request, reply) =>
    reply.send({ quarantine: quarantine.orders.map(orderView), trouble: quarantine.trouble?.kind ?? null }),
  );

  app.get<{ Params: Params }>('/v1/quarantine/:scope', reading, (request, reply) =>
    withScope(request, reply, (scope) => {
      const order = quarantine.get(scope);
      if (order === undefined) return sendProblem(reply, 404, `there is no quarantine of ${scope}`);
      return reply.header('etag', tagOf(order)).send(orderView(order));
    }),
  );

  app.put<{ Params: Params }>('/v1/quarantine/:scope', changing, (request, reply) =>
    withScope(request, reply, async (scope) => {
      const terms = readTerms(request.body, clock.now());
      if (request.headers['if-none-match'] === '*' && quarantine.get(scope) !== undefined)
        return sendProblem(reply, 412, `there is a quarantine of ${scope}`);
      const ifMatch = request.headers['if-match'];
      // Whatever it is, as long as it is tightened: that is what saying nothing means.
      const seen = seenIn(ifMatch === '*' ? undefined : ifMatch);
      return answer(reply, scope, await quarantine.on(scope, terms, { by: request.by, seen }));
    }),
  );

  app.delete<{ Params: Params; Querystring: { assumeClear?: string } }>(
    '/v1/quarantine/:scope',
    changing,
    (request, reply) =>
      withScope(request, reply, async (scope) => {
        const reason = readReason(request.body);
        if (request.query.assumeClear !== undefined) {
          if (scope !== 'global') return sendProblem(reply, 400, 'assumeClear goes with the scope global');
          await assumeClear(reason, request.by);
          return reply.send({ scope, assumedClear: true });
        }
        const seen = seenIn(request.headers['if-match']);
        const changed = await quarantine.off(scope, reason, { by: request.by, seen });
        if (changed.kind === 'lifted') return reply.send({ scope, liftedAt: iso(clock.now()) });
        return answer(reply, scope, changed);
      }),
  );
};

const withScope = (
  request: FastifyRequest<{ Params: Params }>,
  reply: FastifyReply,
  action: (scope: Scope) => FastifyReply | Promise<FastifyReply>,
): FastifyReply | Promise<FastifyReply> => {
  const scope = parseScope(request.params.scope);
  return scope === null ? sendProblem(reply, 404, `there is no such scope; ${SCOPES}`) : action(scope);
};

const answer = (reply: FastifyReply, scope: Scope, changed: Changed): FastifyReply => {
  switch (changed.kind) {
    case 'done':
      return reply
        .code(changed.isKept ? (changed.isNew ? 201 : 200) : 202)
        .header('etag', tagOf(changed.order))
        .send(orderView(changed.order));
    case 'unseen':
      return sendProblem(reply, 428, 'this would end it sooner: send If-Match with the ETag of what you have seen');
    case 'stale':
      return sendProblem(reply, 412, `the quarantine of ${scope} is not what If-Match says: look at it again`);
    case 'full':
      return sendProblem(reply, 409, 'there are too many quarantines: a wider scope stops as much');
    default:
      return sendProblem(reply, 404, `there is no quarantine of ${scope}`);
  }
};
