// The frame walker: what it bounds, what it drops, and where it says that frames lie.

import { zstdCompressSync } from 'node:zlib';
import t from 'tap';
import { type FrameSpan, ZstdFrames } from '../../../src/codec/zstd-frames.ts';
import { DecodeError } from '../../../src/core/errors.ts';
import { skippableFrame, zstdBomb } from '../../support/bombs.ts';
import { bytewise, chopped, faultOf } from '../../support/codec-run.ts';
import { seededBytes } from '../../support/seeded.ts';

const MiB = 1024 * 1024;
const magic = [0x28, 0xb5, 0x2f, 0xfd];
const frame = zstdCompressSync(seededBytes('frame', 5000));

const walk = (pieces: Iterable<Uint8Array>, options = {}) => {
  const frames = new ZstdFrames(options);
  const handed: Uint8Array[] = [];
  let ends = 0;
  try {
    for (const piece of pieces) {
      for (const part of frames.take(piece)) {
        handed.push(Buffer.from(part.bytes));
        if (part.endsFrame) ends += 1;
      }
    }
    frames.end();
    return { frames, handed: Buffer.concat(handed), ends, fault: null };
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return { frames, handed: Buffer.concat(handed), ends, fault: error.fault };
  }
};

t.test('skippable frames never reach the decoder, wherever they lie', async (t) => {
  const skip = (length: number, kind: number) => skippableFrame(Buffer.alloc(length, 0x28), kind);
  const rows = [
    { reason: 'none', parts: [frame] },
    { reason: 'first', parts: [skip(40, 0), frame] },
    { reason: 'in the middle, one of them empty', parts: [frame, skip(3, 7), skip(0, 8), frame] },
    { reason: 'last', parts: [frame, skip(100, 15)] },
  ];
  for (const { reason, parts } of rows) {
    const all = Buffer.concat(parts);
    const wanted = Buffer.concat(parts.filter((part) => part === frame));
    for (const [how, pieces] of [
      ['whole', [all]],
      ['byte by byte', bytewise(all)],
      ['chopped', chopped(all, reason, 30)],
    ] as const) {
      const { handed, ends, fault } = walk(pieces);
      t.equal(fault, null, `${reason}, ${how}`);
      t.ok(handed.equals(wanted), `${reason}, ${how}: the bytes`);
      t.equal(ends, wanted.length / frame.length, `${reason}, ${how}: the ends`);
    }
  }
});

t.test('it knows where frames lie', async (t) => {
  const skip = skippableFrame(Buffer.alloc(32));
  const all = Buffer.concat([skip, frame, frame, skip]);
  const [first, second] = [skip.length, skip.length + frame.length];
  for (const pieces of [[all], bytewise(all)]) {
    const spans: FrameSpan[] = [];
    const { frames } = walk(pieces, { onFrame: (span: FrameSpan) => spans.push(span) });
    t.match(spans, [
      { start: first, end: second, windowBytes: 5000 },
      { start: second, end: second + frame.length, windowBytes: 5000 },
    ]);
    t.equal(frames.frames, 2);
    t.equal(frames.boundary, all.length);
  }
  const frames = new ZstdFrames();
  frames.take(all.subarray(0, second + 1));
  t.equal(frames.boundary, second, 'a frame that has begun is beyond the boundary');
  t.equal(frames.offset, second + 1);
});

t.test('headers', async (t) => {
  const raw = [0x01, 0, 0]; // One block, last, raw, empty.
  const header = (...bytes: number[]) => Buffer.from([...magic, ...bytes, ...raw]);
  const rows = [
    { reason: 'a window of 2^27', bytes: header(0x00, 0x88), wanted: null },
    { reason: 'a window of 2^27 and an eighth', bytes: header(0x00, 0x89), wanted: 'bound' },
    { reason: 'a window of 2^28', bytes: header(0x00, 0x90), wanted: 'bound' },
    { reason: 'a window of 2^41', bytes: header(0x00, 0xff), wanted: 'bound' },
    { reason: 'one segment of 2^27', bytes: header(0xa0, 0, 0, 0, 8), wanted: null },
    { reason: 'one segment of 2^27 + 1', bytes: header(0xa0, 1, 0, 0, 8), wanted: 'bound' },
    { reason: 'one segment of 2^64 - 1', bytes: header(0xe0, ...Array(8).fill(0xff)), wanted: 'bound' },
    { reason: 'a content size of two bytes', bytes: header(0x60, 0, 0), wanted: null },
    { reason: 'the unused bit', bytes: header(0x10, 0x38), wanted: null },
    { reason: 'the reserved bit', bytes: header(0x08, 0x38), wanted: 'damaged' },
    { reason: 'dictionary 0, which is none', bytes: header(0x01, 0x38, 0), wanted: null },
    { reason: 'dictionary 7', bytes: header(0x01, 0x38, 7), wanted: 'damaged' },
    { reason: 'a dictionary of four bytes', bytes: header(0x03, 0x38, 0, 0, 0, 1), wanted: 'damaged' },
    { reason: 'a checksum that is missing', bytes: header(0x04, 0x38), wanted: 'incomplete' },
    { reason: 'a block of the reserved type', bytes: Buffer.from([...magic, 0, 0x38, 0x07, 0, 0]), wanted: 'damaged' },
    { reason: 'a block beyond 128 KiB', bytes: Buffer.from([...magic, 0, 0x58, 0x0b, 0, 0x10, 0]), wanted: 'damaged' },
    { reason: 'a block beyond its window', bytes: Buffer.from([...magic, 0, 0, 0x0b, 0x20, 0, 0]), wanted: 'damaged' },
  ];
  for (const { reason, bytes, wanted } of rows) {
    t.equal(walk([bytes]).fault, wanted, reason);
    const split = walk(bytewise(bytes));
    t.equal(split.fault, wanted, `${reason}, byte by byte`);
    if (wanted === 'bound') t.equal(split.handed.length, 0, `${reason}: nothing was handed on`);
  }
});

