// A record as it lies on disk: JSON under a checksum, so that a damaged or foreign file is none.

import { hash } from 'node:crypto';

export interface Row {
  readonly key: string;
  readonly value: unknown;
}

/*
 * {"checksum":"<64 hex digits>","key":"…","value":…}
 * The checksum is the SHA-256 of all that follows its closing quote: the bytes themselves, so that reading needs no
 * second JSON.stringify.
 */
const HEAD = '{"checksum":"';
const REST_AT = HEAD.length + 64 + 1;

/** The name of a key's file. */
export const recordName = (key: string): string => hash('sha256', key);

export const isRecordName = (name: string): boolean => /^[0-9a-f]{64}\.json$/.test(name);

export const encodeRecord = (key: string, value: unknown): Buffer => {
  const rest = `,"key":${JSON.stringify(key)},"value":${JSON.stringify(value) ?? 'null'}}`;
  return Buffer.from(`${HEAD}${hash('sha256', rest)}"${rest}`);
};

/** Undefined when it is damaged, or not the record of `name`. */
export const parseRecord = (bytes: Buffer, name: string): Row | undefined => {
  const checksum = bytes.toString('latin1', HEAD.length, REST_AT - 1);
  if (bytes.length < REST_AT || hash('sha256', bytes.subarray(REST_AT)) !== checksum) return undefined;
  try {
    const row: unknown = JSON.parse(bytes.toString());
    return isRow(row) && recordName(row.key) === name ? row : undefined;
  } catch {
    return undefined;
  }
};

const isRow = (row: unknown): row is Row =>
  typeof row === 'object' && row !== null && 'key' in row && typeof row.key === 'string' && 'value' in row;
