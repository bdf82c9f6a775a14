// Decodes a body as it is pulled, never more than a few MiB ahead of whoever takes it.

import type { Encoding } from '../core/claim.ts';
import { type DecoderOptions, openDecoder } from './open.ts';
import { pull } from './pull.ts';

/** What `source` decodes to. Rejects as the decoder does; releases decoder and `source` on an early return. */
export const decode = (
  source: AsyncIterable<Buffer>,
  encoding: Encoding,
  options?: DecoderOptions,
): AsyncGenerator<Buffer> => pull(source, (sink) => openDecoder(encoding, sink, options));
