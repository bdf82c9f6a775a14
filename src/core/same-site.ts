// Keeps other people's web pages away from listeners that trust whoever is on this machine.

import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { isLoopback, type Listen } from './listen.ts';

/**
 * A page may make its own name resolve to 127.0.0.1 (DNS rebinding): a browser then calls us, but with that name as
 * Host. An IP literal cannot be rebound. Where we listen to the network, people call us by names we cannot know.
 */
const isOurHost = (host: string, listen: Listen): boolean => {
  if (!isLoopback(listen.host)) return true;
  if (!URL.canParse(`http://${host}/`)) return false;
  const name = new URL(`http://${host}/`).hostname.replace(/^\[|\]$/g, '');
  return name === 'localhost' || name === listen.host || isIP(name) !== 0;
};

/** Why the request is refused, or null. HTTP/1.0 may come without Host; no browser speaks it. */
export const foreignCaller = (headers: IncomingHttpHeaders, listen: Listen): string | null => {
  const { host, origin } = headers;
  if (host !== undefined && !isOurHost(host, listen)) return 'this Host is none of ours: call it by its IP address';
  // Browsers send it with everything that a page of another origin starts, but plain navigation.
  if (origin !== undefined && origin !== `http://${host}`) return 'pages of other origins may not call this';
  return null;
};
