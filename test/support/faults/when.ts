// A fault is a function from plan to plan. These say to which requests others apply; without one, to all.

import type { Exchange } from '../upstream-exchange.ts';
import type { Plan } from '../upstream-plan.ts';

/** `origin` is the upstream's own, e.g. `http://127.0.0.1:4711`. */
export type Fault = (plan: Plan, request: Exchange, origin: string) => Plan | Promise<Plan>;

export const when =
  (isTrue: (request: Exchange) => boolean, ...faults: readonly Fault[]): Fault =>
  async (plan, request, origin) => {
    if (!isTrue(request)) return plan;
    let changed = plan;
    for (const fault of faults) changed = await fault(changed, request, origin);
    return changed;
  };

/** The first `count` requests after it was scripted. */
export const first = (count: number, ...faults: readonly Fault[]): Fault => {
  let left = count;
  return when(() => left-- > 0, ...faults);
};

export const once = (...faults: readonly Fault[]): Fault => first(1, ...faults);

/** All requests but the first `count`. */
export const afterFirst = (count: number, ...faults: readonly Fault[]): Fault => {
  let left = count;
  return when(() => left-- <= 0, ...faults);
};

/** As long as the flag is up; tests lower it. */
export const whileUp = (flag: { isUp: boolean }, ...faults: readonly Fault[]): Fault =>
  when(() => flag.isUp, ...faults);

/** Requests that ask for a range: the resumptions. */
export const onRange = (...faults: readonly Fault[]): Fault =>
  when((request) => request.headers['range'] !== undefined, ...faults);
