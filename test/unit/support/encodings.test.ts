// Every encoded body decodes to its NAR, frame by frame, with decoders that share no code with its making where there are such.

import { spawnSync } from 'node:child_process';
import { brotliDecompressSync, constants, gunzipSync, zstdDecompressSync } from 'node:zlib';
import { Decompress } from 'fzstd';
import t from 'tap';
import { emptyZstdFrame, endlessEmptyFrames, endlessSkippable, skippableFrame, zstdBomb } from '../../support/bombs.ts';
import { type BodyKind, bombOf, encodeBody } from '../../support/encodings.ts';
import { makeNar } from '../../support/nar.ts';

const nar = makeNar({ seed: 'encodings', sizeBytes: 300_000 });

const unzstd = (bytes: Buffer): Buffer => {
  const pieces: Uint8Array[] = [];
  new Decompress((piece) => pieces.push(piece)).push(bytes, true);
  return Buffer.concat(pieces);
};
const unxz = (bytes: Buffer): Buffer => spawnSync('xz', ['-dc'], { input: bytes, maxBuffer: 1e8 }).stdout;

const rows: { kind: BodyKind; decode: (bytes: Buffer) => Buffer; isMany?: true }[] = [
  { kind: 'none', decode: (bytes) => bytes },
  { kind: 'zstd-one', decode: unzstd },
  { kind: 'zstd-many', decode: unzstd, isMany: true },
  { kind: 'zstd-skippable', decode: unzstd, isMany: true },
  { kind: 'xz', decode: unxz },
  { kind: 'xz-many', decode: unxz, isMany: true },
  { kind: 'gzip', decode: gunzipSync },
  { kind: 'gzip-many', decode: gunzipSync, isMany: true },
  { kind: 'br', decode: brotliDecompressSync },
];

t.test('each kind decodes to the NAR', async (t) => {
  for (const { kind, decode, isMany } of rows) {
    const { bytes, frames } = await encodeBody(nar, kind);
    t.ok(decode(bytes).equals(nar), kind);
    t.ok(isMany ? frames.length > 4 : frames.length === 1, `${kind} has ${frames.length} frames`);
    if (kind !== 'none') t.ok(bytes.length < nar.length * 0.8, `${kind} is smaller`);
  }
});

t.test('frames start where it says', async (t) => {
  const { bytes, frames } = await encodeBody(nar, 'zstd-many');
  const decoded = frames.map((start, index) => zstdDecompressSync(bytes.subarray(start, frames[index + 1])));
  t.ok(Buffer.concat(decoded).equals(nar));
  t.ok(
    decoded.every((piece) => piece.length <= 65_536),
    'pieces of at most 64 KiB',
  );
  // As the frames of atticd: no checksum, no content size, a window of 2 MiB.
  t.ok(frames.every((start) => bytes.readUInt16LE(start + 4) === 0x5800));
  const br = await encodeBody(nar, 'br-many');
  const streams = br.frames.map((start, index) => brotliDecompressSync(br.bytes.subarray(start, br.frames[index + 1])));
  t.ok(Buffer.concat(streams).equals(nar));
  const skippable = await encodeBody(nar, 'zstd-skippable');
  t.equal(skippable.bytes.readUInt32LE(0), 0x184d2a50);
  t.ok(skippable.frames.every((start) => skippable.bytes.readUInt32LE(start) === 0xfd2fb528));
});

t.test('a long window reaches back', async (t) => {
  const far = Buffer.concat([
    makeNar({ seed: 'far', sizeBytes: 2e6 }),
    Buffer.alloc(9e6),
    makeNar({ seed: 'far', sizeBytes: 2e6 }),
  ]);
  const long = await encodeBody(far, 'zstd-long');
  t.equal(long.bytes[5], (27 - 10) << 3, '128 MiB are declared');
  const near = await encodeBody(far, 'zstd-long', { windowLog: 23 });
  t.ok(long.bytes.length < near.bytes.length * 0.6, 'and used');
  const params = { [constants.ZSTD_d_windowLogMax]: 27 };
  t.ok(zstdDecompressSync(long.bytes, { params }).equals(far));
});

t.test('bombs', async (t) => {
  const sizes = [0, 1, 131_072, 131_073, 4_000_000];
  for (const size of sizes) t.equal(zstdDecompressSync(zstdBomb(size)).length, size);
  t.ok(zstdBomb(3 * 1024 ** 3).length < 100_000, '3 GiB weigh less than 100 kB');
  t.equal(gunzipSync(await bombOf('gzip', 9e6)).length, 3 * 4 * 1024 * 1024);
  t.equal(brotliDecompressSync(await bombOf('br', 1e6)).length, 1e6);
  t.equal(unxz(await bombOf('xz', 5e6)).length, 2 * 4 * 1024 * 1024);
});

t.test('frames that hold nothing, for ever', async (t) => {
  const skippable = endlessSkippable(8);
  const empty = endlessEmptyFrames();
  t.equal(skippable.next().value.length, 16);
  t.equal(empty.next().value.length, 9000);
  t.equal(skippable.next().value, skippable.next().value, 'without being held twice');
  const around = [skippableFrame(Buffer.alloc(0), 15), emptyZstdFrame(), zstdBomb(5)];
  t.equal(unzstd(Buffer.concat(around)).length, 5);
});
