// Takes what `nix copy --to` puts when there is no upstream: a NAR is proven to itself, a narinfo against its NAR.

import type { IncomingMessage } from 'node:http';
import type { Encoding } from '../core/claim.ts';
import { CleanmissError, isCode } from '../core/errors.ts';
import { deposit, type DepositPorts } from '../proof/deposit.ts';
import type { Obtainer } from '../proof/obtain.ts';
import type { Ledger } from '../store/ledger.ts';
import type { RecordStore } from '../store/records.ts';
import { mendCacheInfo } from './cache-infos.ts';
import { encodingOf, isNarinfo, type Narinfo, parseNarinfo } from './narinfo.ts';
import type { NarinfoRecords } from './narinfo-records.ts';
import { decodeNix32, isNix32Sha256 } from './nix32.ts';
import { ownInfoKey, promisedClaim } from './own-cache.ts';
import type { PendingNars } from './pending.ts';
import { isSignedBy, type TrustedKeys } from './signature.ts';
import type { Target } from './target.ts';

export interface OwnUploadPorts extends DepositPorts {
  readonly records: NarinfoRecords;
  readonly infos: RecordStore;
  readonly ledger: Ledger;
  readonly pending: PendingNars;
  readonly obtainer: Obtainer;
  readonly trustedKeys: TrustedKeys | null;
}

/** What the client is told; Nix prints it for every 4xx. */
export interface UploadAnswer {
  readonly status: number;
  readonly text: string;
}

const MAX_NARINFO_BYTES = 1024 * 1024;
const MAX_EXTRA_BYTES = 3 * 1024 * 1024;
const STORED: UploadAnswer = { status: 201, text: 'stored\n' };

const refusal = (status: number, text: string): UploadAnswer => ({ status, text: `${text}\n` });

export const extraKey = (cache: string, url: string): string => `extra\n${cache}\n${url}`;

/** Takes a PUT. Rejects only when the connection breaks off: nothing is kept then. */
export const takeUpload = async (ports: OwnUploadPorts, target: Target, request: IncomingMessage): Promise<UploadAnswer> => {
  try {
    switch (target.kind) {
      case 'nar':
        return await takeNar(ports, target.cache, target.url, request);
      case 'narinfo':
        return await takeNarinfo(ports, target.cache, target.storeHash, await readText(request, MAX_NARINFO_BYTES));
      case 'cache-info':
        await ports.infos.put(ownInfoKey(target.cache), mendCacheInfo(await readText(request, MAX_NARINFO_BYTES)));
        return STORED;
      case 'extra':
        await ports.infos.put(extraKey(target.cache, target.url), await readText(request, MAX_EXTRA_BYTES));
        return STORED;
      default:
        return refusal(404, 'only NARs, narinfos, nix-cache-info, listings, logs and realisations are stored here');
    }
  } catch (error) {
    if (isCode(error, 'WRONG_UPLOAD')) return refusal(400, (error as CleanmissError).message);
    // Never a 5xx: it makes Nix send the body again and again, and Nix 2.8 hang.
    if (isCode(error, 'BUSY') || isCode(error, 'DISK')) return refusal(403, 'the store has no room for this now; nothing was stored');
    throw error;
  }
};

/** By extension, else by magic: Nix puts gzip under a plain `.nar` too. */
const EXTENSIONS: Readonly<Record<string, Encoding>> = { xz: 'xz', zst: 'zstd', zstd: 'zstd', br: 'br', gz: 'gzip' };
const MAGICS: ReadonlyArray<readonly [Encoding, Buffer]> = [
  ['xz', Buffer.from('fd377a585a00', 'hex')],
  ['zstd', Buffer.from('28b52ffd', 'hex')],
  ['gzip', Buffer.from('1f8b08', 'hex')],
  // The length 13 and "nix-archive-1": how every NAR begins.
  ['identity', Buffer.from('0d000000000000006e69782d617263686976652d31', 'hex')],
];

const takeNar = async (ports: OwnUploadPorts, cache: string, url: string, request: IncomingMessage): Promise<UploadAnswer> => {
  const [, name, extension] = /^nar\/([0-9a-z]+)\.nar(?:\.([a-z0-9]+))?$/.exec(url) ?? [];
  const fileHash = name !== undefined && isNix32Sha256(name) ? decodeNix32(name) : null;
  if (fileHash === null) return refusal(400, 'a NAR is put as nar/<SHA-256 of the file in Nix base 32>.nar[.<compression>]');
  if (extension !== undefined && !Object.hasOwn(EXTENSIONS, extension)) {
    return refusal(400, `.${extension} can't be proven: use compression=none, zstd, xz, gzip or br`);
  }
  const fileBytes = Number(request.headers['content-length'] ?? Number.NaN);
  if (!Number.isSafeInteger(fileBytes)) return refusal(411, 'a NAR needs its full Content-Length');
  if (fileBytes > ports.maxDecodedBytes) return refusal(413, 'the NAR is larger than the store');
  const form = await deposit(ports, {
    fileHash: fileHash.toString('hex'),
    fileBytes,
    // An answer must still be able to leave when the rest of the body is not wanted.
    bytes: request.iterator({ destroyOnReturn: false }),
    abort: () => request.destroy(),
    encodingOf: (head) =>
      (extension === undefined ? undefined : EXTENSIONS[extension]) ??
      MAGICS.find(([, magic]) => head.subarray(0, magic.length).equals(magic))?.[0] ??
      null,
  });
  await ports.pending.add(cache, url, form, { fileHash: fileHash.toString('hex'), fileBytes });
  return STORED;
};

