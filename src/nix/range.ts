// Reads a Range header: one range of bytes, as curl sends it to resume.

export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export type RangeAnswer =
  | { readonly kind: 'whole' }
  | { readonly kind: 'range'; readonly range: ByteRange }
  /** At or past the end. Never a 416, which no Nix takes for a miss. */
  | { readonly kind: 'outside' }
  | { readonly kind: 'malformed' };

/** `header` against a body of `sizeBytes`; `end` is exclusive (RFC 9110 §14.1.2). */
export const readRange = (header: string | undefined, sizeBytes: number): RangeAnswer => {
  if (header === undefined) return { kind: 'whole' };
  const [, first, last] = /^bytes=(\d{0,16})-(\d{0,16})$/i.exec(header.trim()) ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return { kind: 'malformed' };
  if (first === '') {
    const length = Math.min(Number(last), sizeBytes);
    return length === 0 ? { kind: 'outside' } : { kind: 'range', range: { start: sizeBytes - length, end: sizeBytes } };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return { kind: 'malformed' };
  if (start >= sizeBytes) return { kind: 'outside' };
  const end = last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes);
  return { kind: 'range', range: { start, end } };
};
