// An address to listen on, and whether only this machine can reach it.

import { BlockList, isIP } from 'node:net';

export interface Listen {
  /** An IP literal (no brackets) or `localhost`. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** IPv4 addresses written as IPv6 (`::ffff:127.0.0.1`) count as what they are. */
export const isLoopback = (host: string): boolean => {
  if (host === 'localhost') return true;
  const version = isIP(host);
  return version !== 0 && loopback.check(host, version === 4 ? 'ipv4' : 'ipv6');
};

export const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** `host:port`, with brackets where an IPv6 address needs them. */
export const spellListen = (listen: Listen): string =>
  `${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${listen.port}`;
