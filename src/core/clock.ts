// Time is passed in, so that tests own it.

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970 by the wall: for people and for what outlives a restart. */
  now(): number;
  /** Milliseconds that never jump: for every limit and wait. */
  monotonic(): number;
  /** Runs `action` once, `ms` from now. The timer does not keep the process alive. */
  after(ms: number, action: () => void): Timer;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, action) {
    const timeout = setTimeout(action, ms).unref();
    return { cancel: () => clearTimeout(timeout) };
  },
};

/** Resolves after `ms`, or at once when `signal` is aborted. */
export const pause = (clock: Clock, ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      timer.cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(ms, done);
    signal?.addEventListener('abort', done, { once: true });
  });

/** Nobody reads it: without one, an abort makes an error with a stack, which costs more than a timer. */
const OVER = 'over';

/** What the promise resolves with, or undefined where that takes longer than `ms`. */
export const within = async <T>(clock: Clock, ms: number, promise: Promise<T>): Promise<T | undefined> => {
  const done = new AbortController();
  try {
    return await Promise.race([promise, pause(clock, Math.max(0, ms), done.signal).then(() => undefined)]);
  } finally {
    done.abort(OVER);
  }
};

/** Does work that is told to end after `ms`, by a signal. */
export const limited = async <T>(clock: Clock, ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
  const limit = new AbortController();
  const timer = clock.after(ms, () => limit.abort());
  try {
    return await work(limit.signal);
  } finally {
    timer.cancel();
  }
};
