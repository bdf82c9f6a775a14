// What the scripted upstream holds, and what it answers while no fault is scripted: as Attic, or as a plain Nix cache.

import { createHash } from 'node:crypto';
import type { CacheObject } from './cache-object.ts';
import type { Exchange } from './upstream-exchange.ts';
import { type Content, inMemory, type Plan, plainPlan } from './upstream-plan.ts';

/** One Attic cache. */
export interface CacheShape {
  readonly name: string;
  /** Announces itself with X-Attic-Cache-Visibility. */
  readonly isPublic?: boolean;
  /** The one Authorization value that may read; anything else is 401. */
  readonly authorization?: string;
}

export interface Resource {
  readonly content: Content;
  readonly method: string;
  readonly status: number;
  readonly contentType: string;
  readonly headers: Plan['headers'];
  readonly ranges: boolean;
  readonly etag: string | null;
  readonly framing: Plan['framing'];
}

const atticError = (code: number, error: string, message: string): string => JSON.stringify({ code, error, message });
const s3Error = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>scripted</Message></Error>`;

const cacheInfo = (isAttic: boolean): string =>
  isAttic
    ? 'WantMassQuery: 1\nStoreDir: /nix/store\nPriority: 41\n'
    : 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n';

export class UpstreamTable {
  readonly #resources = new Map<string, Partial<Resource> & Pick<Resource, 'content'>>();
  readonly #caches: readonly CacheShape[];
  readonly #acceptsUploads: boolean;

  constructor(caches: readonly CacheShape[], acceptsUploads: boolean) {
    this.#caches = caches;
    this.#acceptsUploads = acceptsUploads;
    const roots = caches.length === 0 ? [''] : caches.map(({ name }) => `/${name}`);
    for (const root of roots) {
      const content = inMemory(cacheInfo(caches.length > 0));
      this.set(`${root}/nix-cache-info`, { content, contentType: 'text/x-nix-cache-info' });
    }
  }

  set(path: string, resource: Partial<Resource> & Pick<Resource, 'content'>): void {
    this.#resources.set(path, resource);
  }

  delete(path: string): void {
    this.#resources.delete(path);
  }

  /** An Attic NAR is chunked and has no ranges; that of a plain cache has a length, ranges and an ETag. */
  add(
    object: CacheObject,
    { cache, ...options }: { readonly cache?: string } & Partial<Resource>,
  ): { readonly narinfo: string; readonly nar: string } {
    const isAttic = this.#caches.length > 0;
    const name = cache ?? this.#caches[0]?.name;
    const root = name === undefined ? '' : `/${name}`;
    const paths = { narinfo: `${root}/${object.narinfoPath}`, nar: `${root}/${object.narPath}` };
    const { bytes, frames, compression } = object.body;
    const etag = `"${createHash('sha256').update(bytes).digest('hex').slice(0, 32)}"`;
    this.set(paths.narinfo, {
      content: inMemory(object.narinfo),
      contentType: 'text/x-nix-narinfo',
    });
    this.set(paths.nar, {
      content: inMemory(bytes, { frames, compression }),
      contentType: 'application/x-nix-nar',
      ...(isAttic ? { framing: 'chunked' } : { ranges: true, etag }),
      ...options,
    });
    return paths;
  }

  keepUpload({ method, path, uploaded, uploadedBytes }: Exchange): void {
    if (method !== 'PUT' || !this.#acceptsUploads || this.#resources.get(path)?.method) return;
    if (uploaded.length !== uploadedBytes) throw new Error(`${path}: too large to keep`);
    this.set(path, { content: inMemory(uploaded) });
  }

  plan(exchange: Exchange): Plan {
    const { path, method } = exchange;
    const behind = /^\/-\/(store|forbidden)(\/.*)$/.exec(path);
    if (behind) return this.#planOfStore(exchange, behind[1] ?? '', behind[2] ?? '');
    const cache = this.#caches.find(({ name }) => path.startsWith(`/${name}/`));
    const visible: Plan['headers'] = cache?.isPublic ? [['x-attic-cache-visibility', 'public']] : [];
    if (cache?.authorization !== undefined && !cache.isPublic) {
      if (exchange.headers['authorization'] !== cache.authorization) return this.#refusal(401);
    }
    const resource = this.#resources.get(path);
    const wanted = resource?.method ?? 'GET';
    const isRead = method === 'GET' || method === 'HEAD';
    if (method === 'PUT' && this.#acceptsUploads && !resource?.method) {
      return plainPlan(inMemory(''), 201);
    }
    if (wanted !== method && !(wanted === 'GET' && isRead)) {
      return isRead || resource ? this.#refusal(405) : this.#refusal(404);
    }
    if (!resource) return this.#refusal(404);
    const type: Plan['headers'] = resource.contentType ? [['Content-Type', resource.contentType]] : [];
    return {
      ...plainPlan(resource.content, resource.status ?? 200, resource.framing ?? 'length'),
      headers: [...type, ...visible, ...(resource.headers ?? [])],
      ranges: resource.ranges ?? false,
      etag: resource.etag ?? null,
    };
  }

  #refusal(status: 401 | 404 | 405): Plan {
    if (status === 405) return plainPlan(inMemory(''), 405);
    if (this.#caches.length === 0) return plainPlan(inMemory(`${status}\n`), status);
    const text =
      status === 401
        ? atticError(401, 'Unauthorized', 'Unauthorized.')
        : atticError(404, 'NoSuchObject', 'The requested object does not exist.');
    return { ...plainPlan(inMemory(text), status), headers: [['Content-Type', 'application/json']] };
  }

  /** The S3 store behind `presigned` and `forbiddenBehindRedirect`. */
  #planOfStore({ method, headers }: Exchange, kind: string, path: string): Plan {
    const xml = (status: number, code: string): Plan => ({
      ...plainPlan(inMemory(s3Error(code)), status),
      headers: [['Content-Type', 'application/xml']],
    });
    const content = this.#resources.get(path)?.content;
    if (kind === 'forbidden') return xml(403, 'AccessDenied');
    if (headers['authorization'] !== undefined) return xml(400, 'InvalidArgument');
    if (method !== 'GET') return xml(403, 'SignatureDoesNotMatch');
    if (!content) return xml(404, 'NoSuchKey');
    const etag = `"${createHash('sha256').update(path).digest('hex').slice(0, 32)}"`;
    return { ...plainPlan(content), ranges: true, etag };
  }
}
