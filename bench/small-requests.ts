// narinfos and small NARs a second: what a Nix client asks for most, with its 25 connections.

import type { Scope } from '../test/support/real/scope.ts';
import { type Figure, measured } from './figure.ts';
import { smallNars } from './origin.ts';
import { narPathOf, setStage, startOrigin, ways } from './stage.ts';
import { wrk } from './wrk.ts';

const COUNT = 500;
const ROUNDS = 11;
const TARGET = { than: 'proxied', atLeast: 0.3 } as const;
const LOAD = { seconds: 1, connections: 25 };
/** Until the store holds all of them and the compiler has seen enough. */
const WARM_UP = { ...LOAD, seconds: 5 };

const openSmall = async (scope: Scope) => {
  const { root, narinfoPaths } = await smallNars(scope, COUNT, 64 * 1024);
  const stage = await setStage(scope, (await startOrigin(scope, root)).url);
  return { stage, narinfoPaths: narinfoPaths.map((path) => `/${path}`) };
};

/** Records of ours that are fresh, or were just revalidated: each is asked for anew once a minute. */
export const narinfos = async (scope: Scope): Promise<Figure> => {
  const { stage, narinfoPaths } = await openSmall(scope);
  for (const way of ways) await wrk(scope, stage.urls[way], narinfoPaths, WARM_UP);
  return await measured({ name: 'narinfo', unit: 'requests/s', rounds: ROUNDS, target: TARGET }, async (way) => {
    const { requestsPerSecond } = await wrk(scope, stage.urls[way], narinfoPaths, LOAD);
    return requestsPerSecond;
  });
};

/** 500 NARs of 64 KiB, 43 KB in three zstd frames, which our store holds in memory. */
export const smallBodies = async (scope: Scope): Promise<Figure> => {
  const { stage, narinfoPaths } = await openSmall(scope);
  const paths = await Promise.all(narinfoPaths.map((path) => narPathOf(stage.house, path.slice(1))));
  const narPaths = paths.map((path) => `/${path}`);
  for (const way of ways) await wrk(scope, stage.urls[way], narPaths, WARM_UP);
  return await measured(
    { name: '64 KiB NAR, stored', unit: 'requests/s', rounds: ROUNDS, target: TARGET },
    async (way) => {
      const { requestsPerSecond } = await wrk(scope, stage.urls[way], narPaths, LOAD);
      return requestsPerSecond;
    },
  );
};
