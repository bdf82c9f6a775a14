// A workspace of forty actions that any Bazel runs from nothing but the machine's own programs, to bytes that depend on a
// salt alone: files, folders, printed text, one big output, one empty, and a chain.

import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { isCode } from '../../src/core/errors.ts';
import { type Scope, temporaryDirectory } from './real/scope.ts';

export interface Workspace {
  readonly dir: string;
  /** How many a build of everything runs, or takes from a cache. */
  readonly actions: number;
  /** The sixth of the chain's twelve outputs. The seventh action reads it, and all after hang on that one. */
  readonly middle: {
    readonly target: string;
    readonly file: string;
    readonly content: Buffer;
    readonly digest: { readonly hash: string; readonly sizeBytes: number };
  };
  /** The chain's last target, and one that reads everything. */
  readonly end: string;
  readonly top: string;
  /** Changes a source of the action after the middle: the next build must run it, and so must have the middle's bytes. */
  turn(text: string): Promise<void>;
  /** SHA-256 of every output file that is in `bazel-bin` now, by its path below; the same for every Bazel. */
  outputs(): Promise<ReadonlyMap<string, string>>;
}

const LINKS = 12;
const MIDDLE = 5;
const LEAVES = 16;
const FOLDERS = 4;
const BIG_BYTES = 20_000_000;

const two = (n: number): string => String(n).padStart(2, '0');

// 97,500 bytes: as much as an object file; half of it is left by zstd.
const noise = (salt: string): string =>
  Array.from({ length: 1500 }, (_, n) => createHash('sha256').update(`${salt} ${n}`).digest('hex'))
    .join('\n')
    .concat('\n');

const rule = (name: string, fields: Readonly<Record<string, string>>): string =>
  `genrule(\n    name = "${name}",\n${Object.entries(fields)
    .map(([key, value]) => `    ${key} = ${value},\n`)
    .join('')})\n`;

const quoted = (...names: string[]): string => JSON.stringify(names);
const run = (command: string): string => JSON.stringify(command);

const links = Array.from({ length: LINKS }, (_, n) =>
  rule(`link_${two(n)}`, {
    srcs: quoted(n === 0 ? 'noise.txt' : `link_${two(n - 1)}.txt`, ...(n === MIDDLE + 1 ? ['turn.txt'] : [])),
    outs: quoted(`link_${two(n)}.txt`),
    cmd: run(`cat $(SRCS) >$@ && echo link ${n} >>$@`),
  }),
);

// From 65 bytes to all of it.
const leaves = Array.from({ length: LEAVES }, (_, n) =>
  rule(`leaf_${two(n)}`, {
    srcs: quoted('noise.txt'),
    outs: quoted(`leaf_${two(n)}.txt`),
    cmd: run(`{ echo leaf ${n}; head -n ${((n * n * 1500) / (LEAVES - 1) ** 2) | 0} $<; } >$@`),
  }),
);

const folders = Array.from(
  { length: FOLDERS },
  (_, n) => `folder(name = "folder_${n}", src = "leaf_${two(n)}.txt", files = ${n * 5 + 3})\n`,
);

// Sixteen letters of a cipher's noise: zstd leaves 52 %.
const big = (salt: string): string => {
  const key = createHash('sha256').update(salt).digest('hex').slice(0, 32);
  const cipher = `openssl enc -aes-128-ctr -K ${key} -iv ${'0'.repeat(32)}`;
  return `head -c ${BIG_BYTES} /dev/zero | ${cipher} | tr '\\000-\\377' '${'a-p'.repeat(16)}' >$@`;
};

