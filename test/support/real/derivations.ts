// Derivations that any Nix here builds from nothing but the host's own programs, to bytes that depend on a seed alone.

import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface DerivationShape {
  /** Also its attribute: letters, digits and dashes. */
  readonly name: string;
  /** Of its one big file; the NAR is a few hundred bytes longer. */
  readonly sizeBytes: number;
  /** `noise` does not compress; `halves` compresses to about 52 % (zstd). */
  readonly content?: 'noise' | 'halves';
  /** Names of others that it refers to. */
  readonly references?: readonly string[];
  /** Of the content; the name, if not given. */
  readonly seed?: string | number;
}

// A cipher over zeros: 200 MB take 0.5 s. `halves` keeps 4 bits of every byte: sixteen letters.
const preamble = `let
  make = { name, bytes, key, letters, dependencies }: derivation {
    inherit name bytes key letters dependencies;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    LC_ALL = "C";
    args = [ "-e" "-c" ''
      mkdir "$out"
      noise() { head -c "$bytes" /dev/zero | openssl enc -aes-128-ctr -K "$key" -iv 00000000000000000000000000000000; }
      if [ -n "$letters" ]; then noise | tr '\\000-\\377' "$letters"; else noise; fi >"$out/contents"
      for path in $dependencies; do echo "$path"; done >"$out/references"
    '' ];
  };
in rec {
`;

const letters = 'a-p'.repeat(16);

const attribute = (shape: DerivationShape): string => {
  const { name, sizeBytes, content = 'noise', references = [], seed = name } = shape;
  const key = createHash('sha256').update(String(seed)).digest('hex').slice(0, 32);
  const fields = [
    `name = "${name}"`,
    `bytes = ${sizeBytes}`,
    `key = "${key}"`,
    `letters = "${content === 'halves' ? letters : ''}"`,
    `dependencies = [ ${references.join(' ')} ]`,
  ];
  return `  ${name} = make { ${fields.join('; ')}; };\n`;
};

/** Writes `<directory>/derivations.nix`, an attribute set by name, and returns its path for `NixStore.build`. */
export const writeDerivations = async (directory: string, shapes: readonly DerivationShape[]): Promise<string> => {
  const file = join(directory, 'derivations.nix');
  await writeFile(file, `${preamble}${shapes.map(attribute).join('')}}\n`);
  return file;
};
