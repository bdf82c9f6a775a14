// Turns a pushing decoder into bytes that are pulled, holding at most a few MiB.

import type { PacedDecoder, Sink } from './decoder.ts';

/** From here on the decoder rests until the consumer has taken what there is. */
const restBytes = 1024 * 1024;

/** Pulls what `open`'s decoder makes of `source`; releases both on an early return. */
export async function* pull(source: AsyncIterable<Buffer>, open: (sink: Sink) => PacedDecoder): AsyncGenerator<Buffer> {
  let pieces: Buffer[] = [];
  let bytes = 0;
  let wake = () => {};
  const decoder = open((piece) => {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes >= restBytes) decoder.pause();
    wake();
  });

  async function* yielded(work: Promise<void>): AsyncGenerator<Buffer> {
    let isDone = false;
    const done = () => {
      isDone = true;
      wake();
    };
    work.then(done, done);
    for (;;) {
      while (pieces.length > 0) {
        const taken = pieces;
        pieces = [];
        bytes = 0;
        yield* taken;
      }
      if (isDone) return work;
      decoder.resume();
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }

  try {
    for await (const piece of source) yield* yielded(decoder.write(piece));
    yield* yielded(decoder.end());
  } finally {
    decoder.close();
  }
}
