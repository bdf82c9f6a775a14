// A disk that takes nothing for as long as a test says so: a read-only or full one, for whoever opens files through it.

import { open } from 'node:fs/promises';
import type { OpenFile } from '../../src/gate/state-dir.ts';

export class BrokenDisk {
  isBroken = false;

  readonly open: OpenFile = (path, flags) => {
    if (this.isBroken && flags !== 'r') {
      return Promise.reject(
        Object.assign(new Error(`EROFS: read-only file system, open '${path}'`), { code: 'EROFS' }),
      );
    }
    return open(path, flags);
  };
}
