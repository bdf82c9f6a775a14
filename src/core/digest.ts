// A digest names decoded bytes by content: their SHA-256 and their length.

/** SHA-256 (64 lower-case hex digits) and length of decoded bytes. */
export interface Digest {
  readonly sha256: string;
  readonly sizeBytes: number;
}

export const isSha256Hex = (text: string): boolean => /^[0-9a-f]{64}$/.test(text);

/** The key of a digest in maps and file names: `<sha256>-<size>`. */
export const digestKey = (digest: Digest): string => `${digest.sha256}-${digest.sizeBytes}`;

/** What metadata names. The size is null where only a hash was named, as by a pinned URL whose narinfo we no longer have. */
export interface NamedDigest {
  readonly sha256: string;
  readonly sizeBytes: number | null;
}

export const isWhole = (digest: NamedDigest): digest is Digest => digest.sizeBytes !== null;
