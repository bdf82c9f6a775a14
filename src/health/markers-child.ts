// The process that looks at the drive: where a volume hangs it hangs, and holds up no thread of ours.

import { opendirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isCode } from '../core/errors.ts';
import type { Marker } from './state.ts';

export interface Look {
  readonly id: number;
  readonly dir: string;
  readonly buckets: readonly string[];
}

export interface Looked {
  readonly id: number;
  readonly markers: readonly Marker[];
}

/** An empty directory is a volume that is not mounted, rather than one without buckets. */
const holdsAnything = (dir: string): boolean => {
  try {
    const opened = opendirSync(dir);
    try {
      return opened.readSync() !== null;
    } finally {
      opened.closeSync();
    }
  } catch {
    return false; // Absent, or not for us to read: either way we cannot look.
  }
};

const look = (dir: string, bucket: string): Marker => {
  try {
    return statSync(join(dir, bucket)).isDirectory() ? 'present' : 'absent';
  } catch (error) {
    return isCode(error, 'ENOENT') || isCode(error, 'ENOTDIR') ? 'absent' : 'unknown';
  }
};

process.on('message', ({ id, dir, buckets }: Look) => {
  const canLook = holdsAnything(dir);
  const markers = buckets.map((bucket): Marker => (canLook ? look(dir, bucket) : 'unknown'));
  process.send?.({ id, markers } satisfies Looked);
});
process.on('disconnect', () => process.exit());
