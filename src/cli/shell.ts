// What every command has of the world, and the exit codes that scripts rely on.

import { readFileSync } from 'node:fs';
import { isCode } from '../core/errors.ts';

export type Options = Readonly<Record<string, unknown>>;

export const FINE = 0;
/** Degraded, or findings. */
export const FINDINGS = 1;
export const USAGE = 2;
export const QUARANTINED = 3;
export const UNREACHABLE = 4;

/** Tests give another. */
export interface Shell {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** On standard output. */
  readonly say: (text: string) => void;
  /** On standard error. */
  readonly complain: (text: string) => void;
}

export const asJson = (value: unknown): string => `${JSON.stringify(value)}\n`;

export const readIfThere = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  }
};

/** Columns under their heads, for people; nothing at all where there is no row. */
export const table = (heads: readonly string[], rows: readonly (readonly string[])[]): string => {
  if (rows.length === 0) return '';
  const widths = heads.map((head, at) => Math.max(head.length, ...rows.map((row) => (row[at] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, at) => (at === cells.length - 1 ? cell : cell.padEnd(widths[at] ?? 0))).join('  ');
  return `${[heads, ...rows].map(line).join('\n')}\n`;
};
