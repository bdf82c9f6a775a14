// Serves PUT where our own store is the cache.

import type { FastifyInstance } from 'fastify';
import type { RecordStore } from '../store/records.ts';
import type { Exchange } from './reads.ts';
import { extraKey, type OwnUploadPorts, takeUpload } from './own-uploads.ts';
import { sendMiss, sendText } from './send.ts';
import { readTarget, type Target } from './target.ts';
import { admitWrite, invite, refuse, type WritePorts } from './writes.ts';

export const ownWrites =
  (ports: WritePorts & OwnUploadPorts) =>
  (app: FastifyInstance): void => {
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    app.route({
      method: ['PUT', 'POST', 'PATCH', 'DELETE'],
      url: '/*',
      handler: async ({ raw: request }, reply) => {
        reply.hijack();
        const response = reply.raw;
        if (!(await admitWrite(ports, request, response))) return;
        if (request.method !== 'PUT') {
          return refuse(ports.clock, request, response, () => sendText(response, 405, 'only PUT stores here\n', { allow: 'GET, HEAD, PUT' }));
        }
        invite(request, response);
        try {
          const answer = await takeUpload(ports, readTarget(request.url ?? ''), request);
          const send = () => sendText(response, answer.status, answer.text);
          if (request.readableEnded) send();
          else refuse(ports.clock, request, response, send);
        } catch {
          response.destroy();
        }
      },
    });
  };

/** Listings, logs and realisations as they were put; Attic's API is not ours. */
export const ownExtras =
  (infos: RecordStore) =>
  async (target: Target & { readonly kind: 'extra' | 'attic-api' | 'attic-cache-info' }, { response }: Exchange): Promise<void> => {
    const text = target.kind === 'extra' ? await infos.get(extraKey(target.cache, target.url)) : undefined;
    if (typeof text !== 'string') return sendMiss(response);
    sendText(response, 200, text);
  };
