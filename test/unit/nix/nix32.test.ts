// Nix's base 32 against Nix's own words for known hashes.

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { parseSha256 } from '../../../src/nix/hash.ts';
import { decodeNix32, encodeNix32, isNix32Sha256, isStoreHash } from '../../../src/nix/nix32.ts';

/** `nix-hash --type sha256 --to-base32` of the SHA-256 of nothing. */
const EMPTY = '0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73';

t.test('known', async (t) => {
  t.equal(encodeNix32(createHash('sha256').digest()), EMPTY);
  t.equal(decodeNix32(EMPTY)?.toString('hex'), createHash('sha256').digest('hex'));
});

t.test('property: decoding undoes encoding', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      const text = encodeNix32(bytes);
      return isNix32Sha256(text) && Buffer.from(bytes).equals(decodeNix32(text) as Buffer);
    }),
  );
});

t.test('store hashes', async (t) => {
  for (const [text, is, reason] of [
    ['xcp9cav49dmsjbwdjlmkjxj10gkpx553', true, 'a real one'],
    ['xcp9cav49dmsjbwdjlmkjxj10gkpx55', false, '31 digits'],
    ['xcp9cav49dmsjbwdjlmkjxj10gkpx55e', false, 'e is no digit'],
    ['XCP9CAV49DMSJBWDJLMKJXJ10GKPX553', false, 'upper case'],
  ] as const) {
    t.equal(isStoreHash(text), is, reason);
  }
});

t.test('the spellings of a SHA-256', async (t) => {
  const hex = createHash('sha256').digest('hex');
  const base64 = createHash('sha256').digest('base64');
  for (const [text, expected, reason] of [
    [`sha256:${hex}`, hex, 'base 16, as Attic writes it'],
    [`sha256:${EMPTY}`, hex, 'base 32, as Nix writes it'],
    [`sha256:${base64}`, hex, 'base 64'],
    [`sha256-${base64}`, hex, 'SRI'],
    [hex, null, 'bare'],
    [`sha256-${hex}`, null, 'SRI is base 64 only'],
    [`sha256:${EMPTY.toUpperCase()}`, null, 'upper-case base 32'],
    [`sha256:z${EMPTY.slice(1)}`, null, 'more than 256 bits'],
    [`md5:${hex}`, null, 'another hash'],
    ['', null, 'nothing'],
  ] as const) {
    t.equal(parseSha256(text), expected, reason);
  }
});
