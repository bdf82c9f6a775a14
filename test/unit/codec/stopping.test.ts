// A decoder stops at once: when its sink throws, when it is closed, when it has failed or ended.

import { gzipSync } from 'node:zlib';
import t from 'tap';
import { GuardedDecoder } from '../../../src/codec/guard.ts';
import { openDecoder } from '../../../src/codec/open.ts';
import { compressionOf, decoders, feed, rejection } from '../../support/codec-run.ts';
import { bombOf, encodePlainly } from '../../support/encodings.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { seededBytes } from '../../support/seeded.ts';

refuseLeaks(t);

const MiB = 1024 * 1024;
const body = seededBytes('body', 200_000);
const turn = () => new Promise((resolve) => setImmediate(resolve));

for (const { name, encoding, options } of decoders) {
  t.test(name, async (t) => {
    const encoded = await encodePlainly(body, compressionOf(encoding));

    for (const thrown of [new Error('full'), undefined]) {
      let calls = 0;
      const decoder = openDecoder(
        encoding,
        () => {
          calls += 1;
          throw thrown;
        },
        options,
      );
      t.equal(await rejection(decoder.write(encoded)), thrown, 'write rejects with what the sink threw');
      t.equal(await rejection(decoder.write(encoded)), thrown, 'so does the next write');
      t.equal(await rejection(decoder.end()), thrown, 'and end');
      await turn();
      t.equal(calls, 1, 'the sink is not called again');
      decoder.close();
      decoder.close();
    }

    let calls = 0;
    const closed = openDecoder(encoding, () => calls++, options);
    const writing = rejection(closed.write(encoded));
    const before = calls;
    closed.close();
    t.match(await writing, { code: 'CLOSED' }, 'close during a write');
    t.match(await rejection(closed.write(encoded)), { code: 'CLOSED' }, 'a write after close');
    await turn();
    t.equal(calls, before, 'the sink is not called after close');

    openDecoder(encoding, () => {}, options).close();

    const ended = openDecoder(encoding, () => {}, options);
    await feed(ended, [encoded]);
    t.match(await rejection(ended.write(encoded)), { code: 'ENDED' }, 'a write after the end');
    t.match(await rejection(ended.end()), { code: 'ENDED' }, 'a second end');
  });
}

t.test('a bomb costs a few MiB when its sink stops it', async (t) => {
  for (const { name, encoding, options } of decoders) {
    if (encoding === 'identity') continue;
    // Warm: code, contexts and, for the worker, its heap.
    await feed(
      openDecoder(encoding, () => {}, options),
      [await encodePlainly(body, compressionOf(encoding))],
    );
    const bomb = await bombOf(compressionOf(encoding), (encoding === 'zstd' ? 64 : 16) * MiB);
    const rss = process.memoryUsage.rss();
    let peak = rss;
    let decoded = 0;
    const decoder = openDecoder(
      encoding,
      (piece) => {
        peak = Math.max(peak, process.memoryUsage.rss());
        decoded += piece.length;
        if (decoded > MiB) throw new Error('enough');
      },
      options,
    );
    t.match(await rejection(decoder.write(bomb)), { message: 'enough' }, name);
    decoder.close();
    t.ok(decoded < 2 * MiB, `${name}: the sink saw ${decoded} bytes`);
    t.ok(peak - rss < 24 * MiB, `${name}: ${Math.round((peak - rss) / MiB)} MiB more memory`);
  }
});

t.test('one thing at a time', async (t) => {
  const decoder = openDecoder('gzip', () => {});
  const first = decoder.write(gzipSync(body));
  t.match(await rejection(decoder.end()), { code: 'BUSY' });
  await first;
  await decoder.end();
});

t.test('an error that comes after the decoder was closed is nobody’s', async (t) => {
  for (const encoding of ['zstd', 'xz', 'gzip', 'br'] as const) {
    const decoder = openDecoder(encoding, () => {});
    const encoded = await encodePlainly(body, encoding);
    encoded.fill(0xaa, 2000, 3000);
    const writing = rejection(decoder.write(encoded));
    decoder.close();
    t.match(await writing, { code: 'CLOSED' }, encoding);
    for (let i = 0; i < 20; i += 1) await turn();
  }
});

t.test('the guard keeps to its first reason', async (t) => {
  let isClosed = false;
  const engine = {
    write: async () => {
      throw new Error('first');
    },
    end: async () => {},
    close: () => {
      isClosed = true;
    },
    pause: () => {},
    resume: () => {},
  };
  const decoder = new GuardedDecoder(
    () => engine,
    () => {},
  );
  t.match(await rejection(decoder.write(body)), { message: 'first' });
  t.ok(isClosed, 'the engine is closed at once');
  decoder.close();
  t.match(await rejection(decoder.end()), { message: 'first' });
});

t.test('a rest holds the output back', async (t) => {
  for (const { name, encoding, options } of decoders) {
    if (encoding === 'identity') continue;
    const bomb = await bombOf(compressionOf(encoding), 8 * MiB);
    let decoded = 0;
    const rest = Promise.withResolvers<void>();
    const decoder = openDecoder(
      encoding,
      (piece) => {
        if (decoded === 0) decoder.pause();
        decoded += piece.length;
        rest.resolve();
      },
      options,
    );
    let isWritten = false;
    const writing = decoder.write(bomb).then(() => {
      isWritten = true;
    });
    await rest.promise;
    // As long as another takes to decode all of it.
    await feed(
      openDecoder(encoding, () => {}, options),
      [bomb],
    );
    t.ok(decoded <= 4 * MiB, `${name}: ${decoded} bytes before the rest holds`);
    t.notOk(isWritten, `${name}: the write waits`);
    decoder.resume();
    await writing;
    await decoder.end();
    t.equal(decoded, 8 * MiB, name);
  }
});
