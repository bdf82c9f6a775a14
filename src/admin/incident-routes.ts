// Incidents over HTTP: what they were, all of it as one document, and the ack that names one.

import type { FastifyInstance } from 'fastify';
import type { Guard } from '../gate/guard.ts';
import type { Incident } from '../health/state.ts';
import { readNote } from './bodies.ts';
import { sendProblem } from './problem.ts';
import { incidentView, recordView } from './views.ts';

interface Params {
  readonly id: string;
}

export const incidentRoutes = (app: FastifyInstance, { incidents, keeper }: Guard): void => {
  const reading = { config: { access: ['read'] as const } };
  /** Fresher than what was written down, and there even when the disk takes nothing. */
  const live = (): Incident | null => keeper?.current.incident ?? null;

  app.get('/v1/incidents', reading, (_request, reply) => {
    const open = live();
    const closed = incidents.list().filter(({ id }) => id !== open?.id);
    return reply.send({ incidents: [...(open === null ? [] : [open]), ...closed].map(incidentView) });
  });

  app.get<{ Params: Params }>('/v1/incidents/:id', reading, async ({ params: { id } }, reply) => {
    const open = live();
    const kept = await incidents.get(id);
    const incident = open?.id === id ? open : kept?.incident;
    if (incident === undefined) return sendProblem(reply, 404, 'there is no such incident');
    return reply.send(recordView({ refused: [], refusedTotal: 0, ...kept, incident }));
  });

  app.post<{ Params: Params }>(
    '/v1/incidents/:id/ack',
    { config: { access: ['ack'] } },
    async ({ params: { id }, body, by }, reply) => {
      const note = readNote(body);
      const acked = (await keeper?.ack(id, note, by)) ?? { kind: 'unknown-incident' as const };
      switch (acked.kind) {
        case 'unknown-incident':
          return sendProblem(reply, 409, `this is not the incident that is open${nameOf(live())}`);
        case 'not-latched':
          return sendProblem(reply, 409, 'it has not recovered: there is nothing to ack yet');
        case 'acked':
          return reply.code(acked.isKept ? 200 : 202).send({ id, acked: true, inForce: acked.isKept });
      }
    },
  );
};

const nameOf = (incident: Incident | null): string => (incident === null ? ': none is' : `: that is ${incident.id}`);
