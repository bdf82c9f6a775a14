// One error base with stable codes, and who is to blame. Match on `code`, never on a message.

export type Blame = 'client' | 'upstream' | 'self';

export class CleanmissError extends Error {
  override readonly name = 'CleanmissError';
  readonly code: string;
  readonly blame: Blame;

  constructor(code: string, blame: Blame, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.blame = blame;
  }
}

/** Encoded bytes that no right encoder wrote: damaged, cut short, followed by others, or beyond a bound. */
export class DecodeError extends CleanmissError {
  /** `incomplete`: the stream would be right if it went on. `bound`: a window, frame or output limit. */
  readonly fault: 'damaged' | 'incomplete' | 'trailing' | 'bound';

  constructor(fault: DecodeError['fault'], message: string, cause?: unknown) {
    super('DECODE', 'upstream', message, cause);
    this.fault = fault;
  }
}

/** What may be told of an error whose message repeats a path: somebody may have pasted a secret where it belongs. */
export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';

export const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;
