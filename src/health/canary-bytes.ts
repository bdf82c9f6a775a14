// A canary: 1 KiB that names its store and its bucket, and proves itself.

import { createHash } from 'node:crypto';

/** Small: it is read every five seconds from every bucket. */
export const CANARY_BYTES = 1024;

const heading = /^cleanmiss canary 1 store=([\w-]{1,64}) bucket=([\w.-]{1,255})\n/;

/** What lies in `bucket` of the store that is called `storeId`. */
export const canaryBytes = (storeId: string, bucket: string): Buffer => {
  const head = `cleanmiss canary 1 store=${storeId} bucket=${bucket}\n`;
  const filler = `${createHash('sha256').update(head).digest('hex')}\n`;
  return Buffer.from(head + filler.repeat(Math.ceil(CANARY_BYTES / filler.length))).subarray(0, CANARY_BYTES);
};

/** The store that these bytes name, if they are a canary of `bucket` to the last byte; else null. */
export const storeNamedBy = (bytes: Buffer, bucket: string): string | null => {
  const named = heading.exec(bytes.toString('latin1'));
  const storeId = named?.[1];
  if (storeId === undefined || named?.[2] !== bucket) return null;
  return bytes.equals(canaryBytes(storeId, bucket)) ? storeId : null;
};

export const canaryKey = (prefix: string): string => `${prefix}canary`;

/** Overwritten by every write proof, and never deleted: deletes are a known trigger. */
export const proofKey = (prefix: string): string => `${prefix}write-proof`;
