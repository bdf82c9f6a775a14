// What holds for any bytes and any cutting: decoding undoes encoding, and no prefix of one stream is whole.

import fc from 'fast-check';
import t from 'tap';
import { decode } from '../../../src/codec/decode.ts';
import { encodeZstd } from '../../../src/codec/encode-zstd.ts';
import { ZstdFrames } from '../../../src/codec/zstd-frames.ts';
import { compressionOf, decoders, faultOf, from, run } from '../../support/codec-run.ts';
import { encodePlainly } from '../../support/encodings.ts';
import { refuseLeaks } from '../../support/leaks.ts';

refuseLeaks(t);

// Runs of one byte as well as noise, so that encoders find something.
const content = fc
  .array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 200 })), { maxLength: 8 })
  .map((runs) => Buffer.concat(runs.flatMap(([bytes, times]) => Array<Uint8Array>(times).fill(bytes))));
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

const cutAt = (bytes: Buffer, places: readonly number[]): Buffer[] => {
  const ends = [...places.map((place) => Math.floor(place * bytes.length)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
};

const native = decoders.filter(({ name }) => name !== 'zstd in a worker');

for (const { name, encoding, options } of native) {
  t.test(`${name}: decode(encode(x)) = x at any cutting`, async () => {
    await fc.assert(
      fc.asyncProperty(content, cuts, async (bytes, places) => {
        const encoded = await encodePlainly(bytes, compressionOf(encoding));
        const { decoded, fault } = await run(encoding, cutAt(encoded, places), options);
        return fault === null && decoded.equals(bytes);
      }),
      { numRuns: 40 },
    );
  });

  if (encoding === 'identity') continue;
  t.test(`${name}: no prefix passes`, async () => {
    await fc.assert(
      fc.asyncProperty(content, cuts, fc.double({ min: 0, max: 1, noNaN: true }), async (bytes, places, end) => {
        const encoded = await encodePlainly(bytes, compressionOf(encoding));
        const prefix = encoded.subarray(0, Math.min(encoded.length - 1, Math.floor(end * encoded.length)));
        return (await run(encoding, cutAt(prefix, places), options)).fault === 'incomplete';
      }),
      { numRuns: 40 },
    );
  });
}

t.test('our encoder and our decoder are inverse', async () => {
  await fc.assert(
    fc.asyncProperty(content, cuts, async (bytes, places) => {
      const decoded = await Array.fromAsync(decode(encodeZstd(from(cutAt(bytes, places))), 'zstd'));
      return Buffer.concat(decoded).equals(bytes);
    }),
    { numRuns: 40 },
  );
});

t.test('noise never passes the frame walker, and never makes it throw anything but a DecodeError', async () => {
  const magic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), cuts, async (noise, places) => {
      const frames = new ZstdFrames();
      const walking = async () => {
        for (const piece of cutAt(Buffer.concat([magic, noise]), places)) frames.take(piece);
        frames.end();
      };
      const fault = await faultOf(walking());
      return fault !== null || frames.frames > 0;
    }),
    { numRuns: 300 },
  );
});
