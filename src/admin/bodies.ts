// What callers of admin send: read strictly, for a key that is misspelled must not pass for one that is not there.

import { CleanmissError } from '../core/errors.ts';
import { scrub } from '../core/scrub.ts';
import type { OrderTerms } from '../gate/orders.ts';

const MAX_REASON = 500;
const MAX_TICKET = 100;
const MAX_NOTE = 2_000;
/** Beyond, the order is for good. */
const MAX_EXPIRES_MS = 366 * 86_400_000;
const unitMs = new Map([
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

const refuse = (why: string): never => {
  throw new CleanmissError('BODY', 'client', why);
};

const fieldsOf = (body: unknown, known: readonly string[]): Record<string, unknown> => {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return refuse('the body must be a JSON object');
  const unknown = Object.keys(body).find((name) => !known.includes(name));
  if (unknown !== undefined) refuse(`an unknown field; accepted: ${known.join(', ')}`);
  return { ...body };
};

/** One line: it becomes part of the sentence that clients print. Scrubbed, for people quote what they saw. */
const line = (value: unknown, name: string, max: number): string => {
  if (typeof value !== 'string' || value.trim() === '') return refuse(`${name} must say something`);
  if (value.length > max) refuse(`${name} is longer than ${max} characters`);
  if (/\p{Cc}/u.test(value)) refuse(`${name} must be one line`);
  return scrub(value.trim());
};

const optional = <T>(value: unknown, read: (value: unknown) => T): T | null =>
  value === undefined || value === null ? null : read(value);

/** A time (ISO 8601, with its zone) or a duration from now: `4h`. Milliseconds since 1970. */
const expiry = (value: unknown, now: number): number => {
  const text = typeof value === 'string' ? value : refuse('expires must be a time or a duration');
  const [, digits = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)$/.test(text);
  const at = digits !== '' ? now + Number(digits) * (unitMs.get(unit) ?? 0) : isTime ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) refuse('expires: accepted: a duration such as "4h", or a time such as "2026-05-01T12:00:00Z"');
  if (at <= now) refuse('expires is in the past');
  return at - now <= MAX_EXPIRES_MS ? at : refuse('expires is more than a year away');
};

export const readTerms = (body: unknown, now: number): OrderTerms => {
  const { reason, ticket, expires } = fieldsOf(body, ['reason', 'ticket', 'expires']);
  return {
    reason: line(reason, 'reason', MAX_REASON),
    ticket: optional(ticket, (value) => line(value, 'ticket', MAX_TICKET)),
    expires: optional(expires, (value) => expiry(value, now)),
  };
};

/** Of a lifting: nobody has to give reasons for that. */
export const readReason = (body: unknown): string | null =>
  optional(body, (body) =>
    optional(fieldsOf(body, ['reason'])['reason'], (value) => line(value, 'reason', MAX_REASON)),
  );

export const readNote = (body: unknown): string => {
  const { note } = fieldsOf(body, ['note']);
  if (typeof note !== 'string' || note.trim() === '') return refuse('note must say what was found');
  if (note.length > MAX_NOTE) refuse(`note is longer than ${MAX_NOTE} characters`);
  return scrub(note.trim());
};
