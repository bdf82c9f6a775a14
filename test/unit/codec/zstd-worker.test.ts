// The fallback without native zstd is fenced: in window, in work, in time; and its worker goes when told.

import { constants, zstdCompressSync } from 'node:zlib';
import t from 'tap';
import { FzstdEngine } from '../../../src/codec/fzstd-engine.ts';
import { GuardedDecoder } from '../../../src/codec/guard.ts';
import { openDecoder } from '../../../src/codec/open.ts';
import { zstdBomb } from '../../support/bombs.ts';
import { rejection, run } from '../../support/codec-run.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { seededBytes } from '../../support/seeded.ts';

refuseLeaks(t);

const MiB = 1024 * 1024;
const options = { runtime: { nativeZstd: false } };
const body = seededBytes('body', 300_000);

/** A frame whose blocks are `block`, `count` times; its window is 8 MiB unless the descriptor says otherwise. */
const frameOf = (block: readonly number[], count: number, window = 0x68): Buffer =>
  Buffer.concat([
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, window]),
    Buffer.concat(Array<Buffer>(count).fill(Buffer.from(block))),
    Buffer.from([1, 0, 0]),
  ]);
const oneByte = [0x0a, 0, 0, 7]; // Run-length: one byte, once.

t.test('windows', async (t) => {
  const rows = [
    { reason: '8 MiB', window: 0x68, wanted: null },
    { reason: '9 MiB: fzstd would take 0.4 ms and more for each block', window: 0x69, wanted: 'bound' },
    { reason: '128 MiB, where fzstd gives wrong bytes', window: 0x88, wanted: 'bound' },
  ];
  for (const { reason, window, wanted } of rows) {
    t.equal((await run('zstd', [frameOf(oneByte, 2, window)], options)).fault, wanted, reason);
  }
});

t.test('content of an 8 MiB window decodes within the budget', async (t) => {
  const params = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_windowLog]: 23 };
  const long = Buffer.concat([body, Buffer.alloc(9 * MiB), body]);
  const { decoded, fault } = await run('zstd', [zstdCompressSync(long, { params })], options);
  t.equal(fault, null);
  t.ok(decoded.equals(long));
});

t.test('blocks too small for their window are refused, not decoded for minutes', async (t) => {
  let decoded = 0;
  const decoder = new GuardedDecoder(
    (deliver) => new FzstdEngine(deliver, undefined, { moveAllowanceBytes: 10 * 1024 * MiB }),
    (piece) => {
      decoded += piece.length;
    },
  );
  const hostile = frameOf(oneByte, 250_000, 0x58); // 20 s of fzstd.
  t.match(await rejection(decoder.write(hostile)), { fault: 'bound', message: /too small/ });
  t.ok(decoded < 6000, `${decoded} blocks were decoded`);
});

t.test('a missing or wrong checksum passes, as fzstd knows none: the digest decides', async (t) => {
  const encoded = zstdCompressSync(body, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
  encoded.writeUInt8(encoded.readUInt8(encoded.length - 1) ^ 1, encoded.length - 1);
  t.equal((await run('zstd', [encoded], options)).fault, null);
  t.equal((await run('zstd', [encoded.subarray(0, -1)], options)).fault, 'incomplete', 'but a short one does not');
});

t.test('a worker that decodes nothing is given up', async (t) => {
  const clock = new FakeClock();
  const decoder = new GuardedDecoder(
    (deliver) => new FzstdEngine(deliver, undefined, { clock }),
    () => decoder.pause(),
  );
  const writing = rejection(decoder.write(zstdBomb(16 * MiB)));
  t.equal(clock.armed, 1);
  await clock.advance(9_999);
  while (clock.armed > 0) await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(60_000); // While it rests, its time does not run.
  decoder.resume();
  t.equal(clock.armed, 1);
  clock.advanceNow(10_000);
  t.match(await writing, { fault: 'bound', message: /nothing for 10000 ms/ });
  t.equal(clock.armed, 0);
});

t.test('a worker asleep, waiting for its sink, ends with close', async (t) => {
  const owed = Promise.withResolvers<void>();
  let decoded = 0;
  const decoder = openDecoder(
    'zstd',
    (piece) => {
      decoder.pause();
      decoded += piece.length;
      if (decoded > 2 * MiB) owed.resolve(); // Now it sleeps.
    },
    options,
  );
  const writing = rejection(decoder.write(zstdBomb(16 * MiB)));
  await owed.promise;
  decoder.close();
  t.match(await writing, { code: 'CLOSED' });
}); // That nothing is left open is seen at the end.
