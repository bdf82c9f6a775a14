// The house rules hold in all of src/, and each of them is able to fail.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import t from 'tap';
import { houseViolations } from '../support/house-rules.ts';

const root = resolve(import.meta.dirname, '../..');
const src = join(root, 'src');

t.test('every file of src/ keeps the rules', (t) => {
  const files = readdirSync(src, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const broken = files.flatMap((entry) => {
    const file = join(entry.parentPath, entry.name);
    return houseViolations(relative(src, file).split(sep).join('/'), readFileSync(file, 'utf8'));
  });
  t.ok(files.length > 10, 'sources were found');
  t.strictSame(broken, []);
  t.end();
});

const rows: { reason: string; path: string; code: string; broken: RegExp | null }[] = [
  {
    reason: 'core imports nothing of ours',
    path: 'core/a.ts',
    code: "import { b } from '../codec/b.ts';",
    broken: /core must not import codec/,
  },
  {
    reason: 'core imports itself and node',
    path: 'core/a.ts',
    code: "import { b } from './b.ts';\nimport { c } from 'node:fs';",
    broken: null,
  },
  {
    reason: 'types count too',
    path: 'store/a.ts',
    code: "import type { B } from '../proof/b.ts';",
    broken: /store must not import proof/,
  },
  {
    reason: 'store and codec are strangers',
    path: 'store/a.ts',
    code: "import { b } from '../codec/b.ts';",
    broken: /store must not import codec/,
  },
  {
    reason: 'proof builds on both',
    path: 'proof/a.ts',
    code: "import { b } from '../codec/b.ts';\nimport type { C } from '../store/c.ts';",
    broken: null,
  },
  {
    reason: 'proof knows no gate',
    path: 'proof/a.ts',
    code: "import { b } from '../gate/b.ts';",
    broken: /proof must not import gate/,
  },
  {
    reason: 'fronts never meet',
    path: 'nix/a.ts',
    code: "import { b } from '../bazel/b.ts';",
    broken: /nix must not import bazel/,
  },
  {
    reason: 'a front knows no admin',
    path: 'nix/a.ts',
    code: "import { b } from '../admin/b.ts';",
    broken: /nix must not import admin/,
  },
  {
    reason: 'a front knows no config',
    path: 'nix/a.ts',
    code: "import type { Config } from '../config.ts';",
    broken: /nix must not import config/,
  },
  {
    reason: 'nobody imports the wiring',
    path: 'admin/a.ts',
    code: "import { b } from '../compose.ts';",
    broken: /admin must not import compose/,
  },
  {
    reason: 'many lines',
    path: 'core/a.ts',
    code: "import {\n  b,\n  c,\n} from\n  '../gate/b.ts';",
    broken: /core must not import gate/,
  },
  {
    reason: 're-export',
    path: 'core/a.ts',
    code: "export { b } from '../gate/b.ts';",
    broken: /core must not import gate/,
  },
  { reason: 'for its effects', path: 'core/a.ts', code: "import '../gate/b.ts';", broken: /core must not import gate/ },
  {
    reason: 'dynamic',
    path: 'core/a.ts',
    code: "const b = await import('../gate/b.ts');",
    broken: /core must not import gate/,
  },
  {
    reason: 'a type query',
    path: 'core/a.ts',
    code: "type B = import('../gate/b.ts').B;",
    broken: /core must not import gate/,
  },
  { reason: 'hidden target', path: 'core/a.ts', code: 'const b = await import(where);', broken: /no rule can see/ },
  {
    reason: 'a detour is no other arrow',
    path: 'core/a.ts',
    code: "import { b } from './../core/../gate/b.ts';",
    broken: /core must not import gate/,
  },
  {
    reason: 'a comment imports nothing',
    path: 'core/a.ts',
    code: "// import { b } from '../gate/b.ts';",
    broken: null,
  },
  { reason: 'a room that nobody drew', path: 'cache/a.ts', code: '', broken: /no room "cache"/ },
  {
    reason: 'compose sees all',
    path: 'compose.ts',
    code: "import { b } from './nix/b.ts';\nimport { c } from './admin/c.ts';",
    broken: null,
  },
  { reason: 'pipe', path: 'nix/a.ts', code: 'from.pipe(to);', broken: /pipeline/ },
  {
    reason: 'a front proves nothing',
    path: 'nix/a.ts',
    code: 'send(bytes as Proven<Buffer>);',
    broken: /call bytes proven/,
  },
  {
    reason: 'not by a detour either',
    path: 'nix/a.ts',
    code: 'send(form as unknown as ProvenForm);',
    broken: /call bytes proven/,
  },
  { reason: 'the store proves', path: 'store/a.ts', code: 'return bytes as Proven<Buffer>;', broken: null },
  { reason: 'global clock', path: 'proof/a.ts', code: 'const at = Date.now();', broken: /Clock/ },
  { reason: 'global timer', path: 'proof/a.ts', code: 'setTimeout(done, 5);', broken: /Clock/ },
  { reason: 'the clock itself', path: 'core/clock.ts', code: 'const at = Date.now();', broken: null },
  {
    reason: 'global environment',
    path: 'nix/a.ts',
    code: "const debug = process.env['DEBUG'];",
    broken: /environment/,
  },
  { reason: 'left over', path: 'nix/a.ts', code: '// TODO: later', broken: /finish it/ },
  { reason: 'drawer', path: 'nix/utils.ts', code: '', broken: /name it for its idea/ },
];

t.test('each rule can fail', (t) => {
  for (const { reason, path, code, broken } of rows) {
    const found = houseViolations(path, `// A file.\n${code}\n`);
    if (broken === null) t.strictSame(found, [], reason);
    else t.match(found, [broken], reason);
  }
  t.match(houseViolations('nix/a.ts', 'export const a = 1;\n'), [/first line/], 'a file that promises nothing');
  t.strictSame(houseViolations('cli.ts', '#!/usr/bin/env node\n// A file.\n'), [], 'a shebang goes first');
  t.end();
});

t.test('the linter refuses what the house leaves to it', (t) => {
  const dir = t.testdir({
    '.biome.json': readFileSync(join(root, '.biome.json'), 'utf8'),
    src: { 'a.ts': 'export default 1;\nexport const a = (b: any): unknown => b!;\nexport * from "./c.ts";\n' },
  });
  const linted = spawnSync(join(root, 'node_modules/.bin/biome'), ['lint', 'src'], { cwd: dir, encoding: 'utf8' });
  for (const rule of ['noDefaultExport', 'noExplicitAny', 'noNonNullAssertion', 'noReExportAll']) {
    t.match(linted.stderr, rule, rule);
  }
  t.equal(linted.status, 1);
  t.end();
});
