// Tells how much of what was sent on a loopback connection has not been read yet, from the kernel's own table.

import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

const port = (number: number | undefined): string => `:${(number ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;

/** Bytes in our send queue and in the peer's receive queue; 0 where there is no such table (it is Linux's). */
export const unreadBytes = (socket: Socket): number => {
  const ours = port(socket.localPort);
  const peers = port(socket.remotePort);
  let table = '';
  try {
    table = readFileSync('/proc/net/tcp', 'latin1');
  } catch {
    return 0;
  }
  let unread = 0;
  for (const line of table.split('\n')) {
    const [, local = '', remote = '', , queues = ''] = line.trim().split(/\s+/);
    const [sending = '0', received = '0'] = queues.split(':');
    if (local.endsWith(ours) && remote.endsWith(peers)) unread += Number.parseInt(sending, 16);
    if (local.endsWith(peers) && remote.endsWith(ours)) unread += Number.parseInt(received, 16);
  }
  return unread;
};