const takeNarinfo = async (ports: OwnUploadPorts, cache: string, storeHash: string, text: string): Promise<UploadAnswer> => {
  const narinfo = parseNarinfo(text, storeHash);
  if (!isNarinfo(narinfo)) return refusal(400, `the narinfo is ${narinfo.kind}: ${narinfo.detail}`);
  if (ports.trustedKeys !== null && !narinfo.isContentAddressed && !isSignedBy(narinfo, ports.trustedKeys)) {
    return refusal(403, 'the narinfo is signed by none of nix.trustedKeys');
  }
  const before = await ports.records.find(cache, storeHash);
  const stored = before?.promised[0];
  const storedClaim = stored === undefined ? undefined : promisedClaim(cache, storeHash, stored);
  const isHeld = storedClaim !== undefined && (await ports.obtainer.held(storedClaim)) !== undefined;
  if (isHeld && stored !== undefined && (stored.sha256 !== narinfo.nar.sha256 || stored.sizeBytes !== narinfo.nar.sizeBytes)) {
    return refusal(409, `${narinfo.storePath} is stored here with other content`);
  }
  const fault = await narFault(ports, cache, narinfo);
  if (fault !== null) return refusal(400, fault);
  const waiting = ports.pending.find(cache, narinfo.url);
  await ports.ledger.add(cache, narinfo.nar);
  await ports.records.put(cache, storeHash, narinfo, narinfo.url);
  await learnStoreDir(ports, cache, narinfo);
  if (waiting !== undefined) await ports.pending.remove(waiting);
  return STORED;
};

/** What is wrong between a narinfo and the NAR that it names; null when both agree. */
const narFault = async (ports: OwnUploadPorts, cache: string, narinfo: Narinfo): Promise<string | null> => {
  const { nar, encoding, fileHash, fileSize, url } = narinfo;
  const waiting = ports.pending.find(cache, url);
  if (waiting === undefined) return (await isVisible(ports, cache, narinfo)) ? null : 'its NAR is not here: put that first';
  if (waiting.digest.sha256 !== nar.sha256) return 'NarHash is not that of its NAR';
  if (waiting.digest.sizeBytes !== nar.sizeBytes) return 'NarSize is not that of its NAR';
  if (waiting.encoding !== encoding) return 'Compression is not that of its NAR';
  if (fileHash !== null && fileHash !== waiting.fileHash) return 'FileHash is not that of its NAR';
  if (fileSize !== null && fileSize !== waiting.fileBytes) return 'FileSize is not that of its NAR';
  return null;
};

/** Two paths with one content share a NAR, which Nix puts once. */
const isVisible = async (ports: OwnUploadPorts, cache: string, narinfo: Narinfo): Promise<boolean> => {
  const other = await ports.records.storeHashOf(cache, narinfo.url);
  const record = other === undefined ? undefined : await ports.records.find(cache, other);
  const promise = record?.promised.find((one) => one.sha256 === narinfo.nar.sha256 && encodingOf(one.compression) === narinfo.encoding);
  const claim = other === undefined || promise === undefined ? undefined : promisedClaim(cache, other, promise);
  return claim?.digest.sizeBytes === narinfo.nar.sizeBytes && (await ports.obtainer.held(claim)) !== undefined;
};

/** The first push says which store this cache is for, unless the client has put it in nix-cache-info already. */
const learnStoreDir = async ({ infos }: OwnUploadPorts, cache: string, narinfo: Narinfo): Promise<void> => {
  if ((await infos.get(ownInfoKey(cache))) !== undefined) return;
  const storeDir = narinfo.storePath.slice(0, narinfo.storePath.lastIndexOf('/'));
  await infos.put(ownInfoKey(cache), `StoreDir: ${storeDir}\nWantMassQuery: 1\nPriority: 30\n`);
};

const readText = async (request: IncomingMessage, maxBytes: number): Promise<string> => {
  const expected = request.headers['content-length'];
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > maxBytes) throw new CleanmissError('WRONG_UPLOAD', 'client', `the body is longer than ${maxBytes} bytes`);
    pieces.push(piece);
  }
  if (expected !== undefined && bytes !== Number(expected)) throw new CleanmissError('WRONG_UPLOAD', 'client', 'the body was cut');
  return Buffer.concat(pieces).toString('utf8');
};
