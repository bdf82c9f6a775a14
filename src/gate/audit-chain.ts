// The chain of an audit log as pure functions: sealing a row, and finding the first that is not as it was sealed.

import { createHash } from 'node:crypto';

/** What a row tells. Texts may be an operator's own; none of them is a secret. */
export interface AuditEntry {
  /** The name of a token, `loopback`, or `cleanmiss` for what it did by itself. */
  readonly by: string;
  /** `quarantine.on`, `quarantine.off`, `quarantine.expired`, `incident.opened`, `incident.acked`, … */
  readonly action: string;
  /** A quarantine's scope, or an incident's id. */
  readonly subject: string;
  /** A reason, a note, a class. */
  readonly text: string | null;
  readonly before?: object | null;
  readonly after?: object | null;
}

export interface AuditRow extends AuditEntry {
  /** From 1, without a gap. */
  readonly seq: number;
  /** ISO 8601. */
  readonly at: string;
  /** The hash of the row before; of the first, `GENESIS`. */
  readonly prev: string;
  /** SHA-256 of the row's JSON without this field. */
  readonly hash: string;
}

export interface Head {
  readonly seq: number;
  readonly hash: string;
}

export const GENESIS = '0'.repeat(64);

const hashOf = (row: Omit<AuditRow, 'hash'>): string => createHash('sha256').update(JSON.stringify(row)).digest('hex');

export const sealRow = (entry: AuditEntry, { seq, hash }: Head, nowMs: number): AuditRow => {
  const { by, action, subject, text, before, after } = entry;
  const row = {
    seq: seq + 1,
    at: new Date(nowMs).toISOString(),
    by,
    action,
    subject,
    text,
    ...(before !== undefined && { before }),
    ...(after !== undefined && { after }),
    prev: hash,
  };
  return { ...row, hash: hashOf(row) };
};

/** Null where the line is no row at all. Whether it is the row that was written is `verifyRows`' to say. */
export const readRow = (line: string): AuditRow | null => {
  try {
    const row: unknown = JSON.parse(line);
    const isRow =
      typeof row === 'object' &&
      row !== null &&
      'seq' in row &&
      Number.isSafeInteger(row.seq) &&
      'prev' in row &&
      typeof row.prev === 'string' &&
      'hash' in row &&
      typeof row.hash === 'string';
    // The fields that the chain rests on are there; the others are the hash's to vouch for.
    return isRow ? (row as AuditRow) : null;
  } catch {
    return null;
  }
};

export interface Verified {
  /** Lines that were looked at. */
  readonly rows: number;
  /** What the next row is chained to, broken or not. */
  readonly head: Head;
  /** The first that is not as it was sealed; `line` counts from 1. */
  readonly broken: { readonly line: number; readonly detail: string } | null;
}

const faultOf = (line: string, row: AuditRow | null, before: Head): string | null => {
  if (row === null) return 'it is no row';
  const { hash, ...sealed } = row;
  if (hashOf(sealed) !== hash || JSON.stringify(row) !== line) return 'its content is not what its hash says';
  if (row.seq !== before.seq + 1) return `row ${row.seq} follows row ${before.seq}`;
  return row.prev === before.hash ? null : 'it is not chained to the row before';
};

/** Reads all of them, whatever it finds. */
export const verifyRows = async (lines: AsyncIterable<string> | Iterable<string>): Promise<Verified> => {
  let rows = 0;
  let head: Head = { seq: 0, hash: GENESIS };
  let broken: Verified['broken'] = null;
  for await (const line of lines) {
    rows++;
    const row = readRow(line);
    const detail = faultOf(line, row, head);
    if (broken === null && detail !== null) broken = { line: rows, detail };
    // Behind a line that is no row the numbers go on, so that what is written next is not broken too.
    head = row === null ? { seq: head.seq + 1, hash: head.hash } : { seq: row.seq, hash: row.hash };
  }
  return { rows, head, broken };
};
