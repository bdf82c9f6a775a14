// Work that nobody waits for, bounded all the same: past the bounds, those who bring more wait for room.

/** Two of the four threads of Node's pool: reads, and everybody else's files, keep the others. */
const PARALLEL = 2;

export interface BacklogBounds {
  readonly maxJobs: number;
  /** Bytes that waiting and running jobs keep in memory. */
  readonly maxBytes: number;
}

interface Job {
  readonly bytes: number;
  readonly action: () => Promise<void>;
  readonly done: () => void;
}

export class Backlog {
  readonly #bounds: BacklogBounds;
  readonly #onError: (error: unknown) => void;
  #waitingJobs: Job[] = [];
  /** Where the first that waits stands: `shift` would move all others, tens of thousands at times. */
  #head = 0;
  #jobs = 0;
  #bytes = 0;
  #running = 0;
  #wakeups: (() => void)[] = [];

  /** `onError` hears of actions that reject; they are expected to deal with their own faults. */
  constructor(bounds: BacklogBounds, onError: (error: unknown) => void) {
    this.#bounds = bounds;
    this.#onError = onError;
  }

  /** Jobs waiting and running. */
  get jobs(): number {
    return this.#jobs;
  }

  /**
   * Resolves when the backlog is within its bounds. All who wait are let in together: they are callers, bounded by
   * `fills.max`, and what they bring is in memory already.
   */
  async room(): Promise<void> {
    while (this.#jobs >= this.#bounds.maxJobs || this.#bytes >= this.#bounds.maxBytes) await this.#change();
  }

  /** Resolves when the action is over, however it ended. */
  add(bytes: number, action: () => Promise<void>): Promise<void> {
    this.#jobs++;
    this.#bytes += bytes;
    return new Promise((done) => {
      this.#waitingJobs.push({ bytes, action, done });
      this.#start();
    });
  }

  async idle(): Promise<void> {
    while (this.#jobs > 0) await this.#change();
  }

  #start(): void {
    while (this.#running < PARALLEL) {
      const job = this.#waitingJobs[this.#head];
      if (job === undefined) break;
      this.#head++;
      this.#running++;
      void this.#run(job);
    }
    // At most as many are moved as were taken since the last time.
    if (this.#head < Math.max(64, this.#waitingJobs.length / 2)) return;
    this.#waitingJobs = this.#waitingJobs.slice(this.#head);
    this.#head = 0;
  }

  async #run(job: Job): Promise<void> {
    try {
      await job.action();
    } catch (error) {
      this.#onError(error);
    }
    this.#running--;
    this.#jobs--;
    this.#bytes -= job.bytes;
    job.done();
    const wakeups = this.#wakeups;
    this.#wakeups = [];
    for (const wake of wakeups) wake();
    this.#start();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wakeups.push(resolve));
  }
}
