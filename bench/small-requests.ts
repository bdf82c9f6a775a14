// narinfos and small NARs a second: what a Nix client asks for most, with its 25 connections.

import type { Scope } from '../test/support/real/scope.ts';
import { type Figure, measured } from './figure.ts';
import { smallNars } from './origin.ts';
import { narPathOf, setStage, startOrigin } from './stage.ts';
import { wrk } from './wrk.ts';

const COUNT = 500;
const ROUNDS = 5;
const TARGET = { than: 'proxied', atLeast: 0.3 } as const;
const LOAD = { seconds: 2, connections: 25 };

const openSmall = async (scope: Scope) => {
  const { root, narinfoPaths } = await smallNars(scope, COUNT, 64 * 1024);
  const stage = await setStage(scope, (await startOrigin(scope, root)).url);
  return { stage, narinfoPaths: narinfoPaths.map((path) => `/${path}`) };
};

/** Records of ours that are fresh, or were just revalidated: each is asked for anew once a minute. */
export const narinfos = async (scope: Scope): Promise<Figure> => {
  const { stage, narinfoPaths } = await openSmall(scope);
  await wrk(scope, stage.urls.cleanmiss, narinfoPaths, LOAD);
  return await measured({ name: 'narinfo', unit: 'requests/s', rounds: ROUNDS, target: TARGET }, async (way) => {
    const { requestsPerSecond } = await wrk(scope, stage.urls[way], narinfoPaths, LOAD);
    return requestsPerSecond;
  });
};

/** 500 NARs of 64 KiB, zstd in two frames or so, which our store holds in memory; the first second fills it. */
export const smallBodies = async (scope: Scope): Promise<Figure> => {
  const { stage, narinfoPaths } = await openSmall(scope);
  const paths = await Promise.all(narinfoPaths.map((path) => narPathOf(stage.house, path.slice(1))));
  const narPaths = paths.map((path) => `/${path}`);
  await wrk(scope, stage.urls.cleanmiss, narPaths, LOAD);
  return await measured(
    { name: '64 KiB NAR, stored', unit: 'requests/s', rounds: ROUNDS, target: TARGET },
    async (way) => {
      const { requestsPerSecond } = await wrk(scope, stage.urls[way], narPaths, LOAD);
      return requestsPerSecond;
    },
  );
};
