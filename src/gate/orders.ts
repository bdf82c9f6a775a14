// Standing orders to refuse writes, as pure functions: which one a write meets, and which change of one is a loosening.

import type { Write } from './gate.ts';

/** `cache:<name>` is the Attic cache of an upload, or the first path segment of a Nix PUT. */
export type Scope = 'global' | 'nix' | 'bazel' | `cache:${string}`;

/** What an operator says of one. */
export interface OrderTerms {
  readonly reason: string;
  readonly ticket: string | null;
  /** By the wall, milliseconds since 1970; null: until it is lifted. */
  readonly expires: number | null;
}

export interface Order extends OrderTerms {
  readonly scope: Scope;
  readonly since: number;
  readonly by: string;
  /** Of this order: another for each change of it, and never one that was used before. */
  readonly generation: number;
}

/** As they are kept. `isUncertain`: an earlier file was corrupt, and nobody has said yet that it held no more. */
export interface Orders {
  readonly version: 1;
  readonly generation: number;
  readonly isUncertain: boolean;
  readonly orders: readonly Order[];
}

/** A cache's name is a path segment, and Attic's are shorter still. */
const CACHE = /^cache:[A-Za-z0-9._~!$&'()*+,;=@-]{1,128}$/;

export const parseScope = (text: string): Scope | null =>
  // The pattern is what the type says.
  text === 'global' || text === 'nix' || text === 'bazel' || CACHE.test(text) ? (text as Scope) : null;

const isMet = (scope: Scope, { front, tenant }: Write): boolean => {
  if (scope === 'global' || scope === front) return true;
  // A body that hides its cache's name might go to any.
  return front === 'nix' && scope.startsWith('cache:') && (tenant === null || scope === `cache:${tenant}`);
};

/** Wide ones first: they are what most people ask about. */
const width = ({ scope }: Order): number => (scope === 'global' ? 0 : scope.startsWith('cache:') ? 2 : 1);

/** The order that stops a write; undefined where none does. */
export const orderFor = (orders: Iterable<Order>, write: Write): Order | undefined =>
  [...orders].filter(({ scope }) => isMet(scope, write)).sort((a, b) => width(a) - width(b))[0];

/** Whether it would end sooner: then it is for those alone who saw what they change. */
export const isLoosened = (before: OrderTerms, after: OrderTerms): boolean =>
  after.expires !== null && (before.expires === null || after.expires < before.expires);

export const isSame = (a: OrderTerms, b: OrderTerms): boolean =>
  a.reason === b.reason && a.ticket === b.ticket && a.expires === b.expires;

/** Throws at what is no `Orders`. */
export const readOrders = (value: unknown): Orders => {
  const fail = (): never => {
    throw new Error('these are no quarantine orders');
  };
  const isRecord = (one: unknown): one is Record<string, unknown> => typeof one === 'object' && one !== null;
  const isTime = (one: unknown): one is number => Number.isSafeInteger(one);
  if (!isRecord(value) || value['version'] !== 1 || !isTime(value['generation'])) return fail();
  const { generation, isUncertain, orders } = value;
  if (typeof isUncertain !== 'boolean' || !Array.isArray(orders)) return fail();
  return {
    version: 1,
    generation,
    isUncertain,
    orders: orders.map((one: unknown): Order => {
      if (!isRecord(one)) return fail();
      const { scope, reason, ticket, since, by, expires } = one;
      const known = typeof scope === 'string' ? parseScope(scope) : null;
      if (known === null || typeof reason !== 'string' || typeof by !== 'string') return fail();
      if (!isTime(since) || !isTime(one['generation']) || one['generation'] > generation) return fail();
      if (!(ticket === null || typeof ticket === 'string') || !(expires === null || isTime(expires))) return fail();
      return { scope: known, reason, ticket, since, by, expires, generation: one['generation'] };
    }),
  };
};
