// Takes what `nix copy --to` puts when there is no upstream, or says what is wrong with it.

import type { IncomingMessage } from 'node:http';
import { CleanmissError, isCode } from '../core/errors.ts';
import type { Log } from '../store/log.ts';
import { mendCacheInfo } from './cache-infos.ts';
import { ownInfoKey } from './own-cache.ts';
import { keepExtra, MAX_EXTRA_BYTES } from './own-extras.ts';
import { type OwnNarinfoPorts, takeNarinfo } from './own-narinfos.ts';
import { type OwnNarPorts, takeNar } from './own-nars.ts';
import type { Target } from './target.ts';
import { refusal, STORED, type UploadAnswer } from './upload-answer.ts';
import { readUpload } from './upload-body.ts';

export interface OwnUploadPorts extends OwnNarPorts, OwnNarinfoPorts {
  readonly log: Log;
}

const MAX_NARINFO_BYTES = 1024 * 1024;

/**
 * Takes a PUT; `invite` is called once nothing in its head speaks against its body. Rejects only when the connection
 * breaks off: nothing is kept then.
 */
export const takeUpload = async (
  ports: OwnUploadPorts,
  target: Target,
  request: IncomingMessage,
  invite: () => void,
): Promise<UploadAnswer> => {
  const { clock, idleMs, infos } = ports;
  const read = (maxBytes: number): Promise<Buffer> => {
    invite();
    return readUpload(request, { clock, idleMs, maxBytes });
  };
  try {
    switch (target.kind) {
      case 'nar':
        return await takeNar(ports, target.cache, target.url, request, invite);
      case 'narinfo': {
        const text = await read(MAX_NARINFO_BYTES);
        return await takeNarinfo(ports, target.cache, target.storeHash, text.toString('utf8'));
      }
      case 'cache-info': {
        const text = await read(MAX_NARINFO_BYTES);
        await infos.put(ownInfoKey(target.cache), mendCacheInfo(text.toString('utf8')));
        return STORED;
      }
      case 'extra':
        await keepExtra(infos, target.cache, target.url, await read(MAX_EXTRA_BYTES));
        return STORED;
      default:
        return refusal(404, 'only NARs, narinfos, nix-cache-info, listings, logs and realisations are stored here');
    }
  } catch (error) {
    if (error instanceof CleanmissError && error.code === 'WRONG_UPLOAD') return refusal(400, error.message);
    // Never a 5xx: it makes Nix send the body again and again, and Nix 2.8 hang.
    if (isCode(error, 'BUSY') || isCode(error, 'DISK')) {
      ports.log.warn({ err: error, url: request.url }, 'nix: an upload that the store cannot take now');
      return refusal(403, 'the store has no room for this now; nothing was stored');
    }
    throw error;
  }
};
