// The file system as the store needs it: reads and writes that do not stop short, faults under our own codes.

import { type FileHandle, open, statfs } from 'node:fs/promises';
import { CleanmissError, isCode } from '../core/errors.ts';

/** The two calls that tests replace, to have a disk that is full or broken. */
export interface Files {
  open(path: string, flags: string): Promise<FileHandle>;
  statfs(path: string): Promise<{ readonly bavail: number; readonly bsize: number }>;
}

export const systemFiles: Files = {
  open: (path, flags) => open(path, flags),
  statfs: (path) => statfs(path),
};

/** Fills `buffer` from `position` on. Resolves with the bytes read: fewer than asked only where the file ends. */
export const readWhole = async (file: FileHandle, buffer: Buffer, position: number): Promise<number> => {
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
};

/** Writes every piece, one after the other, from `position` on. A nearly full disk takes a part, then says ENOSPC. */
export const writeWhole = async (file: FileHandle, pieces: readonly Buffer[], position: number): Promise<void> => {
  let at = position;
  for (let rest = pieces.filter((piece) => piece.length > 0); rest.length > 0; ) {
    const { bytesWritten } = await file.writev(rest, at);
    if (bytesWritten === 0) throw new CleanmissError('DISK', 'self', 'the disk took no byte');
    at += bytesWritten;
    rest = withoutFirst(rest, bytesWritten);
  }
};

const withoutFirst = (pieces: readonly Buffer[], bytes: number): Buffer[] => {
  let skipped = 0;
  return pieces.flatMap((piece) => {
    const from = Math.min(piece.length, bytes - skipped);
    skipped += from;
    return from === piece.length ? [] : [piece.subarray(from)];
  });
};

/** DISK, or BUSY where it is file descriptors that ran out. What is a CleanmissError already stays what it is. */
export const asDiskError = (what: string, cause: unknown): CleanmissError => {
  if (cause instanceof CleanmissError) return cause;
  const code = isCode(cause, 'EMFILE') || isCode(cause, 'ENFILE') ? 'BUSY' : 'DISK';
  return new CleanmissError(code, 'self', `${what}: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
};
