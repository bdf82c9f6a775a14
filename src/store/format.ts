// The number of the layout on disk: a newer one is left alone, an older one is read again and renumbered.

import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CleanmissError, isCode } from '../core/errors.ts';
import { DirectorySyncs } from './directory-syncs.ts';
import { asDiskError, systemFiles } from './files.ts';
import { publish } from './publish.ts';

/** Raise it when older code would misread what is written now; footers and records keep their own checks besides. */
const FORMAT = 1;

/**
 * For the owner of `dir`, before any store in it is opened. Rejects with code FORMAT when the directory was written by
 * a newer cleanmiss, or says nothing that can be read: only an operator knows then what may be lost.
 * `older` (or files without a FORMAT) needs no more than opening the stores: both build their index by a scan, and
 * each file proves itself when it is first used.
 */
export const settleFormat = async (dir: string): Promise<'new' | 'same' | 'older'> => {
  const path = join(dir, 'FORMAT');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (isCode(error, 'ENOENT')) return undefined;
    throw asDiskError(`cannot read ${path}`, error);
  });
  const found = text === undefined ? undefined : /^\d{1,9}$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (found === FORMAT) return 'same';
  if (found !== undefined && !(found < FORMAT))
    throw new CleanmissError(
      'FORMAT',
      'client',
      `${path} says ${JSON.stringify(text?.slice(0, 20).trim())}, this cleanmiss knows ${FORMAT}: ` +
        'run the version that wrote it, or empty the directory',
    );
  try {
    const isEmpty = found === undefined && !(await readdir(dir)).some((name) => /^(forms|records|ledger)$/.test(name));
    const temporary = `${path}.new`;
    await rm(temporary, { force: true });
    await publish({
      files: systemFiles,
      temporary,
      path,
      pieces: [Buffer.from(`${FORMAT}\n`)],
      syncs: new DirectorySyncs(),
      isDurable: true,
    });
    return isEmpty ? 'new' : 'older';
  } catch (error) {
    throw asDiskError(`cannot write ${path}`, error);
  }
};