t.test('a smaller window may be asked for, a larger one not', async (t) => {
  t.equal(walk([zstdBomb(10)], { maxWindowBytes: 128 * 1024 }).fault, null);
  t.equal(walk([zstdBomb(10)], { maxWindowBytes: 128 * 1024 - 1 }).fault, 'bound');
  t.equal(walk([Buffer.from([...magic, 0, 0x90, 1, 0, 0])], { maxWindowBytes: 2 ** 30 }).fault, 'bound');
});

t.test('1 MiB without content is enough', async (t) => {
  const repeat = (unit: Buffer, bytes: number) =>
    Buffer.concat(Array<Buffer>(Math.floor(bytes / unit.length)).fill(unit));
  const skip = skippableFrame(Buffer.alloc(64 * 1024 - 8));
  const emptyBlock = Buffer.from([0, 0, 0]);
  const start = Buffer.from([...magic, 0, 0x38]);
  const emptyFrame = Buffer.concat([start, repeat(emptyBlock, 300), Buffer.from([1, 0, 0])]);
  const rle = Buffer.from([0x0a, 0, 0, 1]); // One byte of content.
  const rows = [
    { reason: 'skippable frames of 1 MiB', bytes: [repeat(skip, MiB), frame], wanted: null },
    {
      reason: 'skippable frames beyond',
      bytes: [repeat(skip, MiB), frame, skippableFrame(Buffer.alloc(0))],
      wanted: 'bound',
    },
    { reason: 'one that says 4 GiB', bytes: [Buffer.from('502a4d18ffffffff', 'hex')], wanted: 'bound' },
    { reason: 'empty frames of 1 MiB', bytes: [repeat(emptyFrame, MiB)], wanted: null },
    { reason: 'empty frames beyond', bytes: [repeat(emptyFrame, MiB + emptyFrame.length)], wanted: 'bound' },
    { reason: 'empty blocks in a frame without end', bytes: [start, repeat(emptyBlock, MiB)], wanted: 'bound' },
    { reason: 'the same after content', bytes: [start, rle, repeat(emptyBlock, MiB + 3)], wanted: 'bound' },
    {
      reason: 'frames with content that end in empty blocks: streaming encoders write one for each',
      bytes: [repeat(Buffer.concat([start, rle, emptyFrame.subarray(start.length)]), 2 * MiB)],
      wanted: null,
    },
  ];
  for (const { reason, bytes, wanted } of rows) t.equal(walk(bytes).fault, wanted, reason);
});

t.test('what is no frame', async (t) => {
  t.equal(walk([]).fault, 'incomplete', 'nothing');
  t.equal(
    walk([skippableFrame(Buffer.alloc(5))]).fault,
    'incomplete',
    'a skippable frame alone: the body was to follow',
  );
  t.equal(walk([Buffer.from([0x28, 0xb5, 0x2f, 0xfe])]).fault, 'damaged', 'another magic');
  t.equal(walk([skippableFrame(Buffer.alloc(5)), Buffer.from('x')]).fault, 'damaged', 'junk after no frame');
  t.equal(walk([frame, Buffer.from('x')]).fault, 'trailing', 'junk after a frame');
});

t.test('a walker that failed does not go on', async (t) => {
  const frames = new ZstdFrames();
  const faultOfTake = (piece: Uint8Array) => faultOf((async () => frames.take(piece))());
  t.equal(await faultOfTake(Buffer.from('junk')), 'damaged');
  t.equal(await faultOfTake(frame), 'damaged');
  t.equal(await faultOf((async () => frames.end())()), 'incomplete');
});
