// What the front serves, be it an upstream's cache or our own store: each answers for every path that is asked.

import type { CacheInfoAnswer } from './cache-infos.ts';
import type { NixClient } from './client.ts';
import type { NarAnswer } from './nars.ts';
import type { Pin } from './target.ts';

export type NarinfoTextAnswer =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'absent' | 'denied' | 'unavailable' };

export interface NixCache {
  cacheInfo(cache: string, client: NixClient): Promise<CacheInfoAnswer>;
  narinfo(cache: string, storeHash: string, client: NixClient): Promise<NarinfoTextAnswer>;
  nar(cache: string, url: string, pin: Pin | null, client: NixClient): Promise<NarAnswer>;
}
