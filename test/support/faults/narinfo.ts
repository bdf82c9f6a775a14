// Faults in the text of a narinfo.

import { collect, inMemory } from '../upstream-plan.ts';
import type { Fault } from './when.ts';

const edited =
  (edit: (text: string) => string): Fault =>
  async (plan) => ({
    ...plan,
    content: inMemory(edit((await collect(plan.content)).toString())),
  });

/** Replaces the line of that field; null takes it out. */
export const narinfoField = (name: string, value: string | null): Fault =>
  edited((text) => text.replace(new RegExp(`^${name}: .*\n`, 'm'), value === null ? '' : `${name}: ${value}\n`));

/** `absolute` leads to another origin, where nobody listens; `climbing` out of the cache, into `other`. */
export const narinfoUrl = (url: 'absolute' | 'climbing' | (string & {})): Fault =>
  edited((text) =>
    text.replace(/^URL: (.*)\n/m, (_, old: string) => {
      const named: Record<string, string> = {
        absolute: `http://127.0.0.1:1/${old}`,
        climbing: `../other/${old}`,
      };
      return `URL: ${named[url] ?? url}\n`;
    }),
  );
