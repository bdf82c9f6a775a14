// Every write of the Bazel front asks the gate, here and nowhere else.

import { status } from '@grpc/grpc-js';
import type { Telemetry } from '../core/telemetry.ts';
import type { Decision, Gate } from '../gate/gate.ts';
import { CallError } from './call-error.ts';
import type { Caller } from './caller.ts';

export class GatedWrites {
  readonly #gate: Gate;
  readonly #telemetry: Telemetry;

  constructor(gate: Gate, telemetry: Telemetry) {
    this.#gate = gate;
    this.#telemetry = telemetry;
  }

  /** `subject`: the digest of the action that it is about. */
  async decide(instance: string, operation: string, { signal }: Caller, subject?: string): Promise<Decision> {
    const write = { front: 'bazel', tenant: instance, operation, ...(subject !== undefined && { subject }) } as const;
    const decision = await this.#gate.decide(write, signal);
    if (!decision.allow) this.#telemetry.writeRefused('bazel', decision.by);
    return decision;
  }

  /** Throws the refusal: one call, no other try, and one warning that shows the sentence (Bazel 4 and 7, measured). */
  async admit(instance: string, operation: string, caller: Caller, subject?: string): Promise<void> {
    const decision = await this.decide(instance, operation, caller, subject);
    if (!decision.allow) throw refusalOf(decision);
  }
}

const refusalOf = ({ sentence }: Decision & { readonly allow: false }): CallError =>
  new CallError(status.FAILED_PRECONDITION, sentence);
