// Says what is wrong with the head of a request that Node's parser lets pass.

import type { IncomingMessage } from 'node:http';

/** Clients send some twenty. Node drops what is beyond two thousand without a word. */
const MAX_HEADERS = 128;
/** RFC 3986: a name, an IPv4 address or an IPv6 one in brackets, and a port. */
const HOST = /^(?:[\w.~-]*|\[[\da-fA-F:.]+\])(?::\d{1,5})?$/;

/** Null for a head that is in order. */
export const headFault = ({ rawHeaders, headers, httpVersionMajor }: IncomingMessage): string | null => {
  if (httpVersionMajor !== 1) return 'only HTTP/1.1 and HTTP/1.0 are spoken here';
  if (rawHeaders.length > 2 * MAX_HEADERS) return `more than ${MAX_HEADERS} headers`;
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.length === 4 && rawHeaders[at]?.toLowerCase() === 'host') hosts += 1;
  }
  if (hosts > 1) return 'more than one Host';
  return HOST.test(headers.host ?? '') ? null : 'Host is no name and port';
};
