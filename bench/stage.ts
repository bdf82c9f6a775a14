// One upstream, and the three ways to it that every figure compares: direct, through nginx, through cleanmiss.

import { type Cleanmiss, startCleanmiss } from '../test/support/real/cleanmiss.ts';
import { type Nginx, startNginx } from '../test/support/real/nginx.ts';
import type { Scope } from '../test/support/real/scope.ts';

/** Origin, way and client are processes of their own, which share the machine's cores as they like. */
export const ways = ['direct', 'proxied', 'cleanmiss'] as const;
export type Way = (typeof ways)[number];

export interface Stage {
  /** `http://host:port` of each way. */
  readonly urls: Readonly<Record<Way, string>>;
  readonly proxy: Nginx;
  readonly house: Cleanmiss;
}

/** nginx as it is, but for its temporary files: 32 stalled readers would fill the disk with them. */
const usualProxy = 'proxy_max_temp_file_size 0;';

/** For large bodies, which it carries twice as fast so (1.35 against 0.67 GB/s); small ones it carries faster as it is. */
export const wideProxy = `${usualProxy} proxy_buffers 16 1m; proxy_buffer_size 64k; proxy_busy_buffers_size 2m;`;

export interface StageOptions {
  /** Further lines for nginx. */
  readonly proxy?: string;
  /** For `cleanmiss serve`. */
  readonly flags?: Readonly<Record<string, string>>;
}

export const setStage = async (
  scope: Scope,
  upstream: string,
  { proxy: directives = usualProxy, flags = {} }: StageOptions = {},
): Promise<Stage> => {
  const proxy = await startNginx(scope, { serve: { proxyTo: upstream }, directives });
  const house = await startCleanmiss(scope, { 'nix.upstream': upstream, ...flags });
  return { urls: { direct: upstream, proxied: proxy.url, cleanmiss: house.nix }, proxy, house };
};

export const startOrigin = (scope: Scope, root: string): Promise<Nginx> => startNginx(scope, { serve: { root } });

/** The path of the NAR as cleanmiss tells its clients, pin and all. The other ways do not mind the query. */
export const narPathOf = async (house: Cleanmiss, narinfoPath: string): Promise<string> => {
  const answer = await fetch(`${house.nix}/${narinfoPath}`);
  const [, path] = /^URL: (.+)$/m.exec(await answer.text()) ?? [];
  if (path === undefined) throw new Error(`${narinfoPath}: ${answer.status}`);
  return path;
};
