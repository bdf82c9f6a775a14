// Resident memory: idle, with readers that do not read, and at its peak while a NAR larger than all of it passes.

import { readFile } from 'node:fs/promises';
import { setTimeout as after } from 'node:timers/promises';
import { startCleanmiss } from '../test/support/real/cleanmiss.ts';
import { type Scope, temporaryDirectory } from '../test/support/real/scope.ts';
import { download, stallReaders } from './download.ts';
import type { Figure } from './figure.ts';
import { largeNars, startLazyUpstream } from './origin.ts';
import { narPathOf, setStage, startOrigin } from './stage.ts';

const READERS = 32;
const STALLED_BYTES = 256 * 1024 * 1024;
const HUGE_BYTES = 3 * 1024 ** 3;
/** A reader is stalled when its socket is full, which takes ms; what follows is watched for so long. */
const WATCH_MS = 3_000;

/** In MB, as /proc has it: `VmRSS` now, `VmHWM` at its peak. */
export const memoryOf = async (pid: number, kind: 'VmRSS' | 'VmHWM'): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const [, kibibytes] = new RegExp(`^${kind}:\\s+(\\d+) kB$`, 'm').exec(status) ?? [];
  return (Number(kibibytes) * 1024) / 1e6;
};

/**
 * cleanmiss is started anew on a store that holds the NAR, so that its idle memory owes nothing to a fill before. What a
 * proxy or a file server takes stands beside it; nginx keeps what it sends in the kernel, or in 64 KiB a reader.
 */
export const stalledReaders = async (scope: Scope): Promise<Figure[]> => {
  const { root, narinfoPaths } = await largeNars(scope, 1, STALLED_BYTES);
  const origin = await startOrigin(scope, root);
  const { proxy, urls } = await setStage(scope, origin.url);
  const dir = await temporaryDirectory(scope, 'data');
  const filler = await startCleanmiss(scope, { 'nix.upstream': origin.url }, dir);
  const narPath = await narPathOf(filler, narinfoPaths[0] ?? '');
  await download(`${filler.nix}/${narPath}`);
  await filler.stop();
  const house = await startCleanmiss(scope, { 'nix.upstream': origin.url }, dir);

  const ways = [
    { way: 'direct', pid: origin.pid, url: urls.direct },
    { way: 'proxied', pid: proxy.pid, url: urls.proxied },
    { way: 'cleanmiss', pid: house.pid, url: house.nix },
  ] as const;
  const idle: Partial<Record<(typeof ways)[number]['way'], number>> = {};
  const grown: typeof idle = {};
  // The proxy is a reader of the origin's too.
  for (const { way, pid, url } of ways) {
    await after(500);
    idle[way] = await memoryOf(pid, 'VmRSS');
    stallReaders(scope, `${url}/${narPath}`, READERS);
    await after(WATCH_MS);
    grown[way] = (await memoryOf(pid, 'VmHWM')) - idle[way];
  }
  return [
    { name: 'memory, idle', unit: 'MB', values: idle, ratios: {} },
    {
      name: `memory, ${READERS} stalled readers`,
      unit: 'MB more',
      values: grown,
      ratios: {},
      target: { than: 'nothing', atMost: 100 },
    },
  ];
};

/** Its peak, over a cold read and one from the store. The NAR is made as it is sent. */
export const hugeNar = async (scope: Scope): Promise<Figure> => {
  const nars = [{ seed: 'huge', sizeBytes: HUGE_BYTES }];
  const { url, narinfoPaths } = await startLazyUpstream(scope, { nars, bytesPerSecond: null });
  const house = await startCleanmiss(scope, { 'nix.upstream': url });
  const narPath = await narPathOf(house, narinfoPaths[0] ?? '');
  const direct = await download(`${url}/${narPath}`, ['--verify']);
  for (const pass of ['cold', 'stored']) {
    const ours = await download(`${house.nix}/${narPath}`, ['--verify']);
    if (ours.sha256 !== direct.sha256) throw new Error(`${pass}: other bytes than the upstream's`);
  }
  const values = { cleanmiss: await memoryOf(house.pid, 'VmHWM') };
  return {
    name: 'memory, 3 GiB NAR passed',
    unit: 'MB peak',
    values,
    ratios: {},
    target: { than: 'nothing', atMost: 300 },
  };
};
