// Bodies pulled through a decoder or the encoder: bounded, released early, failing as they should.

import { createHash } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import t from 'tap';
import { decode } from '../../../src/codec/decode.ts';
import { encodeZstd } from '../../../src/codec/encode-zstd.ts';
import { openDecoder } from '../../../src/codec/open.ts';
import { pull } from '../../../src/codec/pull.ts';
import { chopped, compressionOf, decoders, faultOf, from, rejection } from '../../support/codec-run.ts';
import { bombOf, encodePlainly } from '../../support/encodings.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { seededBytes } from '../../support/seeded.ts';

refuseLeaks(t);

const MiB = 1024 * 1024;
const body = seededBytes('body', 500_000);
const collect = async (source: AsyncIterable<Buffer>) => Buffer.concat(await Array.fromAsync(source));

/** Yields the pieces and tells how many were taken, and whether it was released. */
const watched = (pieces: readonly Uint8Array[]) => {
  const watch = { taken: 0, isReleased: false };
  const source = (async function* () {
    try {
      for (const piece of pieces) {
        watch.taken += 1;
        yield Buffer.from(piece);
      }
    } finally {
      watch.isReleased = true;
    }
  })();
  return { source, watch };
};

t.test('what is decoded is the body', async (t) => {
  for (const { name, encoding, options } of decoders) {
    const encoded = await encodePlainly(body, compressionOf(encoding));
    const decoded = await collect(decode(from(chopped(encoded, name, 60_000)), encoding, options));
    t.ok(decoded.equals(body), name);
  }
});

t.test('what is encoded decodes', async (t) => {
  for (const pieces of [[], [Buffer.alloc(0)], [body], chopped(body, 'pieces', 60_000)]) {
    const encoded = await collect(encodeZstd(from(pieces)));
    const decoded = zstdDecompressSync(encoded);
    t.ok(decoded.equals(Buffer.concat(pieces)), `${pieces.length} pieces`);
    t.equal(encoded.readUInt8(4) & 0x04, 0x04, 'with a checksum');
  }
  const [fast, small] = await Promise.all([1, 19].map((level) => collect(encodeZstd(from([body]), { level }))));
  t.ok((small?.length ?? 0) < (fast?.length ?? 0), 'the level is heard');
});

t.test('there and back, streamed', async (t) => {
  const size = 12 * MiB;
  const piece = seededBytes('piece', MiB);
  const source = async function* () {
    for (let at = 0; at < size; at += piece.length) yield piece;
  };
  const hash = async (bytes: AsyncIterable<Buffer>) => {
    const sha256 = createHash('sha256');
    for await (const one of bytes) sha256.update(one);
    return sha256.digest('hex');
  };
  t.equal(await hash(decode(encodeZstd(source(), { level: 1 }), 'zstd')), await hash(source()));
});

t.test('an early return releases source, decoder and encoder', async (t) => {
  const encoded = await encodePlainly(Buffer.concat(Array<Buffer>(20).fill(body)), 'zstd');
  const rows = [
    ...decoders.map(({ name, encoding, options }) => ({
      name,
      open: async (take: (pieces: Uint8Array[]) => AsyncIterable<Buffer>) =>
        decode(take(chopped(await encodePlainly(body, compressionOf(encoding)), name, 60_000)), encoding, options),
    })),
    {
      name: 'the encoder',
      open: async (take: (pieces: Uint8Array[]) => AsyncIterable<Buffer>) =>
        encodeZstd(take(chopped(encoded, 'encoder', 60_000))),
    },
  ];
  for (const { name, open } of rows) {
    let watch = { taken: 0, isReleased: false };
    const stream = await open((pieces) => {
      const one = watched(pieces);
      watch = one.watch;
      return one.source;
    });
    for await (const piece of stream) {
      t.ok(piece.length > 0, name);
      break;
    }
    t.ok(watch.isReleased, `${name}: the source is released`);
  }
  const unread = decode(from([encoded]), 'zstd');
  await unread.return(undefined);
  t.match(await unread.next(), { done: true }, 'one that was never read');
});

t.test('a consumer that stops taking holds a bomb back', async (t) => {
  for (const { name, encoding, options } of decoders) {
    if (encoding === 'identity') continue;
    const bomb = await bombOf(compressionOf(encoding), 8 * MiB);
    let decoded = 0;
    const stream = pull(from([bomb]), (sink) => {
      const count = (piece: Buffer) => {
        decoded += piece.length;
        sink(piece);
      };
      return openDecoder(encoding, count, options);
    });
    await stream.next();
    // As long as another takes to decode all of it.
    for await (const _ of decode(from([bomb]), encoding, options));
    t.ok(decoded <= 5 * MiB, `${name}: ${decoded} bytes are held`);
    await stream.return(undefined);
  }
});

t.test('failures', async (t) => {
  const encoded = await encodePlainly(body, 'zstd');
  t.equal(await faultOf(collect(decode(from([encoded.subarray(0, -1)]), 'zstd'))), 'incomplete');
  const { source, watch } = watched([Buffer.from('junk'), encoded]);
  t.equal(await faultOf(collect(decode(source, 'zstd'))), 'damaged');
  t.strictSame(watch, { taken: 1, isReleased: true }, 'nothing is taken after a failure');
  const broken = async function* () {
    yield encoded.subarray(0, 1000);
    throw new Error('cut');
  };
  t.match(
    await rejection(collect(decode(broken(), 'zstd'))),
    { message: 'cut' },
    'the source’s own error comes through',
  );
  t.match(await rejection(collect(encodeZstd(broken()))), { message: 'cut' });
});
