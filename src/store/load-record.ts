// Reads one record from disk, and tells what is not there from what cannot be read now.

import type { Files } from './files.ts';
import { readWhole } from './files.ts';
import { isLost } from './load-form.ts';
import { parseRecord, type Row } from './record-file.ts';

export type LoadedRecord =
  | { readonly kind: 'row'; readonly row: Row; readonly bytes: number; readonly usedAtMs: number }
  /** Missing, damaged, foreign or too long: its file is to be removed. */
  | { readonly kind: 'none' }
  | { readonly kind: 'unreadable'; readonly error: unknown };

export const loadRecord = async (files: Files, path: string, name: string, maxBytes: number): Promise<LoadedRecord> => {
  try {
    const file = await files.open(path, 'r');
    try {
      const { size, mtimeMs } = await file.stat();
      if (size > maxBytes) return { kind: 'none' };
      const bytes = Buffer.allocUnsafeSlow(size);
      const row = parseRecord(bytes.subarray(0, await readWhole(file, bytes, 0)), name);
      return row === undefined ? { kind: 'none' } : { kind: 'row', row, bytes: size, usedAtMs: mtimeMs };
    } finally {
      await file.close();
    }
  } catch (error) {
    return isLost(error) ? { kind: 'none' } : { kind: 'unreadable', error };
  }
};
