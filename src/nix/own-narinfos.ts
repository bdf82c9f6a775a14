// Takes a narinfo into our own store when its NAR is here and agrees with it: both are visible from then on.

import type { Obtainer } from '../proof/obtain.ts';
import type { ProvenForm } from '../store/form.ts';
import type { FormStore } from '../store/forms.ts';
import type { Ledger } from '../store/ledger.ts';
import type { Records } from '../store/records.ts';
import type { Turns } from '../store/turns.ts';
import { encodingOf, isNarinfo, type Narinfo, parseNarinfo } from './narinfo.ts';
import type { NarinfoRecords } from './narinfo-records.ts';
import { ownInfoKey, promisedClaim } from './own-cache.ts';
import { fileHashOf } from './own-nars.ts';
import type { PendingNars } from './pending.ts';
import { isSignedBy, type TrustedKeys } from './signature.ts';
import { refusal, STORED, type UploadAnswer } from './upload-answer.ts';

export interface OwnNarinfoPorts {
  readonly forms: FormStore;
  readonly records: NarinfoRecords;
  readonly infos: Records;
  readonly ledger: Ledger;
  readonly pending: PendingNars;
  readonly obtainer: Obtainer;
  readonly trustedKeys: TrustedKeys | null;
  /** Of two contents that are put under one path at once, the second must find the first. */
  readonly turns: Turns;
}

export const takeNarinfo = async (
  ports: OwnNarinfoPorts,
  cache: string,
  storeHash: string,
  text: string,
): Promise<UploadAnswer> => {
  const narinfo = parseNarinfo(text, storeHash);
  if (!isNarinfo(narinfo)) return refusal(400, `the narinfo is ${narinfo.kind}: ${narinfo.detail}`);
  if (ports.trustedKeys !== null && !narinfo.isContentAddressed && !isSignedBy(narinfo, ports.trustedKeys)) {
    return refusal(403, 'the narinfo is signed by none of nix.trustedKeys');
  }
  return await ports.turns.run(`${cache}\n${storeHash}`, () => publish(ports, cache, storeHash, narinfo));
};

const publish = async (
  ports: OwnNarinfoPorts,
  cache: string,
  storeHash: string,
  narinfo: Narinfo,
): Promise<UploadAnswer> => {
  if (await isTaken(ports, cache, storeHash, narinfo)) {
    return refusal(409, `${narinfo.storePath} is stored here with other content`);
  }
  const waiting = ports.pending.find(cache, narinfo.url);
  const fault = await narFault(ports, cache, narinfo);
  if (fault !== null) return refusal(400, fault);
  await ports.ledger.add(cache, narinfo.nar);
  await ports.records.put(cache, storeHash, narinfo, narinfo.url);
  await learnStoreDir(ports, cache, narinfo);
  if (waiting !== undefined) await ports.pending.remove(waiting);
  return STORED;
};

/** By other content, which is still here. */
const isTaken = async (
  { records, obtainer }: OwnNarinfoPorts,
  cache: string,
  storeHash: string,
  { nar }: Narinfo,
): Promise<boolean> => {
  const stored = (await records.find(cache, storeHash))?.promised[0];
  if (stored === undefined || (stored.sha256 === nar.sha256 && stored.sizeBytes === nar.sizeBytes)) return false;
  const claim = promisedClaim(cache, storeHash, stored);
  return claim !== undefined && (await obtainer.held(claim)) !== undefined;
};

/** What is wrong between a narinfo and the NAR that it names; null when both agree. */
const narFault = async (ports: OwnNarinfoPorts, cache: string, narinfo: Narinfo): Promise<string | null> => {
  const { nar, encoding, fileHash, fileSize, url } = narinfo;
  const waiting = ports.pending.find(cache, url);
  const form = await (waiting
    ? ports.forms.find(waiting.digest, waiting.encoding)
    : visibleForm(ports, cache, narinfo));
  if (form === undefined) return 'its NAR is not here: put that first';
  if (form.digest.sha256 !== nar.sha256) return 'NarHash is not that of its NAR';
  if (form.digest.sizeBytes !== nar.sizeBytes) return 'NarSize is not that of its NAR';
  if (form.encoding !== encoding) return 'Compression is not that of its NAR';
  const named = fileHashOf(url);
  if (fileHash !== null && fileHash !== named) return 'FileHash is not that of its NAR';
  // Another file of the same NAR may be what we hold: it came first.
  const fileBytes = waiting?.fileBytes ?? (form.fileHash === named ? form.fileBytes : null);
  if (fileSize !== null && fileBytes !== null && fileSize !== fileBytes) return 'FileSize is not that of its NAR';
  return null;
};

/** Two paths with one content share a NAR, which Nix puts once. */
const visibleForm = async (
  ports: OwnNarinfoPorts,
  cache: string,
  narinfo: Narinfo,
): Promise<ProvenForm | undefined> => {
  const other = await ports.records.storeHashOf(cache, narinfo.url);
  const record = other === undefined ? undefined : await ports.records.find(cache, other);
  const promise = record?.promised.find(
    (one) => one.sha256 === narinfo.nar.sha256 && encodingOf(one.compression) === narinfo.encoding,
  );
  const claim = other === undefined || promise === undefined ? undefined : promisedClaim(cache, other, promise);
  return claim && (await ports.obtainer.held(claim));
};

/** The first push says which store this cache is for, unless the client has put it in nix-cache-info already. */
const learnStoreDir = async ({ infos }: OwnNarinfoPorts, cache: string, narinfo: Narinfo): Promise<void> => {
  if ((await infos.get(ownInfoKey(cache))) !== undefined) return;
  const storeDir = narinfo.storePath.slice(0, narinfo.storePath.lastIndexOf('/'));
  await infos.put(ownInfoKey(cache), `StoreDir: ${storeDir}\nWantMassQuery: 1\nPriority: 30\n`);
};
