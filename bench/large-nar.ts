// One NAR of 256 MiB in some 6500 zstd frames: cold, cold behind a slow wire, and from the store.

import type { Scope } from '../test/support/real/scope.ts';
import { download, megabytesPerSecond } from './download.ts';
import { type Figure, measured } from './figure.ts';
import { largeNars, startLazyUpstream } from './origin.ts';
import { narPathOf, type Stage, setStage, startOrigin, type Way, wideProxy } from './stage.ts';

const SIZE_BYTES = 256 * 1024 * 1024;
const COLD_ROUNDS = 5;
const STORED_ROUNDS = 9;
const PACED_ROUNDS = 3;
const WIRE_BYTES_PER_SECOND = 50e6;

const urlOf = (stage: Stage, way: Way, narPath: string): string => `${stage.urls[way]}/${narPath}`;

/** What is fast and wrong is no figure: the encoded bytes that we send are the upstream's own. */
const compareBytes = async (stage: Stage, narPath: string): Promise<void> => {
  const direct = await download(urlOf(stage, 'direct', narPath), ['--verify']);
  const ours = await download(urlOf(stage, 'cleanmiss', narPath), ['--verify']);
  if (direct.sha256 !== ours.sha256) throw new Error(`${narPath}: other bytes than the upstream's`);
};

/** To the last byte, in encoded MB/s. Each round has a NAR that cleanmiss never saw. */
export const cold = async (scope: Scope): Promise<Figure> => {
  const { root, narinfoPaths } = await largeNars(scope, COLD_ROUNDS + 1, SIZE_BYTES);
  const stage = await setStage(scope, (await startOrigin(scope, root)).url, { proxy: wideProxy });
  const narPaths = await Promise.all(narinfoPaths.map((path) => narPathOf(stage.house, path)));
  await compareBytes(stage, narPaths[COLD_ROUNDS] ?? '');
  return await measured({ name: '256 MiB NAR, cold', unit: 'MB/s', rounds: COLD_ROUNDS }, async (way, round) =>
    megabytesPerSecond(await download(urlOf(stage, way, narPaths[round] ?? ''))),
  );
};

/** From the store: the page cache holds the file, and every MiB is hashed again before it leaves. */
export const stored = async (scope: Scope): Promise<Figure> => {
  const { root, narinfoPaths } = await largeNars(scope, 1, SIZE_BYTES);
  const stage = await setStage(scope, (await startOrigin(scope, root)).url, { proxy: wideProxy });
  const narPath = await narPathOf(stage.house, narinfoPaths[0] ?? '');
  await compareBytes(stage, narPath);
  const target = { than: 'proxied', atLeast: 0.5 } as const;
  return await measured({ name: '256 MiB NAR, stored', unit: 'MB/s', rounds: STORED_ROUNDS, target }, async (way) =>
    megabytesPerSecond(await download(urlOf(stage, way, narPath))),
  );
};

/** Seconds to the last byte when the upstream gives 50 MB/s on the wire: proof and second sending come on top. */
export const coldBehindSlowWire = async (scope: Scope): Promise<Figure> => {
  const nars = Array.from({ length: PACED_ROUNDS }, (_, round) => ({ seed: `paced-${round}`, sizeBytes: SIZE_BYTES }));
  const { url, narinfoPaths } = await startLazyUpstream(scope, { nars, bytesPerSecond: WIRE_BYTES_PER_SECOND });
  const stage = await setStage(scope, url, { proxy: wideProxy });
  const narPaths = await Promise.all(narinfoPaths.map((path) => narPathOf(stage.house, path)));
  const target = { than: 'direct', atMost: 1.2 } as const;
  const shape = { name: '256 MiB NAR, cold at 50 MB/s', unit: 's to last byte', rounds: PACED_ROUNDS, target };
  return await measured(shape, async (way, round) => {
    const { lastByteMs } = await download(urlOf(stage, way, narPaths[round] ?? ''));
    return lastByteMs / 1000;
  });
};
