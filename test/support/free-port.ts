// A TCP port of the loopback for a server that is started more than once, and must find it free each time.

import { once } from 'node:events';
import { createServer } from 'node:net';
import { isCode } from '../../src/core/errors.ts';

// Below 32768, where Linux takes the ports of outgoing connections from (ip_local_port_range): else any client on this
// machine could sit on the port while the server is down. Random, since test processes run side by side.
const FIRST = 12_000;
const COUNT = 20_000;

export const freePort = async (): Promise<number> => {
  for (let attempt = 0; attempt < 50; attempt++) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    const server = createServer();
    try {
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    } catch (error) {
      if (isCode(error, 'EADDRINUSE')) continue;
      throw error;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error('fifty ports were all taken');
};
