// Nothing is behind us: our own store is the cache, and what is proven there is stored.

import { digestKey } from '../core/digest.ts';
import type { Failure } from '../core/verdict.ts';
import { notFound } from './call-error.ts';
import type { BlobUpload, ReapiUpstream } from './upstream.ts';

const ABSENT: Failure = { kind: 'absent' };
const STORED = { kind: 'stored' } as const;

const swallow: BlobUpload = {
  send: () => Promise.resolve(null),
  finish: () => Promise.resolve(STORED),
  cancel: () => {},
};

export const noUpstream: ReapiUpstream = {
  isThere: false,
  fetch: () => () => Promise.resolve(ABSENT),
  findMissing: (_instance, digests) => Promise.resolve({ kind: 'missing', keys: new Set(digests.map(digestKey)) }),
  getActionResult: () => Promise.resolve(ABSENT),
  updateActionResult: ({ actionResult }) =>
    Promise.resolve(actionResult === undefined ? ABSENT : { kind: 'result', result: actionResult }),
  upload: () => swallow,
  batchUpdate: () => Promise.resolve(STORED),
  refusal: () => notFound('there is no such blob'),
  close: () => {},
};
