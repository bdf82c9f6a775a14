// The README says what the code does: its table of keys is the schema's.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { configTable } from '../../src/config.ts';

t.test('the table of keys', async (t) => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const [, table] = /<!-- config table: [^\n]*-->\n([\s\S]*?)<!-- end of the config table -->/.exec(readme) ?? [];
  t.equal(table, configTable());
});
