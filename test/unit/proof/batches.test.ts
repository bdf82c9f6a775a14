// What arrives is handed on in order and in one piece, at most a few MiB wait, and nobody waits for a source that hangs.

import t, { type Test } from 'tap';
import { type BatchWatcher, batches } from '../../../src/proof/batches.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { turns } from '../../support/proof-rig.ts';
import { seededBytes } from '../../support/seeded.ts';

refuseLeaks(t);

const MIB = 2 ** 20;

/** A source that is pushed, and knows what became of it. */
class Source implements AsyncIterable<Buffer> {
  asked = 0;
  isReturned = false;
  #waiting: { resolve(result: IteratorResult<Buffer, void>): void; reject(error: unknown): void } | null = null;

  [Symbol.asyncIterator](): AsyncIterator<Buffer, void> {
    return {
      next: () => {
        this.asked += 1;
        return new Promise((resolve, reject) => {
          this.#waiting = { resolve, reject };
        });
      },
      return: () => {
        this.isReturned = true;
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  async give(bytes: Buffer): Promise<void> {
    this.#waiting?.resolve({ done: false, value: bytes });
    await turns(1);
  }

  async end(): Promise<void> {
    this.#waiting?.resolve({ done: true, value: undefined });
    await turns(1);
  }

  async fail(error: unknown): Promise<void> {
    this.#waiting?.reject(error);
    await turns(1);
  }
}

class Watcher implements BatchWatcher {
  readonly calls: Array<number | 'waits'> = [];
  waits(): void {
    this.calls.push('waits');
  }
  came(bytes: number): void {
    this.calls.push(bytes);
  }
}

const silent: BatchWatcher = { waits() {}, came() {} };
const piece = (text: string) => Buffer.from(text);

const opened = (t: Test, signal?: AbortSignal) => {
  const source = new Source();
  const watcher = new Watcher();
  const iterator = batches(source, watcher, signal);
  t.teardown(() => iterator.return());
  return { source, watcher, iterator };
};

t.test('one piece at a time, where the consumer is faster', async (t) => {
  const { source, watcher, iterator } = opened(t);
  for (const text of ['one', 'two', 'three']) {
    const next = iterator.next();
    await source.give(piece(text));
    t.equal(String((await next).value), text);
  }
  const last = iterator.next();
  await source.end();
  t.equal((await last).done, true);
  t.same(watcher.calls, ['waits', 3, 'waits', 3, 'waits', 5, 'waits']);
});

t.test('what came meanwhile is one batch', async (t) => {
  const { source, iterator } = opened(t);
  const first = iterator.next();
  await source.give(piece('a'));
  t.equal(String((await first).value), 'a');
  for (const text of ['b', 'c', 'd']) await source.give(piece(text));
  t.equal(String((await iterator.next()).value), 'bcd');
  await source.give(piece('e'));
  await source.end();
  t.equal(String((await iterator.next()).value), 'e', 'what came before the end comes before the end');
  t.equal((await iterator.next()).done, true);
});

t.test('a MiB waits, and no more is asked for', async (t) => {
  const { source, watcher, iterator } = opened(t);
  const first = iterator.next();
  await source.give(piece('first'));
  await first;
  for (let given = 0; given < 20; given += 1) await source.give(Buffer.alloc(100_000));
  const held = (await iterator.next()).value?.length ?? 0;
  t.ok(held >= MIB && held <= MIB + 100_000, `${held} bytes waited`);
  t.equal(source.asked, 1 + 11 + 1, 'the rest was never asked for, until there was room again');
  t.equal(
    watcher.calls.filter((call) => call === 'waits').length,
    source.asked,
    'and while we made it wait, nothing counted',
  );
});

t.test('pieces larger than a batch pass one by one', async (t) => {
  const { source, iterator } = opened(t);
  const large = seededBytes('large', 3 * MIB);
  const first = iterator.next();
  await source.give(large);
  t.equal((await first).value, large, 'without a copy');
  await source.end();
});

const ends: { reason: string; pieces: readonly string[]; error: boolean }[] = [
  { reason: 'nothing at all', pieces: [], error: false },
  { reason: 'an error at once', pieces: [], error: true },
  { reason: 'an error behind bytes', pieces: ['a', 'b'], error: true },
];
for (const { reason, pieces, error } of ends)
  t.test(reason, async (t) => {
    const broken = new Error('ECONNRESET');
    async function* source() {
      for (const text of pieces) yield piece(text);
      if (error) throw broken;
    }
    const seen: string[] = [];
    const read = async () => {
      for await (const batch of batches(source(), silent)) seen.push(String(batch));
    };
    t.equal(await read().catch((thrown: unknown) => thrown), error ? broken : undefined);
    t.equal(seen.join(''), pieces.join(''), 'every byte before it came');
  });

t.test('pieces without a byte are nothing', async (t) => {
  const { source, watcher, iterator } = opened(t);
  const first = iterator.next();
  for (let given = 0; given < 100; given += 1) await source.give(Buffer.alloc(0));
  await source.give(piece('a'));
  t.equal(String((await first).value), 'a');
  t.same(
    watcher.calls.filter((call) => call !== 'waits'),
    [1],
    'they keep no time limit alive',
  );
  await source.end();
});

t.test('a consumer that leaves releases the source', async (t) => {
  const rows: { reason: string; given: number }[] = [
    { reason: 'while the source is asked', given: 1 },
    { reason: 'while the source waits for room', given: 20 },
  ];
  for (const { reason, given } of rows) {
    const { source, iterator } = opened(t);
    const first = iterator.next();
    for (let count = 0; count < given; count += 1) await source.give(Buffer.alloc(100_000));
    await first;
    await iterator.return();
    await source.give(piece('late'));
    t.ok(source.isReturned, reason);
    const { asked } = source;
    await turns();
    t.equal(source.asked, asked, 'and asks no more');
  }
});

t.test('a source that fails after the consumer has left fails nobody', async (t) => {
  const { source, iterator } = opened(t);
  const first = iterator.next();
  await source.give(piece('a'));
  await first;
  await iterator.return();
  await source.fail(new Error('aborted'));
  t.pass('no unhandled rejection');
});

t.test('an abort ends it, though the source heeds none', async (t) => {
  const abort = new AbortController();
  const { source, iterator } = opened(t, abort.signal);
  const first = iterator.next();
  await source.give(piece('a'));
  await first;
  const second = iterator.next().catch((error: unknown) => error);
  const reason = new Error('late');
  abort.abort(reason);
  t.equal(await second, reason);
  await source.give(piece('late'));
  t.ok(source.isReturned, 'and it is released as soon as it says something');
});

t.test('an abort ends a wait for room', async (t) => {
  const abort = new AbortController();
  const { source, iterator } = opened(t, abort.signal);
  const first = iterator.next();
  for (let count = 0; count < 20; count += 1) await source.give(Buffer.alloc(100_000));
  await first;
  abort.abort();
  await turns();
  t.ok(source.isReturned);
});

t.test('aborted before it began', async (t) => {
  const { iterator } = opened(t, AbortSignal.abort());
  await t.rejects(iterator.next());
});

t.test("a joined batch is the consumer's until it asks for the next, and for good where it leaves", async (t) => {
  for (const ends of ['next', 'return'] as const) {
    const { source, iterator } = opened(t);
    const first = iterator.next();
    await source.give(piece('first'));
    await first;
    const large = seededBytes(ends, 200_000);
    await source.give(large.subarray(0, 100_000));
    await source.give(large.subarray(100_000));
    const { value } = await iterator.next();
    t.ok(value?.equals(large));
    if (ends === 'return') await iterator.return();
    else {
      const next = iterator.next();
      await source.give(piece('next'));
      t.equal(String((await next).value), 'next', 'what comes after it is whole');
      await source.end();
    }
    // A decoder may still be at work on what a consumer left behind.
    t.equal(value?.length, ends === 'return' ? 200_000 : 0);
    if (ends === 'return') t.ok(value?.equals(large));
  }
});
