// `cleanmiss audit verify`: whether the audit log is, row for row, what was written.

import { resolve } from 'node:path';
import { askAdmin } from '../admin/client.ts';
import { CleanmissError } from '../core/errors.ts';
import { linesOf } from '../gate/audit.ts';
import { verifyRows } from '../gate/audit-chain.ts';
import { addressOf } from './admin-address.ts';
import { asJson, FINDINGS, FINE, type Options, type Shell } from './shell.ts';

const PAGE_ROWS = 1_000;

/** The rows that a running cleanmiss gives out, as lines. */
async function* rowsOf(options: Options, shell: Shell): AsyncGenerator<string> {
  const hashes = new Set<unknown>([null]);
  const address = addressOf(options, shell);
  for (let after = 0; ; ) {
    const page = await askAdmin(address, `/v1/audit?after=${after}&limit=${PAGE_ROWS}`);
    if (!('rows' in page && Array.isArray(page.rows))) {
      throw new CleanmissError('UNREACHABLE', 'upstream', `${options['admin']} is no cleanmiss`);
    }
    for (const row of page.rows) {
      yield JSON.stringify(row);
      hashes.add(row?.hash);
      after = Math.max(after, Number(row?.seq) || after + 1);
    }
    if (page.rows.length === PAGE_ROWS) continue;
    // A last row that is gone breaks no chain: only who wrote it knows.
    if ('head' in page && !hashes.has(page.head)) yield `the row ${page.head} is missing`;
    return;
  }
}

/** `--file`: a log of a cleanmiss that does not run, or a copy that was kept elsewhere. */
export const runAuditVerify = async (options: Options, shell: Shell): Promise<number> => {
  const { file } = options;
  const lines = file === undefined ? rowsOf(options, shell) : linesOf(resolve(shell.cwd, String(file)));
  const { rows, head, broken } = await verifyRows(lines);
  const found = { ok: broken === null, rows, head: rows === 0 ? null : head.hash, broken };
  const text =
    broken === null
      ? `${rows} rows, each as it was written; head ${found.head ?? 'none'}\n`
      : `row ${broken.line} is broken: ${broken.detail}\n`;
  shell.say(options['json'] === true ? asJson(found) : text);
  return broken === null ? FINE : FINDINGS;
};
