// The kinds of value that a key can have, as TypeBox schemas: each says what it accepts and decodes to what it means.

import { X509Certificate } from 'node:crypto';
import { resolve } from 'node:path';
import { Type } from 'typebox';
import { codeOf } from '../core/errors.ts';
import { Tokens } from '../core/tokens.ts';
import {
  parseAuthorization,
  parseBucket,
  parseCanaryPrefix,
  parseDuration,
  parseFollow,
  parseGrpcOrigin,
  parseListen,
  parseOrigin,
  parsePrefix,
  parseRedirectHost,
  parseRegion,
  parseSize,
  parseTrustedKey,
} from './parse.ts';

/** What every key's schema says besides its type; `accepts` and `about` fill the README table too. */
export interface Meta {
  /** As the file would have it; `"none"` is not set. */
  readonly default: string | number | boolean | readonly string[];
  readonly about: string;
  readonly accepts: string;
  /** The key's spelling, where the property adds a unit to it. */
  readonly key?: string;
  /** What of a text may be shown, be it right or wrong. */
  readonly shown?: (text: string) => string;
}

type Extra = Pick<Meta, 'key'>;

/** What is around the configuration. */
export interface Surroundings {
  /** Relative paths start here. */
  readonly cwd: string;
  /** Undefined where there is no such file; throws where it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
}

/** Node's timers count to 2^31 - 1 ms, and fire at once beyond: 24 days. */
const LONGEST_MS = 24 * 24 * 3_600_000;

const within = (value: number, min: number, max: number): number => {
  if (value < min || value > max) throw new Error('out of range');
  return value;
};

const range = (min: string, max: string | null): string => (max === null ? `from ${min}` : `from ${min} to ${max}`);

const orNone =
  <T>(parse: (text: string) => T) =>
  (text: string): T | undefined =>
    text === 'none' ? undefined : parse(text);

const textKind =
  <T>(accepts: string, parse: (text: string) => T, shown?: Meta['shown']) =>
  (initial: string, about: string, extra: Extra = {}) => {
    const meta: Meta = { default: initial, about, accepts, ...extra, ...(shown && { shown }) };
    return Type.Decode(Type.String({ ...meta }), parse);
  };

const listKind =
  <T>(accepts: string, parse: (text: string) => T, shown?: Meta['shown']) =>
  (initial: readonly string[], about: string) => {
    const meta: Meta = { default: initial, about, accepts, ...(shown && { shown }) };
    return Type.Decode(Type.Array(Type.String(), { ...meta }), (items): readonly T[] => items.map(parse));
  };

export const listen = textKind('an IP address or localhost, and a port: "127.0.0.1:8501", "[::1]:0"', parseListen);

export const origin = textKind(
  '"none", or a http:// or https:// URL: "http://attic.nix-cache.svc:8080"',
  orNone(parseOrigin),
);

export const grpcOrigin = textKind(
  '"none", or a grpc:// or grpcs:// URL: "grpc://127.0.0.1:9192"',
  orNone(parseGrpcOrigin),
);

export const prefix = textKind('"none", or a path: "/attic"', orNone(parsePrefix));

export const redirectHosts = listKind('a list of "host:port"', parseRedirectHost);

export const buckets = listKind('a list of bucket names', parseBucket);

export const region = textKind('a region: "us-east-1"', parseRegion);

export const canaryPrefix = textKind('a key prefix that ends in a slash: ".cleanmiss/"', parseCanaryPrefix);

export const trustedKeys = listKind('a list of "name:base64" public keys', parseTrustedKey, (text) =>
  /:\S{60,}/.test(text) ? text.replace(/:.*/, ':***') : text,
);

export const follow = textKind('"late", "never", or a size: "64MiB"', parseFollow);

export const size = (initial: string, about: string, min: string, max: string | null, extra: Extra = {}) =>
  textKind(`a size ${range(min, max)}, such as "${initial}"`, (text) =>
    within(parseSize(text), parseSize(min), max === null ? Number.MAX_SAFE_INTEGER : parseSize(max)),
  )(initial, about, extra);

export const duration = (initial: string, about: string, key: string, min = '0s', max: string | null = null) =>
  textKind(`a duration ${range(min, max)}, such as "${initial}"`, (text) =>
    within(parseDuration(text), parseDuration(min), max === null ? LONGEST_MS : parseDuration(max)),
  )(initial, about, { key });

export const count = (initial: number, about: string, minimum: number) => {
  const meta: Meta = { default: initial, about, accepts: `a whole number from ${minimum} to 100000` };
  return Type.Integer({ minimum, maximum: 100_000, ...meta });
};

export const flag = (initial: boolean, about: string) => {
  const meta: Meta = { default: initial, about, accepts: 'true or false' };
  return Type.Boolean({ ...meta });
};

export const choice = <const Words extends string[]>(words: Words, initial: Words[number], about: string) => {
  const meta: Meta = { default: initial, about, accepts: words.map((word) => `"${word}"`).join(', ') };
  return Type.Decode(Type.Enum(words, { ...meta }), (word) => word as Words[number]);
};

/** Never shown: some paste the value where the file's name belongs. */
const secretPath = (text: string): string => (text === 'none' ? text : '***');

/** A value pasted where a file's name belongs is a path too long, or of no file: only the code, for the message repeats it. */
const readable = (read: () => string | undefined): string | undefined => {
  try {
    return read();
  } catch (error) {
    throw new Error(`the file cannot be read: ${codeOf(error)}`);
  }
};

/** The kinds that look at the disk. */
export const fileKinds = (at: Surroundings) => {
  const content = (path: string): string => {
    const text = readable(() => at.readFile(resolve(at.cwd, path)));
    if (text === undefined) throw new Error('there is no file of this name');
    return text;
  };
  return {
    directory: textKind('a directory, made when missing', (path) => {
      if (path === '') throw new Error('no name');
      return resolve(at.cwd, path);
    }),
    /** It is somebody else's: never made. */
    existingDirectory: textKind(
      '"none", or a directory',
      orNone((path) => {
        if (path === '') throw new Error('no name');
        return resolve(at.cwd, path);
      }),
    ),
    tokens: textKind(
      '"none", or a file of lines "scope[,scope] name token" with the scopes read, write, quarantine, ack',
      orNone((path) => Tokens.parse(content(path))),
      secretPath,
    ),
    /** Decodes to the file's path: the S3 client reads it, and reads it again when keys are rotated. */
    awsCredentials: textKind(
      '"none" (the environment says), or an AWS credentials file',
      orNone((path) => {
        if (!/aws_secret_access_key\s*=\s*\S/.test(content(path))) throw new Error('no aws_secret_access_key is in it');
        return resolve(at.cwd, path);
      }),
      secretPath,
    ),
    /** Decodes to PEM text. */
    certificates: textKind(
      '"none", or a file of PEM certificates',
      orNone((path) => {
        const pem = content(path);
        return new X509Certificate(pem) && pem;
      }),
    ),
    authorization: textKind(
      '"none", or a file that holds an Authorization value',
      orNone((path) => parseAuthorization(content(path))),
      secretPath,
    ),
  };
};
