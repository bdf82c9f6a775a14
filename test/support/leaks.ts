// Finds what a test left behind: sockets, servers, workers, open files, and timers, also those that keep no process alive.

import { createHook } from 'node:async_hooks';
import { readdirSync, readlinkSync } from 'node:fs';

/** Where each live timer was made. `process.getActiveResourcesInfo()` leaves out timers that are unref'd, as ours are. */
const timers = new Map<number, string>();

const hook = createHook({
  init(id, type) {
    if (type === 'Timeout') timers.set(id, new Error().stack ?? '');
  },
  destroy(id) {
    timers.delete(id);
  },
});

/** Where it was made: Node's own frames, and the first that is not. */
const makers = (stack: string): string[] => {
  const frames = stack.split('\n').filter((line) => line.startsWith('    at ') && !line.includes(import.meta.url));
  const first = frames.findIndex((frame) => !frame.includes('node:'));
  return first < 0 ? frames : frames.slice(0, first + 1);
};

/** Timers of others that live on for a while by design: tap's own, undici's clock, the Date header of node:http. */
const isForeign = (stack: string): boolean =>
  /node_modules\/(?:@tapjs|tap)\/|undici\/lib\/util\/timers|utcDate/.test(makers(stack).join('\n'));

const shown = (stack: string): string =>
  stack
    .split('\n')
    .filter((line) => line.startsWith('    at ') && !/node:|node_modules|leaks\.ts:/.test(line))
    .slice(0, 6)
    .join('\n');

/** Threads that have not ended. */
const workers = new Set<number>();
process.on('worker', (worker) => {
  const { threadId } = worker;
  workers.add(threadId);
  worker.once('exit', () => workers.delete(threadId));
});

const openFiles = (): Set<string> => {
  const open = new Set<string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      const target = readlinkSync(`/proc/self/fd/${name}`);
      // libuv's own (epoll, eventfd, io_uring) come when first needed, and stay.
      if (!target.startsWith('anon_inode:')) open.add(`${name} -> ${target}`);
    } catch {
      // The descriptor of the listing itself is closed by now.
    }
  }
  return open;
};

const count = (names: readonly string[]): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
};

/** Timers are told by their stacks, Immediates come and go, and files are told by their descriptors. */
const activeResources = (): Map<string, number> =>
  count(process.getActiveResourcesInfo().filter((name) => !/^(Timeout|Immediate|FSReq|GetAddrInfo)/.test(name)));

export interface LeakWatch {
  /** What there is now that was not there at the start; one line each. */
  leaks(): string[];
  /** Waits up to `patienceMs` for closings that take a few turns, then tells what is left. */
  settled(patienceMs?: number): Promise<string[]>;
}

/** Call it before anything is opened. */
export const watchForLeaks = (): LeakWatch => {
  hook.enable();
  const timersBefore = new Set(timers.keys());
  const workersBefore = new Set(workers);
  const filesBefore = openFiles();
  const resourcesBefore = activeResources();
  const leaks = (): string[] => {
    const resources = [...activeResources()]
      .map(([name, now]) => ({ name, more: now - (resourcesBefore.get(name) ?? 0) }))
      .filter(({ more }) => more > 0)
      .map(({ name, more }) => `${more} ${name}`);
    const files = [...openFiles()].filter((file) => !filesBefore.has(file));
    const left = [...timers]
      .filter(([id, stack]) => !timersBefore.has(id) && !isForeign(stack))
      .map(([, stack]) => `timer made at\n${shown(stack)}`);
    const threads = [...workers].filter((id) => !workersBefore.has(id)).map((id) => `worker ${id}`);
    return [...resources, ...threads, ...files.map((file) => `open file ${file}`), ...left];
  };
  return {
    leaks,
    async settled(patienceMs = 500) {
      const until = performance.now() + patienceMs;
      let found = leaks();
      while (found.length > 0 && performance.now() < until) {
        await new Promise((resolve) => setImmediate(resolve));
        found = leaks();
      }
      return found;
    },
  };
};

/** Call it first in a test: tap runs teardowns in reverse, so this one looks when all others are done. */
export const refuseLeaks = (t: { teardown(action: () => Promise<void>): unknown }, patienceMs = 500): void => {
  const watch = watchForLeaks();
  t.teardown(async () => {
    const left = await watch.settled(patienceMs);
    // A teardown that throws fails its test; an assertion comes too late there.
    if (left.length > 0) throw new Error(`left open: ${left.join('\n')}`);
  });
};
