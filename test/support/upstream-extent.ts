// Which part of the content a request gets, and with which status.

import type { Exchange } from './upstream-exchange.ts';
import type { Plan } from './upstream-plan.ts';

export interface Extent {
  readonly status: number;
  readonly start: number;
  /** Null: until the content ends. */
  readonly sizeBytes: number | null;
  readonly headers: Plan['headers'];
}

/** RFC 9110, 14.2: a single satisfiable range, an unsatisfiable one, or everything. */
export const extentOf = (plan: Plan, exchange: Exchange): Extent => {
  const { sizeBytes } = plan.content;
  const offers: Plan['headers'] = [
    ...(plan.ranges ? ([['Accept-Ranges', 'bytes']] as const) : []),
    ...(plan.etag === null ? [] : ([['ETag', plan.etag]] as const)),
  ];
  const all = { status: plan.status, start: 0, sizeBytes, headers: offers };
  const range = /^bytes=(\d*)-(\d*)$/.exec(exchange.headers['range'] ?? '');
  const condition = exchange.headers['if-range'];
  if (!plan.ranges || !range || sizeBytes === null || exchange.method !== 'GET') return all;
  if (condition !== undefined && condition !== plan.etag) return all;
  const [, from = '', to = ''] = range;
  const start = from === '' ? Math.max(0, sizeBytes - Number(to)) : Number(from);
  const end = from === '' || to === '' ? sizeBytes : Math.min(sizeBytes, Number(to) + 1);
  if (start >= end) {
    const headers = [...offers, ['Content-Range', `bytes */${sizeBytes}`] as const];
    return { status: 416, start: 0, sizeBytes: 0, headers };
  }
  const contentRange = ['Content-Range', `bytes ${start}-${end - 1}/${sizeBytes}`] as const;
  return { status: 206, start, sizeBytes: end - start, headers: [...offers, contentRange] };
};
