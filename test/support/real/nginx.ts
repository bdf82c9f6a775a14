// A real nginx on a free port: a plain static upstream for the tests, and the proxy to beat for the bench.

import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fetched, startProgram } from './program.ts';
import { type Scope, temporaryDirectory } from './scope.ts';

export interface NginxOptions {
  /** Files below `root`, or whatever the server at `proxyTo` (`http://host:port`) answers. */
  readonly serve: { readonly root: string } | { readonly proxyTo: string };
  /** Path that all of it lies under, e.g. `/lab/`. A proxy takes it off again. */
  readonly prefix?: string;
  /** Further lines for the one location, e.g. `proxy_buffering off;`. */
  readonly directives?: string;
}

export interface Nginx {
  /** With the prefix, without a final slash. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Kills it, which resets what it still sends. */
  stop(): Promise<void>;
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has an address');
  server.close();
  await once(server, 'close');
  return address.port;
};

const unused = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path temp-${name};`);

// One process, no master: nothing is left when it is killed, and it serves as one worker does.
const configuration = (port: number, { serve, prefix = '/', directives = '' }: NginxOptions): string => `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
  default_type application/octet-stream;
  types { text/x-nix-narinfo narinfo; }
  ${unused.join('\n  ')}
  ${'proxyTo' in serve ? `upstream behind { server ${new URL(serve.proxyTo).host}; keepalive 64; }` : ''}
  server {
    listen 127.0.0.1:${port} backlog=1024;
    client_max_body_size 0;
    location ${prefix} {
      ${
        'proxyTo' in serve
          ? 'proxy_pass http://behind/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;'
          : `alias ${join(serve.root, '/')};`
      }
      ${directives}
    }
  }
}
`;

// Printed once the socket listens: nginx.c, ngx_init_cycle opens the sockets before it initialises the event module.
const isListening = 'using the "epoll" event method';

/** Null when someone took the port in between. */
const tryPort = async (scope: Scope, port: number, options: NginxOptions): Promise<Nginx | null> => {
  const directory = await temporaryDirectory(scope, 'nginx');
  await writeFile(join(directory, 'nginx.conf'), configuration(port, options));
  const args = ['-e', 'stderr', '-p', directory, '-c', join(directory, 'nginx.conf')];
  const { child, kill } = startProgram(fetched('nginx/usr/sbin/nginx'), args, { env: {} });
  const closed = once(child, 'close');
  const stop = async () => {
    kill();
    await closed;
  };
  scope.teardown(stop);
  const printed = await new Promise<string>((resolve) => {
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      if (text.includes(isListening) || text.includes('Address already in use')) resolve(text);
    });
    child.once('close', () => resolve(text));
  });
  if (printed.includes(isListening)) {
    child.stderr.removeAllListeners('data').resume();
    const { pid } = child;
    if (pid === undefined) throw new Error('what prints has a process');
    return { url: `http://127.0.0.1:${port}${(options.prefix ?? '/').replace(/\/$/, '')}`, port, pid, stop };
  }
  await stop();
  if (printed.includes('Address already in use')) return null;
  throw new Error(`nginx does not start: ${printed}`);
};

/** Answers from the moment it resolves; gone when the scope ends. */
export const startNginx = async (scope: Scope, options: NginxOptions): Promise<Nginx> => {
  for (let attempt = 0; attempt < 5; attempt++) {
    const nginx = await tryPort(scope, await freePort(), options);
    if (nginx) return nginx;
  }
  throw new Error('five free ports were taken before nginx had them');
};
