// Takes a NAR into our own store: proven to itself, by the file hash in its name, and kept until its narinfo comes.

import type { IncomingMessage } from 'node:http';
import { canDecode } from '../codec/open.ts';
import type { Encoding } from '../core/claim.ts';
import { type DepositPorts, deposit, provableWords } from '../proof/deposit.ts';
import { decodeNix32, isNix32Sha256 } from './nix32.ts';
import type { PendingNars } from './pending.ts';
import { refusal, STORED, type UploadAnswer } from './upload-answer.ts';
import { uploadBody } from './upload-body.ts';

export interface OwnNarPorts extends DepositPorts {
  readonly pending: PendingNars;
}

/** By extension, else by magic: Nix puts gzip under a plain `.nar` too. */
const EXTENSIONS: Readonly<Record<string, Encoding>> = { xz: 'xz', zst: 'zstd', zstd: 'zstd', br: 'br', gz: 'gzip' };
const MAGICS: ReadonlyArray<readonly [Encoding, Buffer]> = [
  ['xz', Buffer.from('fd377a585a00', 'hex')],
  ['zstd', Buffer.from('28b52ffd', 'hex')],
  ['gzip', Buffer.from('1f8b08', 'hex')],
  // The length 13 and "nix-archive-1": how every NAR begins.
  ['identity', Buffer.from('0d000000000000006e69782d617263686976652d31', 'hex')],
];
const NAR_URL = /^nar\/([0-9a-z]+)\.nar(?:\.([a-z0-9]+))?$/;

/** The SHA-256, in hex, of the file that is put under this URL; null for a URL of another shape. */
export const fileHashOf = (url: string): string | null => {
  const name = NAR_URL.exec(url)?.[1] ?? '';
  return isNix32Sha256(name) ? (decodeNix32(name)?.toString('hex') ?? null) : null;
};

/** `invite` is called once nothing speaks against the body. */
export const takeNar = async (
  ports: OwnNarPorts,
  cache: string,
  url: string,
  request: IncomingMessage,
  invite: () => void,
): Promise<UploadAnswer> => {
  const extension = NAR_URL.exec(url)?.[2];
  const fileHash = fileHashOf(url);
  if (fileHash === null) {
    return refusal(400, 'a NAR is put as nar/<SHA-256 of the file in Nix base 32>.nar[.<compression>]');
  }
  const named = extension !== undefined && Object.hasOwn(EXTENSIONS, extension) ? EXTENSIONS[extension] : undefined;
  if (extension !== undefined && (named === undefined || !canDecode(named))) {
    return refusal(400, `.${extension} can't be proven: use compression=${provableWords()}`);
  }
  const fileBytes = Number(request.headers['content-length'] ?? Number.NaN);
  if (!Number.isSafeInteger(fileBytes)) return refusal(411, 'a NAR needs its full Content-Length');
  if (fileBytes > ports.maxDecodedBytes) return refusal(413, 'the NAR is larger than the store');
  invite();
  const form = await deposit(ports, {
    fileHash,
    fileBytes,
    bytes: uploadBody(request),
    abort: () => request.destroy(),
    encodingOf: (head) =>
      named ?? MAGICS.find(([, magic]) => head.subarray(0, magic.length).equals(magic))?.[0] ?? null,
  });
  await ports.pending.add(cache, url, form, { fileHash, fileBytes });
  return STORED;
};
