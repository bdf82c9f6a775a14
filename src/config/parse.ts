// From the text of a configured value to what it means. What a parser throws says what is wrong with this one.

import { isIP } from 'node:net';
import type { Listen } from '../core/listen.ts';
import { Secret } from '../core/secret.ts';

/** Where the upstream is. */
export interface Origin {
  /** Scheme, host, and port unless it is the scheme's own, in lower case: what resolved URLs are compared with. */
  readonly origin: string;
  /** Host and port letter for letter as configured: Attic's `allowed-hosts` compares them so, and URL would not keep it. */
  readonly authority: string;
  /** `/x/y`, or empty: what comes before `nix.prefix`. */
  readonly path: string;
}

export interface TrustedKey {
  readonly name: string;
  /** Ed25519, 32 bytes. */
  readonly publicKey: Buffer;
}

/** When NARs above `release.memory` are followed: at the budget, never, or above a size from the start. */
export type Follow =
  | { readonly kind: 'late' }
  | { readonly kind: 'never' }
  | { readonly kind: 'above'; readonly sizeBytes: number };

const unitBytes = new Map([
  ['', 1],
  ['b', 1],
  ['kb', 1e3],
  ['mb', 1e6],
  ['gb', 1e9],
  ['tb', 1e12],
  ['kib', 2 ** 10],
  ['mib', 2 ** 20],
  ['gib', 2 ** 30],
  ['tib', 2 ** 40],
]);

const unitMs = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

const refuse = (why: string): never => {
  throw new Error(why);
};

/** Bytes. "50G" is refused: half of its readers take it for GB, half for GiB. */
export const parseSize = (text: string): number => {
  const [, digits = '', unit = ''] = /^(\d+) ?([a-z]*)$/i.exec(text) ?? refuse('not a size');
  const bytes = Number(digits) * (unitBytes.get(unit.toLowerCase()) ?? refuse(`"${unit}" is no unit of size`));
  return Number.isSafeInteger(bytes) ? bytes : refuse('too large');
};

/** Milliseconds. */
export const parseDuration = (text: string): number => {
  const [, digits = '', unit = ''] = /^(\d+) ?([a-z]*)$/.exec(text) ?? refuse('not a duration');
  return (
    Number(digits) * (unitMs.get(unit) ?? refuse(unit === '' ? 'the unit is missing' : `"${unit}" is no unit of time`))
  );
};

const parseHostPort = (text: string): Listen => {
  const [, inBrackets, bare, digits] =
    /^(?:\[([^\]]+)\]|([^:\s/@[\]]+)):(\d{1,5})$/.exec(text) ?? refuse('not host:port');
  const host = (inBrackets ?? bare ?? '').toLowerCase();
  if (inBrackets !== undefined && isIP(host) !== 6) refuse(`[${host}] is no IPv6 address`);
  const port = Number(digits);
  return port <= 65_535 ? { host, port } : refuse('no port is above 65535');
};

/** A name is refused: only the resolver would know whether it is a loopback address. */
export const parseListen = (text: string): Listen => {
  const listen = parseHostPort(text);
  return listen.host === 'localhost' || isIP(listen.host) !== 0 ? listen : refuse('the host is a name');
};

/** `host:port` in lower case, to be compared with `URL.host` and its port written out. */
export const parseRedirectHost = (text: string): string => {
  const { host, port } = parseHostPort(text);
  return port > 0 ? `${host.includes(':') ? `[${host}]` : host}:${port}` : refuse('nothing listens on port 0');
};

/** Where a gRPC upstream is. */
export interface GrpcOrigin {
  /** `grpc://host:port`, for people. */
  readonly origin: string;
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

export const parseGrpcOrigin = (text: string): GrpcOrigin => {
  const [, tls, authority = ''] =
    /^grpc(s?):\/\/([^/?#\\]+)\/?$/i.exec(text) ?? refuse('not a grpc:// or grpcs:// URL');
  if (/@/.test(authority)) refuse('credentials do not belong into a URL: clients bring their own');
  const isTls = tls !== '';
  const { host, port } = parseHostPort(/:\d+$/.test(authority) ? authority : `${authority}:${isTls ? 443 : 80}`);
  return port > 0 ? { origin: text, host, port, isTls } : refuse('nothing listens on port 0');
};

export const parseOrigin = (text: string): Origin => {
  const [, authority = '', rest = ''] =
    /^https?:\/\/([^/?#\\]*)(.*)$/i.exec(text) ?? refuse('not an http:// or https:// URL');
  if (/@/.test(text))
    refuse(
      'credentials do not belong into a URL: nix.credentials (for S3, health.s3.credentials) names a file with them',
    );
  if (/[?#]/.test(rest)) refuse('it has a query or a fragment');
  const path = rest === '' || rest === '/' ? '' : parsePrefix(rest);
  return URL.canParse(text) ? { origin: new URL(text).origin, authority, path } : refuse('not a URL');
};

/** `/x/y`, whatever slashes it had at its ends. */
export const parsePrefix = (text: string): string => {
  const segments = text.replace(/^\/+|\/+$/g, '').split('/');
  const isPlain = segments.every((segment) => /^[\w.~!$&'()*+,;=:@%-]+$/.test(segment) && !/^\.\.?$/.test(segment));
  return isPlain ? `/${segments.join('/')}` : refuse('not a plain path');
};

/** As S3 names them; older ones had capitals and underscores. */
export const parseBucket = (text: string): string =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(text) ? text : refuse('not the name of a bucket');

export const parseRegion = (text: string): string =>
  /^[a-z0-9][a-z0-9-]{0,62}$/.test(text) ? text : refuse('not the name of a region');

export const parseCanaryPrefix = (text: string): string =>
  /^(?:[\w.-]+\/)+$/.test(text) && !/(?:^|\/)\.\.?\//.test(text) ? text : refuse('not such a prefix');

export const parseTrustedKey = (text: string): TrustedKey => {
  const [, name = '', base64 = ''] = /^([^:\s]+):([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? refuse('not name:base64');
  const publicKey = Buffer.from(base64, 'base64');
  if (publicKey.length === 64) refuse('this is a SECRET key: only who signs may have it');
  return publicKey.length === 32
    ? { name, publicKey }
    : refuse(`a public key has 32 bytes, and this ${publicKey.length}`);
};

/** The content of a credentials file: scheme and parameters on one line, fit to be a header's value. */
export const parseAuthorization = (content: string): Secret => {
  const value = content.trim();
  return /^[\x21-\x7e]+(?: [\x21-\x7e]+)+$/.test(value)
    ? new Secret(value)
    : refuse('the file must hold one line such as "Bearer TOKEN"');
};

export const parseFollow = (text: string): Follow =>
  text === 'late' || text === 'never' ? { kind: text } : { kind: 'above', sizeBytes: parseSize(text) };
