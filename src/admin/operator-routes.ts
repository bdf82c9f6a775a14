// What else operators ask for: the audit log page by page, a probe now, and which digests are suspects.

import type { FastifyInstance } from 'fastify';
import type { Guard } from '../gate/guard.ts';
import { sendProblem } from './problem.ts';
import type { Status } from './status.ts';

/** One digest refuted at one place. */
export interface SuspectView {
  readonly id: string;
  readonly tenant: string;
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number | null;
  readonly encoding: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly since: string;
}

export interface OperatorPorts {
  readonly guard?: Guard | undefined;
  /** `HealthWatch.probeNow`; not there where nobody watches. Concurrent calls share one round. */
  readonly probe?: (() => Promise<void>) | undefined;
  /** At most so many, newest first. */
  readonly suspects?: ((limit: number) => readonly SuspectView[]) | undefined;
}

const MAX_ROWS = 1_000;
const DEFAULT_ROWS = 100;
const MAX_SUSPECTS_SHOWN = 1_000;

const within = (text: string | undefined, initial: number, max: number): number =>
  text === undefined ? initial : /^\d{1,15}$/.test(text) ? Math.min(Number(text), max) : Number.NaN;

export const operatorRoutes = (
  app: FastifyInstance,
  { guard, probe, suspects }: OperatorPorts,
  status: () => Status,
): void => {
  const reading = { config: { access: ['read'] as const } };

  app.get<{ Querystring: { after?: string; limit?: string } }>('/v1/audit', reading, async ({ query }, reply) => {
    const after = within(query.after, 0, Number.MAX_SAFE_INTEGER);
    const limit = within(query.limit, DEFAULT_ROWS, MAX_ROWS);
    if (Number.isNaN(after) || !(limit >= 1)) return sendProblem(reply, 400, 'after and limit are whole numbers');
    // Before the rows are read: the last page then has it, whatever is added meanwhile.
    const head = guard?.audit.head ?? null;
    return reply.send({ head, rows: (await guard?.audit.rows(after, limit)) ?? [] });
  });

  app.get('/v1/suspects', { config: { access: ['read', 'quarantine'] } }, (_request, reply) =>
    reply.send({ suspects: suspects?.(MAX_SUSPECTS_SHOWN) ?? [] }),
  );

  app.post('/v1/probe', { config: { access: ['ack'] } }, async (_request, reply) => {
    if (probe === undefined)
      return sendProblem(reply, 409, 'nobody watches health here: health.watch and health.s3 say who');
    await probe();
    return reply.send({ health: status().health });
  });
};
