// The start-up probe: it believes this Node, and would not believe those that lose bytes in silence.

import { Transform } from 'node:stream';
import { zstdDecompressSync } from 'node:zlib';
import t from 'tap';
import { canDecode } from '../../../src/codec/open.ts';
import { hostRuntime, probeRuntime } from '../../../src/codec/runtime.ts';

/** A zstd stream that makes of its whole input what `decode` makes of it. */
const scripted = (decode: (encoded: Buffer) => Buffer) => () => {
  const pieces: Buffer[] = [];
  return new Transform({
    transform(piece: Buffer, _, done) {
      pieces.push(piece);
      done();
    },
    flush(done) {
      try {
        done(null, decode(Buffer.concat(pieces)));
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
      }
    },
  });
};
const firstFrame = (encoded: Buffer) => zstdDecompressSync(encoded.subarray(0, 14));

t.test('the probe', async (t) => {
  const rows = [
    {
      reason: 'a right decoder',
      open: scripted((encoded) => zstdDecompressSync(encoded)),
      wanted: { nativeZstd: true, frameAtATime: false },
    },
    {
      reason: 'Node 24: only the first frame',
      open: scripted(firstFrame),
      wanted: { nativeZstd: true, frameAtATime: true },
    },
    {
      reason: 'Node 22: a cut frame is an empty one',
      open: scripted((encoded) => (encoded.length < 14 ? Buffer.alloc(0) : firstFrame(encoded))),
      wanted: { nativeZstd: false, frameAtATime: true },
    },
    {
      reason: 'one that only fails',
      open: scripted(() => {
        throw new Error('no');
      }),
      wanted: { nativeZstd: false, frameAtATime: true },
    },
    {
      reason: 'one that says nothing',
      open: () =>
        new Transform({
          transform() {
            this.destroy();
          },
        }),
      wanted: { nativeZstd: false, frameAtATime: true },
    },
  ];
  for (const { reason, open, wanted } of rows) t.strictSame(await probeRuntime(open), wanted, reason);
});

t.test('this process', async (t) => {
  t.strictSame(hostRuntime, { nativeZstd: true, frameAtATime: false });
  for (const encoding of ['identity', 'zstd', 'xz', 'gzip', 'br'] as const) t.ok(canDecode(encoding), encoding);
});
