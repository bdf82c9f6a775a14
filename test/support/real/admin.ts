// What a house says of itself: its metrics, and waits for what they will say.

import { setTimeout as after } from 'node:timers/promises';
import type { Status } from '../../../src/admin/status.ts';

/** The sum of a metric's series that carry all of these labels. */
export const metric = async (
  admin: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> => {
  const text = await (await fetch(`${admin}/metrics`)).text();
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  const series = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  if (series.length === 0) throw new Error(`no metric ${name}`);
  return series
    .filter((line) => wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
};

export const statusOf = async (admin: string): Promise<Status> => {
  // The house's own answer; its shape is proven by admin's tests.
  return (await (await fetch(`${admin}/v1/status`)).json()) as Status;
};

/** Resolves as soon as it is true, looked at every few ms: for what tells nobody when it changes. */
export const untilTrue = async (isTrue: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await isTrue())) await after(5);
};
