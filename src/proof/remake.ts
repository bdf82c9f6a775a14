// Makes a missing form from a held one. It is proven like any body: a decoder or an encoder that errs makes a miss.

import { decode } from '../codec/decode.ts';
import { encodeZstd } from '../codec/encode-zstd.ts';
import type { Encoding } from '../core/claim.ts';
import type { ProvenForm } from '../store/form.ts';
import type { Fetch } from './fetch.ts';

/** xz, gzip and brotli forms are never made: they are filled, else missed. */
export const canRemake = (encoding: Encoding): boolean => encoding === 'identity' || encoding === 'zstd';

/** The bytes of `form` in another encoding, given as an upstream would give them. */
export const remake =
  (form: ProvenForm, encoding: Encoding): Fetch =>
  async () => {
    const decoded = decode(form.read(0, form.fileBytes), form.encoding);
    return { kind: 'body', fromByte: 0, validator: null, bytes: encoding === 'zstd' ? encodeZstd(decoded) : decoded };
  };
