// How long a narinfo takes while eight NARs are being proven: whether a fill holds up the loop that answers everyone.

import { setTimeout as after } from 'node:timers/promises';
import type { Scope } from '../test/support/real/scope.ts';
import { downloadAll } from './download.ts';
import { type Figure, measured } from './figure.ts';
import { largeNars } from './origin.ts';
import { narPathOf, setStage, startOrigin, wideProxy } from './stage.ts';
import { wrk } from './wrk.ts';

const ROUNDS = 3;
const NARS = 8;
const SIZE_BYTES = 96 * 1024 * 1024;
/** 25 connections, each of which rests 10 ms between two requests: 2000 a second, which no way is hard put to answer. */
const LOAD = { seconds: 2, connections: 25, pauseMs: 10 };
const WARM_UP = { seconds: 3, connections: 25 };
/** Until the load's connections are open: libuv accepts one in each turn of the loop, which is another question. */
const HEAD_START_MS = 250;

/**
 * The other ways carry the same eight NARs over and over meanwhile. cleanmiss gets eight new ones each round, which must
 * outlast the load: 768 MiB to be proven take some four seconds.
 */
export const busyNarinfo = async (scope: Scope): Promise<Figure> => {
  const { root, narinfoPaths } = await largeNars(scope, ROUNDS * NARS + 1, SIZE_BYTES);
  // Records stay fresh: how long the upstream takes to revalidate one, behind eight transfers, is another question too.
  const upstream = (await startOrigin(scope, root)).url;
  const { urls, house } = await setStage(scope, upstream, { proxy: wideProxy, flags: { 'records.fresh': '1h' } });
  const narPaths = await Promise.all(narinfoPaths.map((path) => narPathOf(house, path)));
  const asked = narinfoPaths.map((path) => `/${path}`);
  await wrk(scope, urls.cleanmiss, asked, WARM_UP);
  await downloadAll([`${urls.cleanmiss}/${narPaths[ROUNDS * NARS]}`]);
  const shape = { name: `narinfo p99 while ${NARS} NARs are proven`, unit: 'ms', rounds: ROUNDS };
  return await measured(shape, async (way, round) => {
    const nars = narPaths.slice(round * NARS, (round + 1) * NARS).map((path) => `${urls[way]}/${path}`);
    let isOver = false;
    const load = async () => {
      const { p99Ms } = await wrk(scope, urls[way], asked, LOAD);
      isOver = true;
      return p99Ms;
    };
    const carry = async () => {
      await after(HEAD_START_MS);
      do await downloadAll(nars);
      while (way !== 'cleanmiss' && !isOver);
      if (!isOver) throw new Error('the NARs were proven before the load was over');
    };
    const [p99Ms] = await Promise.all([load(), carry()]);
    return p99Ms;
  });
};
