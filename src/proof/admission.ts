// How many fills may run: so many in all, so many for one client, who then waits in order.

import { CleanmissError } from '../core/errors.ts';

export interface AdmissionLimits {
  readonly max: number;
  readonly perClient: number;
}

/** A Nix client keeps 25 connections, and a fleet of Bazels behind one address some thousand calls. */
const MAX_QUEUE = 4096;

interface Client {
  active: number;
  readonly queue: Array<() => void>;
}

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #clients = new Map<string, Client>();
  #active = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  get active(): number {
    return this.#active;
  }

  /** Those that hold a place; no other is remembered. */
  get clients(): number {
    return this.#clients.size;
  }

  /**
   * Resolves with the function that gives the place back, of which the first call counts. Rejects with code BUSY when
   * all places are taken or the client's queue is full, and with the signal's reason when it is aborted while waiting.
   */
  async enter(clientName: string, signal: AbortSignal): Promise<() => void> {
    const client = this.#clients.get(clientName) ?? { active: 0, queue: [] };
    if (client.active >= this.#limits.perClient) {
      if (client.queue.length >= MAX_QUEUE) throw busy();
      await turn(client.queue, signal);
    } else {
      if (this.#active >= this.#limits.max) throw busy();
      this.#clients.set(clientName, client);
      client.active += 1;
      this.#active += 1;
    }
    let isHeld = true;
    return () => {
      if (isHeld) this.#leave(clientName, client);
      isHeld = false;
    };
  }

  /** A place that its client waits for passes on as it is: between two turns of the loop somebody else would take it. */
  #leave(clientName: string, client: Client): void {
    const next = client.queue.shift();
    if (next !== undefined) return next();
    client.active -= 1;
    this.#active -= 1;
    if (client.active === 0) this.#clients.delete(clientName);
  }
}

const busy = () => new CleanmissError('BUSY', 'self', 'every place for a fill is taken');

const turn = (queue: Array<() => void>, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const onAbort = () => {
      const index = queue.indexOf(onTurn);
      if (index >= 0) queue.splice(index, 1);
      reject(signal.reason);
    };
    const onTurn = () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    };
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    queue.push(onTurn);
  });
