// What one round of probes brought home, before anybody judges it.

import type { Answer } from './answer.ts';
import type { Marker } from './state.ts';

export interface BucketAnswers {
  readonly bucket: string;
  readonly head: Answer;
  readonly headCanary: Answer;
  readonly getCanary: Answer;
}

/** What the server says of itself: corroboration, and never more. It has been wrong both ways. */
export interface Readiness {
  readonly word: 'ready' | 'not-ready' | 'unknown';
  readonly version: string | null;
  /** null: nothing was asked. */
  readonly answer: Answer | null;
}

export interface Round {
  readonly list: Answer;
  readonly buckets: readonly BucketAnswers[];
  readonly readiness: Readiness;
  /** By bucket; null: no directory is watched. */
  readonly markers: ReadonlyMap<string, Marker> | null;
}
