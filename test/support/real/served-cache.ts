// What a real `nix copy` wrote, served by an upstream that fails when it is told to, in any encoding and either shape.

import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type BodyKind, encodeBody } from '../encodings.ts';
import { digestOf } from '../nar.ts';
import { nix32 } from '../nix32.ts';
import type { ScriptedUpstream } from '../scripted-upstream.ts';
import { inMemory } from '../upstream-plan.ts';
import type { FileCache } from './file-cache.ts';

/** The paths, on the server, of what belongs to one store path. */
export interface Served {
  readonly narinfo: string;
  readonly nar: string;
}

export interface ServedShape {
  readonly kind?: BodyKind;
  /** `attic`: `nar/<store hash>.nar`, chunked, no ranges. `nix`: `nar/<file hash>.nar.<ext>`, with length, ranges and ETag. */
  readonly like?: 'attic' | 'nix';
}

/** One path as it will be served; made once, it can be put on any upstream. */
export interface ServedPath {
  readonly storePath: string;
  /** Of its encoded body. */
  readonly bodyBytes: number;
  /** Puts it there, in place of what was there under its names. Returns its paths on that server. */
  putOn(upstream: ScriptedUpstream, root?: string): Served;
}

const read = async (cache: FileCache, narinfoFile: string, { kind = 'zstd-many', like = 'attic' }: ServedShape) => {
  const text = await readFile(join(cache.directory, narinfoFile), 'utf8');
  const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(text)?.[1] ?? '';
  if (field('Compression') !== 'none') throw new Error('write the cache with compression none');
  const body = await encodeBody(await readFile(join(cache.directory, field('URL'))), kind, { seed: narinfoFile });
  const { sha256, sizeBytes } = digestOf(body.bytes);
  const fileHash = nix32(Buffer.from(sha256, 'hex'));
  const isAttic = like === 'attic';
  const nar = isAttic ? `nar/${basename(narinfoFile, '.narinfo')}.nar` : `nar/${fileHash}.nar${body.extension}`;
  // None of these is signed.
  const narinfo = text
    .replace(/^URL: .*$/m, `URL: ${nar}`)
    .replace(/^Compression: .*$/m, `Compression: ${body.compression}`)
    .replace(/^FileHash: .*\n/m, isAttic ? '' : `FileHash: sha256:${fileHash}\n`)
    .replace(/^FileSize: .*\n/m, isAttic ? '' : `FileSize: ${sizeBytes}\n`);
  const content = inMemory(body.bytes, { frames: body.frames, compression: body.compression });
  const putOn: ServedPath['putOn'] = (upstream, root = '') => {
    upstream.answer(`${root}/${narinfoFile}`, { content: narinfo, contentType: 'text/x-nix-narinfo' });
    upstream.answer(`${root}/${nar}`, {
      content,
      contentType: 'application/x-nix-nar',
      ...(isAttic ? { framing: 'chunked' as const } : { ranges: true, etag: `"${sha256.slice(0, 32)}"` }),
    });
    return { narinfo: `${root}/${narinfoFile}`, nar: `${root}/${nar}` };
  };
  return { storePath: field('StorePath'), bodyBytes: sizeBytes, putOn };
};

/** Every path of a cache that was written with compression `none`. */
export const servedPaths = async (cache: FileCache, shape: ServedShape = {}): Promise<ServedPath[]> => {
  const narinfos = (await readdir(cache.directory)).filter((name) => name.endsWith('.narinfo'));
  return Promise.all(narinfos.map((name) => read(cache, name, shape)));
};
