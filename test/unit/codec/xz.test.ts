// xz: streams after streams, padding, filters, memory; and no piece that decodes to more than 2 MiB.

import { crc32 } from 'node:zlib';
import t from 'tap';
import { loadLzma } from '../../../src/codec/lzma.ts';
import { openDecoder } from '../../../src/codec/open.ts';
import { XzCuts } from '../../../src/codec/xz-cuts.ts';
import { bytewise, chopped, feed, run } from '../../support/codec-run.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { seededBytes, seededNumbers } from '../../support/seeded.ts';

refuseLeaks(t);

const MiB = 1024 * 1024;
const body = seededBytes('body', 30_000);

const encoded = async (bytes: Buffer, options: { preset?: number; filters?: { id: string }[]; check?: number }) => {
  const lzma = loadLzma();
  if (lzma === null) throw new Error('these tests need lzma-native');
  const stream = lzma.createStream(options.filters ? 'streamEncoder' : 'easyEncoder', options);
  stream.end(bytes);
  return Buffer.concat(await Array.fromAsync(stream));
};

const xz = await encoded(body, { preset: 1 });
const padding = Buffer.alloc(8);
const x86 = [{ id: 'LZMA_FILTER_X86' }, { id: 'LZMA_FILTER_LZMA2' }];
/** Call instructions, of which the x86 filter rewrites the targets. */
const calls = Buffer.concat(Array.from({ length: 2000 }, (_, i) => Buffer.from([0xe8, i & 0xff, i >> 8, 0, 0, 0x90])));

/** An xz file whose block header asks for this dictionary (the .xz file format 1.2.1, §5.3.1). */
const withDictionary = (code: number): Buffer => {
  const changed = Buffer.from(xz);
  changed.writeUInt8(code, 16);
  changed.writeUInt32LE(crc32(changed.subarray(12, 20)), 20);
  return changed;
};

t.test('right files', async (t) => {
  const none = await encoded(Buffer.alloc(0), { preset: 1 });
  const next = seededNumbers('noise');
  const noise = Buffer.concat([
    Uint8Array.from({ length: 3000 }, next),
    Buffer.from('YZYZ'),
    Uint8Array.from({ length: 3000 }, next),
  ]);
  const stored = await encoded(noise, { preset: 1 });
  t.ok(stored.includes('YZYZ'), 'noise is stored as it is');
  const rows = [
    { reason: 'one stream', bytes: xz, wanted: body },
    { reason: 'streams after each other', bytes: Buffer.concat([xz, none, xz]), wanted: Buffer.concat([body, body]) },
    {
      reason: 'padding between and behind',
      bytes: Buffer.concat([xz, padding, xz, padding]),
      wanted: Buffer.concat([body, body]),
    },
    { reason: 'no check', bytes: await encoded(body, { preset: 1, check: 0 }), wanted: body },
    { reason: 'SHA-256', bytes: await encoded(body, { preset: 1, check: 10 }), wanted: body },
    {
      reason: 'the x86 filter, which xz-decompress lacks',
      bytes: await encoded(calls, { filters: x86 }),
      wanted: calls,
    },
    { reason: 'level 9, a dictionary of 64 MiB', bytes: withDictionary(28), wanted: body },
    { reason: 'a dictionary of 128 MiB', bytes: withDictionary(30), wanted: body },
    { reason: 'YZ, at which lzma-native’s own stream splits', bytes: stored, wanted: noise },
  ];
  for (const { reason, bytes, wanted } of rows) {
    for (const [how, pieces] of [
      ['whole', [bytes]],
      ['chopped', chopped(bytes, reason, 9000)],
      [
        'the ends byte by byte',
        [...bytewise(bytes.subarray(0, 60)), bytes.subarray(60, -60), ...bytewise(bytes.subarray(-60))],
      ],
    ] as const) {
      const { decoded, fault } = await run('xz', pieces);
      t.equal(fault, null, `${reason}, ${how}`);
      t.ok(decoded.equals(wanted), `${reason}, ${how}: the bytes`);
    }
  }
});

t.test('wrong files', async (t) => {
  const changed = (at: number, value: number) => {
    const bytes = Buffer.from(xz);
    bytes.writeUInt8(value, at < 0 ? bytes.length + at : at);
    return bytes;
  };
  const rows = [
    { reason: 'a dictionary of 192 MiB', bytes: withDictionary(31), wanted: 'bound' },
    { reason: 'an unknown LZMA2 chunk', bytes: changed(24, 0x03), wanted: 'damaged' },
    { reason: 'a footer that is none', bytes: changed(-1, 0x58), wanted: 'damaged' },
    { reason: 'an index that says otherwise', bytes: changed(-18, 0x77), wanted: 'damaged' },
    { reason: 'padding before the first stream', bytes: Buffer.concat([padding, xz]), wanted: 'damaged' },
    {
      reason: 'a second stream cut short',
      bytes: Buffer.concat([xz, padding, xz.subarray(0, -1)]),
      wanted: 'incomplete',
    },
  ] as const;
  for (const { reason, bytes, wanted } of rows) t.equal((await run('xz', [bytes])).fault, wanted, reason);
  t.equal((await run('xz', [withDictionary(28)], { maxWindowBytes: 32 * MiB })).fault, 'bound', 'a lower bound');
});

t.test('pieces are cut so that none decodes to more than 2 MiB', async (t) => {
  const zeros = Buffer.alloc(5 * MiB);
  const bomb = await encoded(zeros, { preset: 1 });
  for (const pieces of [[bomb], chopped(bomb, 'bomb', 500), bytewise(bomb)]) {
    const cuts = new XzCuts();
    const parts = pieces.flatMap((piece) => cuts.take(piece));
    cuts.end();
    t.ok(Buffer.concat(parts).equals(bomb), 'nothing is lost');
    t.ok(parts.length >= 3, `${parts.length} parts`);
    // To liblzma's addon an empty piece is the end.
    t.notOk(
      parts.some((part) => part.length === 0),
      'none is empty',
    );
    let decoded = 0;
    let most = 0;
    const decoder = openDecoder('xz', (piece) => {
      decoded += piece.length;
    });
    for (const part of parts) {
      const before = decoded;
      await decoder.write(part);
      most = Math.max(most, decoded - before);
    }
    await decoder.end();
    t.equal(decoded, zeros.length);
    t.ok(most <= 2 * MiB, `${most} bytes from one part`);
  }
});

t.test('the loop is free while a piece is decoded', async (t) => {
  let isDone = false;
  const encodedLong = await encoded(seededBytes('long', 500_000), { preset: 1 });
  const work = feed(
    openDecoder('xz', () => {}),
    [encodedLong],
  ).finally(() => {
    isDone = true;
  });
  let turns = 0;
  for (; !isDone; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  await work;
  t.ok(turns > 20, `${turns} turns`);
});
