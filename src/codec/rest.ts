// A rest that a sink asked for: what has more to give waits until it is over.

export class Rest {
  #over: Promise<void> | undefined;
  #finish: (() => void) | undefined;

  /** Resolves with the end of the rest; undefined when there is none. */
  get over(): Promise<void> | undefined {
    return this.#over;
  }

  begin(): void {
    this.#over ??= new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  finish(): void {
    this.#finish?.();
    this.#over = undefined;
    this.#finish = undefined;
  }
}
