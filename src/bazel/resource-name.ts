// Reads the resource names of ByteStream, whose forms REAPI gives above `service ContentAddressableStorage`.

import type { Digest } from '../core/digest.ts';
import { invalid } from './call-error.ts';
import { readDigest } from './digest.ts';

export type BlobEncoding = 'identity' | 'zstd';

export interface ResourceName {
  /** Everything before, slashes and all; may be empty. */
  readonly instance: string;
  readonly digest: Digest;
  /** How its bytes are encoded on the wire. */
  readonly encoding: BlobEncoding;
}

const READ = '[instance/]blobs/<hash>/<size> or [instance/]compressed-blobs/zstd/<hash>/<size>';
const WRITE = `[instance/]uploads/<uuid>/… with ${READ.replaceAll('[instance/]', '')}`;
/** Nobody's instance is longer; a name is a key in maps and records. */
const MAX_INSTANCE_CHARACTERS = 1024;

/** Throws INVALID_ARGUMENT with what is accepted. */
export const readReadName = (name: string): ResourceName => {
  const segments = name.split('/');
  const at = segments.findIndex(isBlobs);
  const { rest, ...found } = readBlob(segments, at, READ);
  if (rest.length > 0) throw invalid(`a resource name must be ${READ}, and nothing behind it`);
  return found;
};

/** The same for uploads; what follows the size is the client's own. */
export const readWriteName = (name: string): ResourceName => {
  const segments = name.split('/');
  const uploads = segments.findIndex((segment, at) => segment === 'uploads' && isBlobs(segments[at + 2]));
  if (uploads < 0) throw invalid(`an upload's resource name must be ${WRITE}`);
  const { rest: _, ...found } = readBlob(segments, uploads + 2, WRITE);
  return { ...found, instance: readInstance(segments.slice(0, uploads).join('/')) };
};

/** Throws INVALID_ARGUMENT where no cache has such an instance. */
export const readInstance = (instance: string): string => {
  if (instance.length > MAX_INSTANCE_CHARACTERS) throw invalid('an instance name is too long');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that no name may have.
  if (/[\x00-\x1f\x7f]/.test(instance)) throw invalid('an instance name holds control characters');
  return instance;
};

const isBlobs = (segment: string | undefined): boolean => segment === 'blobs' || segment === 'compressed-blobs';

const readBlob = (
  segments: readonly string[],
  at: number,
  accepted: string,
): ResourceName & { readonly rest: readonly string[] } => {
  if (at < 0) throw invalid(`a resource name must be ${accepted}`);
  const isCompressed = segments[at] === 'compressed-blobs';
  if (isCompressed && segments[at + 1] !== 'zstd')
    throw invalid(`a compressor must be zstd: a resource name must be ${accepted}`);
  const [hash, size, ...rest] = segments.slice(at + (isCompressed ? 2 : 1));
  if (hash !== undefined && /^(blake3|sha1|sha384|sha512|md5|vso|murmur3|sha256tree|gitsha1)$/i.test(hash))
    throw invalid(`digest function ${hash} is not served here: use SHA256`);
  if (hash === undefined || size === undefined || !/^\d{1,16}$/.test(size))
    throw invalid(`a resource name must be ${accepted}`);
  return {
    instance: readInstance(segments.slice(0, at).join('/')),
    digest: readDigest({ hash, sizeBytes: Number(size) }),
    encoding: isCompressed ? 'zstd' : 'identity',
    rest,
  };
};

/** The name under which a blob is read. */
export const readName = ({ instance, digest, encoding }: ResourceName): string =>
  prefixed(instance, blobPath(digest, encoding));

/** The name under which a blob is written; `uuid` tells one upload from another. */
export const writeName = ({ instance, digest, encoding }: ResourceName, uuid: string): string =>
  prefixed(instance, `uploads/${uuid}/${blobPath(digest, encoding)}`);

const prefixed = (instance: string, path: string): string => (instance === '' ? path : `${instance}/${path}`);

const blobPath = ({ sha256, sizeBytes }: Digest, encoding: BlobEncoding): string =>
  `${encoding === 'zstd' ? 'compressed-blobs/zstd' : 'blobs'}/${sha256}/${sizeBytes}`;
