// What is read, cut into messages: the right bytes in their order, and no frame's memory given back before its time.

import t from 'tap';
import { decodeReadResponse, type LentReadResponse } from '../../../src/bazel/envelope.ts';
import { inMessages } from '../../../src/bazel/read-messages.ts';
import { seededBytes } from '../../support/seeded.ts';

const bytes = seededBytes('read', 1_500_000);

/** As grpc-js sends a message: framed at once, and called back when the frame was written. */
const sender = (failsAt = Number.POSITIVE_INFINITY) => {
  const frames: Buffer[] = [];
  const whole: number[] = [];
  const send = async (message: Buffer | LentReadResponse): Promise<void> => {
    if (frames.length >= failsAt) throw new Error('the client is gone');
    const frame = Buffer.allocUnsafeSlow(5 + message.byteLength);
    message.copy(frame, 5);
    frames.push(frame);
    await new Promise((resolve) => setImmediate(resolve));
    whole.push(frames.filter(({ length }) => length > 0).length);
  };
  return { frames, whole, send };
};

t.test('every byte, and at most two frames in memory', async (t) => {
  const { whole, send } = sender();
  const received: Buffer[] = [];
  const write = inMessages(async (message) => {
    await send(message);
    const frame = 'frame' in message ? message.frame : null;
    if (frame !== null) received.push(Buffer.from(decodeReadResponse(frame.subarray(5))));
  });
  await write(bytes.subarray(0, 1_000_000));
  await write(bytes.subarray(1_000_000));
  t.ok(Buffer.concat(received).equals(bytes));
  t.ok(received.every(({ length }) => length <= 256 * 1024));
  t.ok(Math.max(...whole) <= 2, `${whole}`);
});

t.test(
  'where one could not be sent, none before it is given back but those that one after them followed',
  async (t) => {
    const { frames, send } = sender(3);
    await t.rejects(inMessages(send)(bytes), { message: 'the client is gone' });
    t.same(
      frames.map(({ length }) => length > 0),
      [false, false, true],
    );
  },
);

t.test('what is small, or lies with others, stays', async (t) => {
  const slab = Buffer.alloc(4 * 1024 * 1024);
  let used = 0;
  const write = inMessages(async (message) => {
    const frame = slab.subarray(used, used + 5 + message.byteLength);
    message.copy(frame, 5);
    used += frame.length;
  });
  await write(bytes);
  await write(bytes.subarray(0, 100));
  t.equal(slab.length, 4 * 1024 * 1024);
});
