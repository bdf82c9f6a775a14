// How many fills may run: so many in all, so many for one client, who then waits in order.

import { CleanmissError } from '../core/errors.ts';

export interface AdmissionLimits {
  readonly max: number;
  readonly perClient: number;
}

/** A Nix client keeps 25 connections, so a longer queue is no client of ours. */
const MAX_QUEUE = 256;

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

  /**
   * Resolves with the function that gives the place back. Rejects with code BUSY when all places are taken or the
   * client's queue is full, and with the signal's reason when it is aborted while waiting.
   */
  async enter(clientName: string, signal: AbortSignal): Promise<() => void> {
    const client = this.#clients.get(clientName) ?? { active: 0, queue: [] };
    this.#clients.set(clientName, client);
    if (client.active >= this.#limits.perClient) {
      if (client.queue.length >= MAX_QUEUE) throw busy();
      await turn(client.queue, signal);
    }
    if (this.#active >= this.#limits.max) {
      client.queue.shift()?.();
      throw busy();
    }
    client.active += 1;
    this.#active += 1;
    return () => this.#leave(clientName, client);
  }

  #leave(clientName: string, client: Client): void {
    client.active -= 1;
    this.#active -= 1;
    client.queue.shift()?.();
    if (client.active === 0 && client.queue.length === 0) this.#clients.delete(clientName);
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
