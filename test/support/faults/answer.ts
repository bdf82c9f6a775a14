// Faults in what an answer says: status, headers, framing, redirects.

import { type Content, type Framing, inMemory } from '../upstream-plan.ts';
import type { Fault } from './when.ts';

export const framed =
  (framing: Framing): Fault =>
  (plan) => ({ ...plan, framing });

export const withHeader =
  (name: string, value: string): Fault =>
  (plan) => ({ ...plan, headers: [...plan.headers, [name, value]] });

/** An error answer, with a text that a careless proxy might pass on. */
export const status = (code: number, text = `scripted ${code}\n`): Fault => {
  const content = inMemory(text);
  return (plan) => ({ ...plan, status: code, content, ranges: false, etag: null, framing: 'length' });
};

export const content =
  (replacement: Content): Fault =>
  (plan) => ({ ...plan, content: replacement });

export const etag =
  (value: string | null): Fault =>
  (plan) => ({ ...plan, etag: value });

/** Offers ranges and answers them with everything. */
export const ignoresRange = (): Fault => (plan) => ({
  ...plan,
  ranges: false,
  headers: [...plan.headers, ['Accept-Ranges', 'bytes']],
});

/** A 206 whose bytes are those of another offset than its Content-Range says. */
export const rangeShifted =
  (byBytes: number): Fault =>
  (plan) => ({ ...plan, rangeShift: byBytes });

/** Content-Length says this, whatever comes. */
export const declaredLength =
  (sizeBytes: number): Fault =>
  (plan) => ({ ...plan, framing: 'length', declaredBytes: sizeBytes });

/** Content-Length and Transfer-Encoding at once. */
export const twoFramings =
  (sizeBytes: number): Fault =>
  (plan) => ({
    ...plan,
    framing: 'chunked',
    headers: [...plan.headers, ['Content-Length', String(sizeBytes)]],
  });

export const badChunk =
  (afterBytes = 0): Fault =>
  (plan) => ({ ...plan, framing: 'chunked', badChunkAt: afterBytes });

/** Exactly these bytes, then FIN. */
export const rawAnswer =
  (bytes: Buffer | string): Fault =>
  (plan) => ({ ...plan, raw: Buffer.from(bytes as Buffer) }); // As in `inMemory`.

/** Answers without reading the request's body. */
export const answersEarly = (): Fault => (plan) => ({ ...plan, isEarly: true });

// Redirects. What `presigned` leads to lies at `/-/store/<path>`, and can be scripted as well.

export const redirect =
  (url: string, code = 307): Fault =>
  (plan) => ({
    ...plan,
    status: code,
    content: inMemory(''),
    ranges: false,
    etag: null,
    framing: 'length',
    headers: [...plan.headers, ['Location', url]],
  });

/** As Attic with one chunk on S3: to a URL that a GET with no Authorization may use, and a HEAD may not. */
export const presigned = (): Fault => (plan, request, origin) =>
  redirect(`${origin}/-/store${request.path}?X-Amz-Expires=600&X-Amz-Signature=c0ffee`)(plan, request, origin);

/** To a store that says 403 AccessDenied. */
export const forbiddenBehindRedirect = (): Fault => (plan, request, origin) =>
  redirect(`${origin}/-/forbidden${request.path}?X-Amz-Signature=c0ffee`)(plan, request, origin);
