// The caches of an upstream, as a reader sees them: its metadata, our proof of its bodies.

import type { NixCache } from './cache.ts';
import type { CacheInfos } from './cache-infos.ts';
import { type NarUrl, pinUrl } from './nar-url.ts';
import { type Narinfo, withUrl } from './narinfo.ts';
import type { Narinfos } from './narinfos.ts';
import type { NarPorts, Nars } from './nars.ts';

export interface UpstreamCachePorts extends Pick<NarPorts, 'obtainer' | 'suspects'> {
  readonly cacheInfos: CacheInfos;
  readonly narinfos: Narinfos;
  readonly nars: Nars;
  readonly pinUrls: boolean;
}

export const upstreamCache = ({
  cacheInfos,
  narinfos,
  nars,
  obtainer,
  suspects,
  pinUrls,
}: UpstreamCachePorts): NixCache => {
  /** Written once while their records are in memory. */
  const texts = new WeakMap<Narinfo, string>();
  const writeText = (narinfo: Narinfo, url: NarUrl): string => {
    const clientUrl = pinUrls ? pinUrl(url.clientUrl, narinfo) : url.clientUrl;
    const text = clientUrl === narinfo.url ? narinfo.text : withUrl(narinfo, clientUrl);
    texts.set(narinfo, text);
    return text;
  };
  return {
    cacheInfo: (cache, { credentials }) => cacheInfos.get(cache, credentials),

    async narinfo(cache, storeHash, { credentials }) {
      const answer = await narinfos.get(cache, storeHash, credentials);
      if (answer.kind !== 'narinfo') return answer;
      const { narinfo, url } = answer;
      const claim = { digest: narinfo.nar, encoding: narinfo.encoding, place: { tenant: cache, path: storeHash } };
      if (suspects.find(claim) !== undefined && (await obtainer.held(claim)) === undefined) return { kind: 'absent' };
      return { kind: 'text', text: texts.get(narinfo) ?? writeText(narinfo, url) };
    },

    nar: (cache, url, pin, client) => nars.obtain({ cache, url, pin, credentials: client.credentials }, client.asker),
  };
};
