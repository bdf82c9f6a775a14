// The generated types are those of proto/.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';

const root = resolve(import.meta.dirname, '../../..');
const folder = 'src/bazel/generated';

const contentOf = (dir: string): Record<string, string> => {
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(dir, name), 'utf8')]));
};

t.test('`npm run generate` would change nothing', async (t) => {
  const out = t.testdir({});
  const made = spawnSync('buf', ['generate', '--template', 'proto/buf.gen.yaml', '--output', out], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH']}` },
  });
  t.equal(made.status, 0, made.stderr);
  const fresh = contentOf(join(out, folder));
  t.equal(Object.keys(fresh).length, 5);
  t.strictSame(contentOf(join(root, folder)), fresh);
});
