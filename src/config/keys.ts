// Every key of the schema, with its names in the file, in the environment and on the command line.

import { type TObject, type TSchema, Type } from 'typebox';
import type { Meta } from './kinds.ts';

export interface Key {
  /** `nix.redirectHosts`, in the file and (after `--`) as a flag. */
  readonly name: string;
  /** `CLEANMISS_NIX_REDIRECT_HOSTS`. */
  readonly env: string;
  readonly schema: TSchema;
  readonly meta: Meta;
}

export const ENV_PREFIX = 'CLEANMISS_';

const envName = (name: string): string =>
  ENV_PREFIX +
  name
    .replace(/[A-Z]/g, (letter) => `_${letter}`)
    .replaceAll('.', '_')
    .toUpperCase();

/** In the order of the schema. */
export const keysOf = (section: TObject, prefix = ''): readonly Key[] =>
  Object.entries(section.properties).flatMap(([property, schema]) => {
    if (Type.IsObject(schema)) return keysOf(schema, `${prefix}${property}.`);
    // Every schema of `kinds.ts` is made from a Meta.
    const meta = schema as unknown as Meta;
    const name = prefix + (meta.key ?? property);
    return [{ name, env: envName(name), schema, meta }];
  });

/** A value for each key, in the shape of the schema. */
export const treeOf = (section: TObject, leafValue: (schema: TSchema) => unknown): object =>
  Object.fromEntries(
    Object.entries(section.properties).map(([property, schema]) => [
      property,
      Type.IsObject(schema) ? treeOf(schema, leafValue) : leafValue(schema),
    ]),
  );
