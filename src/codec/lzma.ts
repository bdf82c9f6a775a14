// Loads liblzma's addon when it is first needed, and says so when there is none.

import { createRequire } from 'node:module';

let loaded: typeof import('lzma-native') | null | undefined;

/** The addon, or null where it has no build for this machine (musl, for one): then xz is unprovable, not fatal. */
export const loadLzma = (): typeof import('lzma-native') | null => {
  if (loaded === undefined) {
    try {
      // `require` gives no type; the addon's own is declared in lzma-native.d.ts.
      loaded = createRequire(import.meta.url)('lzma-native') as typeof import('lzma-native');
    } catch {
      loaded = null;
    }
  }
  return loaded;
};
