// How long a narinfo takes while eight NARs are being proven: whether a fill holds up the loop that answers everyone.

import { setTimeout as after } from 'node:timers/promises';
import type { Scope } from '../test/support/real/scope.ts';
import { downloadAll } from './download.ts';
import { type Figure, measured } from './figure.ts';
import { largeNars } from './origin.ts';
import { narPathOf, setStage, startOrigin } from './stage.ts';
import { wrk } from './wrk.ts';

const ROUNDS = 3;
const NARS = 8;
const SIZE_BYTES = 96 * 1024 * 1024;
/** 25 connections, each of which rests 10 ms between two requests: 2000 a second, which no way is hard put to answer. */
const LOAD = { seconds: 1, connections: 25, pauseMs: 10 };
/** Until the clients have started and the transfers run. */
const HEAD_START_MS = 250;

/**
 * The other ways carry the same eight NARs over and over meanwhile. cleanmiss gets eight new ones each round, which must
 * outlast the load: 768 MiB to be proven take some two seconds.
 */
export const busyNarinfo = async (scope: Scope): Promise<Figure> => {
  const { root, narinfoPaths } = await largeNars(scope, ROUNDS * NARS, SIZE_BYTES);
  const stage = await setStage(scope, (await startOrigin(scope, root)).url);
  const narPaths = await Promise.all(narinfoPaths.map((path) => narPathOf(stage.house, path)));
  const asked = narinfoPaths.map((path) => `/${path}`);
  await wrk(scope, stage.urls.cleanmiss, asked, LOAD);
  const shape = { name: `narinfo p99 while ${NARS} NARs are proven`, unit: 'ms', rounds: ROUNDS };
  return await measured(shape, async (way, round) => {
    const urls = narPaths.slice(round * NARS, (round + 1) * NARS).map((path) => `${stage.urls[way]}/${path}`);
    let isOver = false;
    const carry = async () => {
      do await downloadAll(urls);
      while (way !== 'cleanmiss' && !isOver);
      if (!isOver) throw new Error('the NARs were proven before the load was over');
    };
    const carrying = carry();
    await after(HEAD_START_MS);
    const { p99Ms } = await Promise.race([
      wrk(scope, stage.urls[way], asked, LOAD),
      carrying.then(() => ({ p99Ms: Number.NaN })),
    ]);
    isOver = true;
    await carrying;
    return p99Ms;
  });
};
