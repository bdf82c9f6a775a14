// One action at a time per key, in the order in which they were asked for; other keys do not wait.

export class Turns {
  /** Settles when the last action asked for under a key has. Holds no key that nobody waits for. */
  readonly #last = new Map<string, Promise<void>>();

  run<T>(key: string, action: () => Promise<T>): Promise<T> {
    const mine = (this.#last.get(key) ?? Promise.resolve()).then(action);
    const settled: Promise<void> = mine.then(
      () => this.#leave(key, settled),
      // The one who asked for the action gets its error; the next in line does not care.
      () => this.#leave(key, settled),
    );
    this.#last.set(key, settled);
    return mine;
  }

  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.all(this.#last.values());
  }

  #leave(key: string, settled: Promise<void>): void {
    if (this.#last.get(key) === settled) this.#last.delete(key);
  }
}
