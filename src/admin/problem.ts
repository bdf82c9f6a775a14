// Every error of admin is `application/problem+json` (RFC 9457), and says no more than its reader may know.

import { STATUS_CODES } from 'node:http';
import type { FastifyReply } from 'fastify';

const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** `detail` is for people. The type is `about:blank`: the status says all that a program needs. */
const problemBody = (status: number, detail: string): string =>
  JSON.stringify({ type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, detail });

export const sendProblem = (reply: FastifyReply, status: number, detail: string): FastifyReply =>
  reply.code(status).type(PROBLEM_TYPE).send(problemBody(status, detail));

/** For what is no HTTP request at all, when there is only a socket to answer on. */
export const rawProblem = (status: number, detail: string): string => {
  const body = problemBody(status, detail);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
};
