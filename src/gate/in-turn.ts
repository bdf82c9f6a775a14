// Runs actions one after the other, in the order in which they were asked for.

export class InTurn {
  #last: Promise<unknown> = Promise.resolve();

  /** Settles as `action` does. That one fails is no reason for the next not to run. */
  run<T>(action: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(action);
    this.#last = mine.catch(() => undefined);
    return mine;
  }
}
