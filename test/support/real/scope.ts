// What a test opens, its scope closes: also when the test fails.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A tap test, or anything else that runs its actions at its end, last one first. */
export interface Scope {
  teardown(action: () => unknown): void;
}

/** A new directory that goes with the scope. What still writes there must be ended by a later teardown. */
export const temporaryDirectory = async (scope: Scope, label: string): Promise<string> => {
  const directory = await mkdtemp(join(tmpdir(), `cleanmiss-${label}-`));
  // Retries: a killed builder may have one more file in the making.
  scope.teardown(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }));
  return directory;
};
