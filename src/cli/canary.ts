// `cleanmiss canary init`: writes the objects by which health tells a well bucket from an empty one.

import { randomUUID } from 'node:crypto';
import type { Config } from '../config.ts';
import { systemClock } from '../core/clock.ts';
import { CleanmissError } from '../core/errors.ts';
import { initCanaries } from '../health/canary.ts';
import { S3Store } from '../health/s3-store.ts';
import { asJson, FINDINGS, FINE, type Options, type Shell, table } from './shell.ts';

export const runCanaryInit = async (
  { health: { s3 } }: Config,
  version: string,
  options: Options,
  shell: Shell,
): Promise<number> => {
  if (s3.endpoint === undefined || s3.buckets.length === 0) {
    throw new CleanmissError('CANARY', 'client', 'health.s3.endpoint and health.s3.buckets say where canaries go');
  }
  const store = new S3Store({
    clock: systemClock,
    endpoint: s3.endpoint.origin,
    region: s3.region,
    pathStyle: s3.pathStyle,
    credentials: s3.credentials === undefined ? null : { file: s3.credentials },
    version,
  });
  try {
    const report = await initCanaries({
      store,
      buckets: s3.buckets,
      canaryPrefix: s3.canaryPrefix,
      // Those that are there name it.
      storeId: null,
      newStoreId: randomUUID,
    });
    const rows = report.canaries.map(({ bucket, key, result, reason }) => [bucket, key, result, reason ?? '']);
    const text = `store ${report.storeId}\n${table(['BUCKET', 'KEY', 'RESULT', 'REASON'], rows)}`;
    shell.say(options['json'] === true ? asJson(report) : text);
    return report.canaries.every(({ result }) => result === 'written' || result === 'kept') ? FINE : FINDINGS;
  } finally {
    store.close();
  }
};
