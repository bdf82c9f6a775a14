// No decoder takes a body that is cut short, followed by anything, or damaged where its format can tell.

import t from 'tap';
import type { Encoding } from '../../../src/core/claim.ts';
import type { DecodeError } from '../../../src/core/errors.ts';
import { skippableFrame } from '../../support/bombs.ts';
import { bytewise, compressionOf, decoders, run } from '../../support/codec-run.ts';
import { encodeBody, encodePlainly } from '../../support/encodings.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { seededBytes } from '../../support/seeded.ts';

refuseLeaks(t);

const body = seededBytes('body', 300);
const framed = decoders.filter(({ encoding }) => encoding !== 'identity');
// A worker takes 20 ms to start, so it gets the telling lengths only; its frames are walked by the same code.
const isSlow = (name: string) => name === 'zstd in a worker';

for (const { name, encoding, options } of framed) {
  t.test(`${name}: every prefix is incomplete`, async (t) => {
    const whole = await encodePlainly(body, compressionOf(encoding));
    const lengths = isSlow(name) ? [0, 3, 9, whole.length >> 1, whole.length - 4, whole.length - 1] : [...whole.keys()];
    const faults = new Map<number, unknown>();
    for (const length of lengths) {
      const { fault } = await run(encoding, [whole.subarray(0, length)], options);
      if (fault !== 'incomplete') faults.set(length, fault);
    }
    t.strictSame([...faults], []);
  });
}

interface Trailer {
  readonly reason: string;
  readonly bytes: Buffer;
  readonly wanted: DecodeError['fault'] | null;
}

const trailers: Record<Exclude<Encoding, 'identity'>, readonly Trailer[]> = {
  zstd: [
    { reason: 'junk', bytes: Buffer.from('junk'), wanted: 'trailing' },
    { reason: 'one byte that begins no frame', bytes: Buffer.from([0]), wanted: 'trailing' },
    { reason: 'half a magic', bytes: Buffer.from([0x28, 0xb5]), wanted: 'incomplete' },
    { reason: 'half a skippable frame', bytes: skippableFrame(Buffer.alloc(9)).subarray(0, -1), wanted: 'incomplete' },
    { reason: 'a whole skippable frame', bytes: skippableFrame(Buffer.alloc(9)), wanted: null },
    { reason: 'a magic of zstd 0.7', bytes: Buffer.from([0x27, 0xb5, 0x2f, 0xfd]), wanted: 'trailing' },
  ],
  xz: [
    { reason: 'junk', bytes: Buffer.from('junk'), wanted: 'trailing' },
    { reason: 'padding of four zeros', bytes: Buffer.alloc(4), wanted: null },
    { reason: 'padding of three zeros', bytes: Buffer.alloc(3), wanted: 'incomplete' },
    { reason: 'junk after padding', bytes: Buffer.from('\0\0\0\0junk'), wanted: 'trailing' },
    { reason: 'half a magic', bytes: Buffer.from([0xfd, 0x37]), wanted: 'incomplete' },
  ],
  gzip: [
    { reason: 'zeros after gzip, which zlib ignores', bytes: Buffer.alloc(4), wanted: 'trailing' },
    { reason: 'one zero', bytes: Buffer.alloc(1), wanted: 'trailing' },
    {
      reason: 'zeros and a member, which zlib ignores',
      bytes: Buffer.from('000000001f8b0800', 'hex'),
      wanted: 'trailing',
    },
    { reason: 'junk, which zlib takes for a bad member', bytes: Buffer.from('junk'), wanted: 'damaged' },
    { reason: 'half a magic', bytes: Buffer.from([0x1f]), wanted: 'incomplete' },
  ],
  br: [
    { reason: 'junk', bytes: Buffer.from('junk'), wanted: 'trailing' },
    { reason: 'one zero', bytes: Buffer.alloc(1), wanted: 'trailing' },
    { reason: 'a second stream', bytes: (await encodeBody(body, 'br')).bytes, wanted: 'trailing' },
  ],
};

for (const { name, encoding, options } of framed) {
  if (encoding === 'identity') continue;
  t.test(`${name}: what follows`, async (t) => {
    const whole = await encodePlainly(body, compressionOf(encoding));
    for (const { reason, bytes, wanted } of trailers[encoding]) {
      t.equal(
        (await run(encoding, [Buffer.concat([whole, bytes])], options)).fault,
        wanted,
        `${reason}, in the same write`,
      );
      if (isSlow(name)) continue;
      t.equal((await run(encoding, [whole, bytes], options)).fault, wanted, `${reason}, in a later write`);
      t.equal((await run(encoding, [whole, ...bytewise(bytes)], options)).fault, wanted, `${reason}, byte by byte`);
    }
  });
}

for (const { name, encoding, options } of framed) {
  // fzstd checks no checksum and brotli has none: there only the digest decides.
  if (!isSlow(name) && encoding !== 'br') {
    t.test(`${name}: no flipped bit changes the bytes`, async (t) => {
      const whole = await encodePlainly(body, compressionOf(encoding));
      const passed: number[] = [];
      for (const at of whole.keys()) {
        const flipped = Buffer.from(whole);
        flipped.writeUInt8((whole[at] ?? 0) ^ 0x10, at);
        const { decoded, fault } = await run(encoding, [flipped], options);
        if (fault === null && !decoded.equals(body)) passed.push(at);
      }
      t.strictSame(passed, []);
    });
  }

  t.test(`${name}: bytes of another kind are damaged`, async (t) => {
    const { fault } = await run(encoding, [Buffer.from('<html>no such bucket</html>')], options);
    t.equal(fault, 'damaged');
  });
}

t.test('nothing at all', async (t) => {
  for (const { name, encoding, options } of decoders) {
    const { fault } = await run(encoding, [], options);
    t.equal(fault, encoding === 'identity' ? null : 'incomplete', name);
  }
});
