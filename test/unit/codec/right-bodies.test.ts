// Right bodies decode right, by every decoder, at any chunking.

import t from 'tap';
import { bytewise, chopped, compressionOf, decoders, run } from '../../support/codec-run.ts';
import { type BodyKind, encodeBody, encodePlainly } from '../../support/encodings.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { seededBytes } from '../../support/seeded.ts';

refuseLeaks(t);

const small = seededBytes('small', 1000);
const large = seededBytes('large', 130_000);
const kinds: Record<string, readonly BodyKind[]> = {
  identity: ['none'],
  zstd: ['zstd-one', 'zstd-many', 'zstd-skippable'],
  xz: ['xz', 'xz-many'],
  gzip: ['gzip', 'gzip-many'],
  br: ['br'],
};

for (const { name, encoding, options } of decoders) {
  t.test(name, async (t) => {
    const plain = await encodePlainly(small, compressionOf(encoding));
    const rows = [
      { reason: 'a small body in one write', pieces: [plain], wanted: small },
      { reason: 'a small body byte by byte', pieces: bytewise(plain), wanted: small },
      {
        reason: 'an empty body',
        pieces: [await encodePlainly(Buffer.alloc(0), compressionOf(encoding))],
        wanted: Buffer.alloc(0),
      },
      { reason: 'empty writes between', pieces: [Buffer.alloc(0), plain, Buffer.alloc(0)], wanted: small },
    ];
    for (const kind of kinds[encoding] ?? []) {
      const { bytes } = await encodeBody(large, kind);
      rows.push({ reason: `${kind} in one write`, pieces: [bytes], wanted: large });
      rows.push({ reason: `${kind} in random pieces`, pieces: chopped(bytes, kind, 30_000), wanted: large });
    }
    for (const { reason, pieces, wanted } of rows) {
      const { decoded, fault } = await run(encoding, pieces, options);
      t.equal(fault, null, reason);
      t.ok(decoded.equals(wanted), `${reason}: the bytes`);
    }
  });
}

t.test('1000 tiny frames in one write (Node 22 and 24 gave one byte of them)', async (t) => {
  const parts = Array.from({ length: 1000 }, (_, i) => Buffer.alloc(i + 1, i));
  const frames = Buffer.concat(await Promise.all(parts.map((part) => encodePlainly(part, 'zstd'))));
  const { decoded, fault } = await run('zstd', [frames]);
  t.equal(fault, null);
  t.ok(decoded.equals(Buffer.concat(parts)));
});
