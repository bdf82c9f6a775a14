// Binary caches as directories, written by a real `nix copy`: what any static HTTP server can serve.

import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { NixKey, NixStore } from './nix.ts';
import { type Scope, temporaryDirectory } from './scope.ts';

export interface FileCache {
  readonly directory: string;
  /** `file://…`: substitutes without any server. */
  readonly url: string;
  /** Of a store path's narinfo, below the directory and below any URL that serves it. */
  narinfoPath(storePath: string): string;
  /** Of its NAR, as its narinfo says. */
  narPath(storePath: string): Promise<string>;
}

const fileCacheOf = (directory: string): FileCache => {
  const narinfoPath = (storePath: string) => `${basename(storePath).slice(0, 32)}.narinfo`;
  return {
    directory,
    url: `file://${directory}`,
    narinfoPath,
    async narPath(storePath) {
      const text = await readFile(join(directory, narinfoPath(storePath)), 'utf8');
      const url = /^URL: (.+)$/m.exec(text)?.[1];
      if (url === undefined) throw new Error(`no URL in ${text}`);
      return url;
    },
  };
};

/** Holds the paths and all they refer to. Goes with the scope. */
export const makeFileCache = async (
  scope: Scope,
  store: NixStore,
  paths: readonly string[],
  { compression = 'zstd', key }: { compression?: 'zstd' | 'xz' | 'none'; key?: NixKey } = {},
): Promise<FileCache> => {
  const cache = fileCacheOf(await temporaryDirectory(scope, 'file-cache'));
  const { code, stderr } = await store.copyTo(cache.url, paths, { compression, ...(key && { key }) });
  if (code !== 0) throw new Error(`nix copy: ${stderr}`);
  return cache;
};
