// The resource names and digests that bazel-remote accepts.

import type { BlobDigest } from '../../../src/bazel/batch-envelope.ts';
import { invalid } from './status.ts';

export interface Named {
  readonly instance: string;
  readonly digest: BlobDigest;
  readonly encoding: 'identity' | 'zstd';
}

const emptyHash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** Returns it as it is. */
export const checkDigest = (digest: BlobDigest): BlobDigest => {
  const { hash, sizeBytes } = digest;
  if (!/^[0-9a-f]{64}$/.test(hash)) throw invalid(`Malformed hash: ${hash}`);
  if (sizeBytes < 0 || (sizeBytes === 0 && hash !== emptyHash)) throw invalid(`Invalid size for ${hash}: ${sizeBytes}`);
  return digest;
};

const parse = (name: string, segments: readonly string[], at: number, isWrite: boolean): Omit<Named, 'instance'> => {
  const isCompressed = segments[at] === 'compressed-blobs';
  const rest = segments.slice(at + 1);
  if (isCompressed && rest.shift() !== 'zstd') throw invalid(`Unsupported compressor: ${name}`);
  const [hash = '', size = '', ...others] = rest;
  if (!/^\d+$/.test(size) || (others.length > 0 && !isWrite)) throw invalid(`Unable to parse resource name: ${name}`);
  return { digest: checkDigest({ hash, sizeBytes: Number(size) }), encoding: isCompressed ? 'zstd' : 'identity' };
};

const isBlobs = (segment: string | undefined): boolean => segment === 'blobs' || segment === 'compressed-blobs';

/** `[instance/]blobs/<hash>/<size>` or `[instance/]compressed-blobs/zstd/<hash>/<size>`, and nothing after. */
export const parseReadName = (name: string): Named => {
  const segments = name.split('/');
  const at = segments.findIndex(isBlobs);
  if (at < 0) throw invalid(`Unable to parse resource name: ${name}`);
  return { instance: segments.slice(0, at).join('/'), ...parse(name, segments, at, false) };
};

/** `[instance/]uploads/<any>/blobs/…` or `…/compressed-blobs/zstd/…`, and anything after. */
export const parseWriteName = (name: string): Named => {
  const segments = name.split('/');
  const at = segments.indexOf('uploads');
  if (at < 0 || !isBlobs(segments[at + 2])) throw invalid(`Unable to parse resource name: ${name}`);
  return { instance: segments.slice(0, at).join('/'), ...parse(name, segments, at + 2, true) };
};