const singles = (salt: string): string[] => [
  rule('listing', {
    srcs: quoted(':folder_0', ':folder_1'),
    outs: quoted('listing.txt'),
    cmd: run('find -L $(SRCS) -type f | LC_ALL=C sort | xargs cat >$@'),
  }),
  rule('speaking', {
    srcs: quoted('link_03.txt'),
    outs: quoted('speaking.txt'),
    cmd: run(`head -n 3 $< >$@; echo "spoken for ${salt}"; echo "complained for ${salt}" >&2`),
  }),
  rule('big', { srcs: quoted('noise.txt'), outs: quoted('big.bin'), cmd: run(big(salt)) }),
  rule('big_sum', { srcs: quoted('big.bin'), outs: quoted('big_sum.txt'), cmd: run('sha256sum <$< >$@') }),
  rule('empty', { srcs: quoted('noise.txt'), outs: quoted('empty.txt'), cmd: run(': >$@') }),
  rule('several', {
    srcs: quoted('link_01.txt'),
    outs: quoted('several/head.txt', 'several/tail.txt', 'several/none.txt'),
    cmd: run(
      'head -n 9 $< >$(RULEDIR)/several/head.txt; tail -n 9 $< >$(RULEDIR)/several/tail.txt; : >$(RULEDIR)/several/none.txt',
    ),
  }),
  rule('script', {
    srcs: quoted('leaf_01.txt'),
    outs: quoted('script.sh'),
    executable: 'True',
    cmd: run(`printf '#!/bin/sh\\necho ${salt}\\n' >$@`),
  }),
  rule('top', {
    srcs: quoted(
      ...[`link_${two(LINKS - 1)}.txt`, 'listing.txt', 'speaking.txt', 'big_sum.txt', 'empty.txt', ':several'],
      ...['script.sh', ':folder_2', ':folder_3'],
      ...Array.from({ length: LEAVES }, (_, n) => `leaf_${two(n)}.txt`),
    ),
    outs: quoted('top.txt'),
    cmd: run('find -L $(SRCS) -type f | LC_ALL=C sort | xargs cat | sha256sum >$@'),
  }),
];

const folderRule = `def _folder_impl(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        inputs = [ctx.file.src],
        outputs = [out],
        arguments = [out.path, ctx.file.src.path, str(ctx.attr.files)],
        command = """set -e
            for n in $(seq $3); do
              mkdir -p $1/part_$((n % 3))/deep
              { echo file $n; head -n $n $2; } >$1/part_$((n % 3))/deep/file_$n
            done
            : >$1/empty
            echo true >$1/run.sh && chmod +x $1/run.sh""",
        mnemonic = "Folder",
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([out]))]

folder = rule(
    implementation = _folder_impl,
    attrs = {"src": attr.label(allow_single_file = True), "files": attr.int()},
)
`;

/** Goes with the scope. Another salt (letters, digits, dashes) gives other actions, and other bytes but for the empty ones. */
export const makeWorkspace = async (scope: Scope, { salt = 'plain' } = {}): Promise<Workspace> => {
  const dir = await temporaryDirectory(scope, 'workspace');
  const rules = [...links, ...leaves, ...folders, ...singles(salt)];
  const turn = (text: string) => writeFile(join(dir, 'turn.txt'), `${text}\n`);
  await Promise.all([
    writeFile(join(dir, 'WORKSPACE'), ''),
    writeFile(join(dir, 'folder.bzl'), folderRule),
    writeFile(join(dir, 'BUILD'), `load(":folder.bzl", "folder")\n\n${rules.join('\n')}`),
    writeFile(join(dir, 'noise.txt'), noise(salt)),
    turn('unturned'),
  ]);
  const content = Buffer.from(noise(salt) + Array.from({ length: MIDDLE + 1 }, (_, n) => `link ${n}\n`).join(''));
  return {
    dir,
    actions: rules.length,
    middle: {
      target: `//:link_${two(MIDDLE)}`,
      file: `link_${two(MIDDLE)}.txt`,
      content,
      digest: { hash: createHash('sha256').update(content).digest('hex'), sizeBytes: content.length },
    },
    end: `//:link_${two(LINKS - 1)}`,
    top: '//:top',
    turn,
    async outputs() {
      const bin = join(dir, 'bazel-bin');
      const entries = await readdir(bin, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
        if (isCode(error, 'ENOENT')) return []; // `clean` takes the link, too.
        throw error;
      });
      const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
      const hashes = files.sort().map(async (file) => {
        const hash = createHash('sha256')
          .update(await readFile(file))
          .digest('hex');
        return [relative(bin, file), hash] as const;
      });
      return new Map(await Promise.all(hashes));
    },
  };
};
