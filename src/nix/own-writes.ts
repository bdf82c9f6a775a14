// Serves PUT where our own store is the cache.

import type { FastifyInstance } from 'fastify';
import { type OwnUploadPorts, takeUpload } from './own-uploads.ts';
import { sendText } from './send.ts';
import { readTarget } from './target.ts';
import { admitWrite, drain, invite, refuse, type WritePorts } from './writes.ts';

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
          return refuse(ports.clock, request, response, () =>
            sendText(response, 405, 'only PUT stores here\n', { allow: 'GET, HEAD, PUT' }),
          );
        }
        let isInvited = false;
        const onWanted = () => {
          isInvited = true;
          invite(request, response);
        };
        try {
          const answer = await takeUpload(ports, readTarget(request.url ?? ''), request, onWanted);
          const send = () => sendText(response, answer.status, answer.text);
          if (!isInvited) return refuse(ports.clock, request, response, send);
          if (!request.readableEnded) drain(ports.clock, request);
          send();
        } catch (err) {
          // A client that broke off is no fault of ours.
          if (!request.destroyed || request.complete)
            ports.log.warn({ err, url: request.url }, 'nix: an upload failed');
          response.destroy();
        }
      },
    });
  };
