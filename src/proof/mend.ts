// Reads a proven form, and where our disk has rotted goes on at the same byte with a refilled one.

import { isCode } from '../core/errors.ts';
import type { ProvenForm } from '../store/form.ts';
import type { Obtained } from './obtain.ts';

/**
 * Encoded bytes [start, end), lent as by `Form.lend`. `refill` obtains the claim anew. Throws what the first form's read threw when that brings
 * other bytes, or none.
 */
export async function* mended(
  form: ProvenForm,
  start: number,
  end: number,
  refill: () => Promise<Obtained>,
): AsyncGenerator<Buffer, void, void> {
  let at = start;
  try {
    for await (const piece of form.lend(start, end)) {
      yield piece;
      at += piece.length;
    }
  } catch (error) {
    if (!isCode(error, 'ROT')) throw error;
    const refilled = await refill();
    if (refilled.kind !== 'proven' || refilled.form.fileHash !== form.fileHash) throw error;
    yield* refilled.form.lend(at, end);
  }
}
