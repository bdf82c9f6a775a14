// The watch over one S3 store: its client, its probes and its markers, put together and taken apart.

import type { Clock } from '../core/clock.ts';
import { Markers } from './markers.ts';
import { Probes } from './probes.ts';
import { ReadinessProbe } from './readiness.ts';
import { type S3Keys, S3Store } from './s3-store.ts';
import type { MachineState } from './state.ts';
import { HealthWatch, type WatchPorts } from './watch.ts';

export interface S3WatchOptions {
  readonly clock: Clock;
  readonly endpoint: string;
  readonly region: string;
  readonly pathStyle: boolean;
  readonly credentials: S3Keys | { readonly file: string } | null;
  /** At least one. */
  readonly buckets: readonly string[];
  readonly canaryPrefix: string;
  readonly intervalMs: number;
  /** null: no view of the drive. */
  readonly markersDir: string | null;
  readonly version: string;
  /** `initialState`, or what was on disk, `restored`. */
  readonly state: MachineState;
  readonly mayWrite: WatchPorts['mayWrite'];
  readonly random: WatchPorts['random'];
  readonly log: WatchPorts['log'];
}

export interface S3Watch {
  readonly watch: HealthWatch;
  close(): Promise<void>;
}

/** Nothing runs before `watch.start()`. Whoever opens it closes it. */
export const openS3Watch = (options: S3WatchOptions): S3Watch => {
  const { clock, buckets, canaryPrefix, markersDir } = options;
  const store = new S3Store(options);
  const probes = new Probes({ clock, store, buckets, canaryPrefix });
  const readiness = new ReadinessProbe(clock, options.endpoint);
  const markers = markersDir === null ? null : new Markers({ clock, dir: markersDir, buckets });
  const watch = new HealthWatch(
    {
      clock,
      mayWrite: options.mayWrite,
      random: options.random,
      log: options.log,
      async look() {
        const [answers, ready, marked] = await Promise.all([
          probes.look(),
          readiness.look(),
          markers === null ? null : markers.look(),
        ]);
        return { ...answers, readiness: ready, markers: marked };
      },
      proveWrite: () => probes.proveWrite(),
    },
    options.state,
    options.intervalMs,
  );
  return {
    watch,
    async close() {
      const closed = watch.close();
      store.close();
      markers?.close();
      await readiness.close();
      await closed;
    },
  };
};
