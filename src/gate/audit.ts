// Who changed what of the gate, and when: rows that are only ever added, each sealed with the hash of the one before.

import { createReadStream } from 'node:fs';
import { open, stat, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import type { Clock } from '../core/clock.ts';
import { isCode } from '../core/errors.ts';
import { scrub } from '../core/scrub.ts';
import { type AuditEntry, type AuditRow, GENESIS, type Head, readRow, sealRow, verifyRows } from './audit-chain.ts';
import { InTurn } from './in-turn.ts';
import { type OpenFile, syncDirectory, unwritable } from './state-dir.ts';

export interface AuditPorts {
  /** The file; made with its first row. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: { warn(fields: object, message: string): void };
  /** Tests replace it, to have a disk that takes nothing. */
  readonly openFile?: OpenFile;
}

export class AuditLog {
  readonly #ports: AuditPorts;
  readonly #turns = new InTurn();
  #head: Head;
  /** Of the rows that are whole: behind them lies at most what a failed write left. */
  #bytes: number;
  #isTorn = false;

  private constructor(ports: AuditPorts, head: Head, bytes: number) {
    this.#ports = ports;
    this.#head = head;
    this.#bytes = bytes;
  }

  /**
   * Rejects where the file cannot be read. A last line without its end was never acknowledged, and goes; a chain that is
   * broken further up is logged and goes on: `audit verify` tells where, whenever it is asked.
   */
  static async open(ports: AuditPorts): Promise<AuditLog> {
    const { path, log } = ports;
    const size = await sizeOf(path);
    const bytes = size === 0 ? 0 : await wholeBytes(path, size);
    if (bytes < size) {
      log.warn({ path, bytes: size - bytes }, 'audit: the last row was not written whole, and goes');
      await truncate(path, bytes);
    }
    const found = await verifyRows(linesOf(path));
    if (found.broken !== null) log.warn({ path, ...found.broken }, 'audit: the chain is broken');
    return new AuditLog(ports, found.head, bytes);
  }

  /** The hash of the last row; null while there is none. */
  get head(): string | null {
    return this.#head.hash === GENESIS ? null : this.#head.hash;
  }

  /** On disk when it resolves. Rejects with STATE_UNWRITABLE; the row is not in the log then. */
  append(entry: AuditEntry): Promise<AuditRow> {
    return this.#turns.run(() => this.#append(entry));
  }

  /** Rows after `seq`, oldest first, `limit` of them at most. */
  async rows(afterSeq: number, limit: number): Promise<AuditRow[]> {
    const found: AuditRow[] = [];
    for await (const line of linesOf(this.#ports.path, this.#bytes)) {
      const row = readRow(line);
      if (row === null || row.seq <= afterSeq) continue;
      found.push(row);
      if (found.length >= limit) break;
    }
    return found;
  }

  async #append(entry: AuditEntry): Promise<AuditRow> {
    const { path, clock, openFile = open } = this.#ports;
    // Scrubbed before it is sealed: a note may quote a log line.
    const clean: AuditEntry = JSON.parse(scrub(JSON.stringify(entry)));
    const row = sealRow(clean, this.#head, clock.now());
    const line = Buffer.from(`${JSON.stringify(row)}\n`);
    try {
      if (this.#isTorn) await cut(path, this.#bytes);
      this.#isTorn = true;
      await using file = await openFile(path, 'a');
      await file.writeFile(line);
      await file.sync();
      if (this.#bytes === 0) await syncDirectory(openFile, dirname(path));
    } catch (error) {
      throw unwritable(path, error);
    }
    this.#isTorn = false;
    this.#bytes += line.length;
    this.#head = { seq: row.seq, hash: row.hash };
    return row;
  }
}

const sizeOf = async (path: string): Promise<number> => {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return 0;
    throw error;
  }
};

/** Takes away what a failed write left, if it left anything. */
const cut = (path: string, bytes: number): Promise<void> =>
  truncate(path, bytes).catch((error: unknown) => {
    if (!isCode(error, 'ENOENT')) throw error;
  });

/** Up to and with the last end of line. */
const wholeBytes = async (path: string, size: number): Promise<number> => {
  const BLOCK = 64 * 1024;
  await using file = await open(path, 'r');
  for (let end = size; end > 0; end -= BLOCK) {
    const start = Math.max(0, end - BLOCK);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
    const at = buffer.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (at >= 0) return start + at + 1;
  }
  return 0;
};

/** The lines of a log, the first `bytes` of it; none where there is no file. */
export async function* linesOf(path: string, bytes?: number): AsyncGenerator<string> {
  if (bytes === 0 || (await sizeOf(path)) === 0) return;
  const input = createReadStream(path, bytes === undefined ? {} : { end: bytes - 1 });
  try {
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  } finally {
    input.destroy();
  }
}
