// One store path as a binary cache holds it: NAR, encoded body, narinfo, and the names under which they lie.

import type { Digest } from '../../src/core/digest.ts';
import { type Body, type BodyKind, encodeBody } from './encodings.ts';
import { digestOf, makeNar } from './nar.ts';
import { fingerprint, hashText, narinfoText, type SigningKey, storeDir, storeHash } from './narinfo.ts';
import { nix32 } from './nix32.ts';
import type { Seed } from './seeded.ts';

export interface CacheObject {
  /** The 32 characters of its store path. */
  readonly hash: string;
  readonly storePath: string;
  readonly nar: Buffer;
  /** Of the NAR: what its narinfo promises. */
  readonly digest: Digest;
  readonly body: Body;
  readonly narinfo: string;
  /** Below the cache's root. */
  readonly narinfoPath: string;
  readonly narPath: string;
}

export interface ObjectShape {
  readonly seed: Seed;
  readonly sizeBytes?: number;
  /** Instead of one made from the seed. */
  readonly nar?: Buffer;
  readonly kind?: BodyKind;
  /** `attic`: hex NarHash, no FileHash or FileSize, `nar/<store hash>.nar`. `nix`: as `nix copy --to` writes it. */
  readonly like?: 'attic' | 'nix';
  readonly name?: string;
  /** Base names of other store paths. */
  readonly references?: readonly string[];
  readonly key?: SigningKey;
  readonly ca?: string;
}

export const makeObject = async (shape: ObjectShape): Promise<CacheObject> => {
  const { seed, kind = 'zstd-many', like = 'attic', name = `hello-${seed}`, references = [] } = shape;
  const nar = shape.nar ?? makeNar({ seed, sizeBytes: shape.sizeBytes ?? 200_000 });
  const digest = digestOf(nar);
  const body = await encodeBody(nar, kind, { seed });
  const file = digestOf(body.bytes);
  const hash = storeHash(seed);
  const storePath = `${storeDir}/${hash}-${name}`;
  const fileName = like === 'attic' ? hash : nix32(Buffer.from(file.sha256, 'hex'));
  const narPath = `nar/${fileName}.nar${like === 'attic' ? '' : body.extension}`;
  const signed = { storePath, narSha256: digest.sha256, narSize: nar.length, references };
  const narinfo = narinfoText({
    storePath,
    url: narPath,
    compression: body.compression,
    ...(like === 'nix' && { fileHash: hashText(file.sha256, 'nix32'), fileSize: file.sizeBytes }),
    narHash: hashText(digest.sha256, like === 'attic' ? 'hex' : 'nix32'),
    narSize: nar.length,
    references,
    ...(shape.key && { sigs: [shape.key.sign(fingerprint(signed))] }),
    ...(shape.ca !== undefined && { ca: shape.ca }),
  });
  return {
    hash,
    storePath,
    nar,
    digest,
    body,
    narinfo,
    narinfoPath: `${hash}.narinfo`,
    narPath,
  };
};
