// How a call ends that the cache refuses.

import { status } from '@grpc/grpc-js';

export class Refused extends Error {
  readonly code: number;

  constructor(code: number, details: string) {
    super(details);
    this.code = code;
  }
}

export const invalid = (details: string): Refused => new Refused(status.INVALID_ARGUMENT, details);
export const notFound = (details: string): Refused => new Refused(status.NOT_FOUND, details);
