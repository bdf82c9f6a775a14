// What the file, the environment and the flags set, weakest first, and what of it no key is called.

import { resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { Type } from 'typebox';
import { ENV_PREFIX, type Key } from './keys.ts';
import type { Surroundings } from './kinds.ts';
import { nearest } from './nearest.ts';
import { type Problem, showUnknown } from './problem.ts';

export interface Inputs extends Surroundings {
  /** `--config FILE`: it must exist. Without it `./cleanmiss.toml` may. */
  readonly file?: string | undefined;
  /** By key: `nix.upstream`. */
  readonly flags: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface Given {
  readonly key: Key;
  readonly raw: unknown;
  readonly source: string;
}

export interface Read {
  readonly given: readonly Given[];
  readonly problems: readonly Problem[];
}

const DEFAULT_FILE = 'cleanmiss.toml';

/**
 * For a Service called `cleanmiss` or `cleanmiss-nix`, Kubernetes puts `CLEANMISS_SERVICE_HOST`, `CLEANMISS_NIX_PORT`,
 * `CLEANMISS_PORT_8501_TCP_ADDR` and their like into every pod: not ours, and no reason not to start.
 */
const KUBERNETES = /_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/;

const unknown = (what: string, name: string, raw: unknown, source: string, known: readonly string[]): Problem => {
  const meant = nearest(name, known);
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  return { key: name, value: showUnknown(name, raw), source, message: `unknown ${what}${hint}` };
};

/** The environment and the command line have only text: what it stands for is the schema's affair. */
const fromText = ({ schema }: Key, text: string): unknown => {
  if (Type.IsArray(schema))
    return text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
  if (Type.IsBoolean(schema)) return text === 'true' || (text === 'false' ? false : text);
  if (Type.IsInteger(schema)) return /^\d{1,15}$/.test(text) ? Number(text) : text;
  return text;
};

const readTable = (keys: readonly Key[], table: object, source: string, prefix = ''): Read[] =>
  Object.entries(table).map(([word, raw]: [string, unknown]) => {
    const name = prefix + word;
    const key = keys.find((one) => one.name === name);
    if (key !== undefined) return { given: [{ key, raw, source }], problems: [] };
    const inside = keys.filter((one) => one.name.startsWith(`${name}.`));
    const isTable = typeof raw === 'object' && raw !== null && !Array.isArray(raw);
    if (inside.length > 0 && isTable) return joined(readTable(inside, raw, source, `${name}.`));
    if (inside.length > 0) {
      return {
        given: [],
        problems: [{ key: name, value: showUnknown(name, raw), source, message: 'this is a section' }],
      };
    }
    const siblings = keys.map((one) => prefix + (one.name.slice(prefix.length).split('.')[0] ?? ''));
    const candidates = isTable || prefix !== '' ? siblings : [...siblings, ...keys.map((one) => one.name)];
    return { given: [], problems: [unknown(isTable ? 'section' : 'key', name, raw, source, candidates)] };
  });

const joined = (reads: readonly Read[]): Read => ({
  given: reads.flatMap((read) => read.given),
  problems: reads.flatMap((read) => read.problems),
});

const readFile = (keys: readonly Key[], inputs: Inputs, path: string): Read => {
  const failed = (message: string): Read => ({ given: [], problems: [{ key: path, source: path, message }] });
  try {
    const text = inputs.readFile(resolve(inputs.cwd, path));
    if (text !== undefined) return joined(readTable(keys, parse(text), path));
    return inputs.file === undefined ? { given: [], problems: [] } : failed('there is no such file');
  } catch (error) {
    // The first line only: smol-toml goes on to quote the file.
    const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    return failed(error instanceof TomlError ? `line ${error.line}, column ${error.column}: ${message}` : message);
  }
};

const readEnv = (keys: readonly Key[], env: Inputs['env']): Read => {
  const names = keys.map((key) => key.env);
  const reads = Object.entries(env).map(([name, text = '']): Read => {
    // Empty is how shells and Compose files leave a variable unset.
    if (!name.startsWith(ENV_PREFIX) || text === '') return { given: [], problems: [] };
    const key = keys.find((one) => one.env === name);
    if (key !== undefined) return { given: [{ key, raw: fromText(key, text), source: name }], problems: [] };
    if (KUBERNETES.test(name)) return { given: [], problems: [] };
    return { given: [], problems: [unknown('environment variable', name, text, 'environment', names)] };
  });
  return joined(reads);
};

const readFlags = (keys: readonly Key[], flags: Inputs['flags']): Read => {
  const reads = Object.entries(flags).map(([name, text]): Read => {
    const key = keys.find((one) => one.name === name);
    const source = `--${name}`;
    if (key !== undefined) return { given: [{ key, raw: fromText(key, text), source }], problems: [] };
    return {
      given: [],
      problems: [
        unknown(
          'flag',
          name,
          text,
          source,
          keys.map((one) => one.name),
        ),
      ],
    };
  });
  return joined(reads);
};

/** The stronger comes later. */
export const readSources = (keys: readonly Key[], inputs: Inputs): Read =>
  joined([
    readFile(keys, inputs, inputs.file ?? DEFAULT_FILE),
    readEnv(keys, inputs.env),
    readFlags(keys, inputs.flags),
  ]);
