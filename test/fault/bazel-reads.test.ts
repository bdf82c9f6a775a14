// Every fault of a blob behind the Bazel front, in both encodings, proven in memory and followed: the right bytes or a clean miss.

import t, { type Test } from 'tap';
import { skippableFrame } from '../support/bombs.ts';
import { refuseLeaks } from '../support/leaks.ts';
import {
  afterFirst,
  type Behaviour,
  damagedFrame,
  fail,
  flip,
  flipOnWire,
  inPieces,
  otherContent,
  short,
  skippableFirst,
  stall,
  tooLong,
  trailing,
} from '../support/reapi/behaviours.ts';
import { startRig } from '../support/reapi-rig.ts';
import { checkRead, ENCODINGS, type Encoding, type Expected } from '../support/reapi-verdict.ts';
import { seededBytes } from '../support/seeded.ts';

interface Blob {
  readonly encoding: Encoding;
  readonly sizeBytes: number;
}

interface Row {
  readonly fault: string;
  readonly expected: Expected | ((blob: Blob) => Expected);
  readonly faults: (blob: Blob) => readonly Behaviour[];
  /** Of the whole upstream, beside one blob's. */
  readonly isMute?: true;
  readonly limits?: Record<string, string>;
  /** Also as 5 MB, which take most of the time here. */
  readonly isLargeToo?: true;
}

const SMALL = 20_000;
const FOLLOWED = 1_500_000;
const LARGE = 5_000_000;
/** What is smaller is asked for in identity, if a client does. */
const isOnWireAsZstd = ({ encoding, sizeBytes }: Blob) => encoding === 'zstd' || sizeBytes > SMALL;
const quarter = ({ sizeBytes }: Blob) => Math.floor(sizeBytes / 4);

/** Scaled down where it is what ends the wait, and only there: a busy machine is not to look like a silent upstream. */
const SHORT = { silent: { 'upstream.firstByte': '6s' }, stalled: { 'upstream.idle': '1500ms' } };

const ROWS: readonly Row[] = [
  { fault: 'none', expected: 'bytes', faults: () => [], isLargeToo: true },
  { fault: 'head of a stored file first', expected: 'bytes', faults: () => [skippableFirst()] },
  { fault: 'messages of 64 KiB', expected: 'bytes', faults: () => [skippableFirst(), inPieces(65_536)] },
  { fault: 'no zstd spoken', expected: 'bytes', faults: () => [], isMute: true },
  { fault: 'empty', expected: 'miss', faults: () => [short(0)] },
  { fault: 'one byte', expected: 'miss', faults: () => [short(1)] },
  {
    fault: 'a piece each time',
    // Identity is gone on with at an offset, and so each time brings news.
    expected: ({ encoding }) => (encoding === 'identity' ? 'either' : 'miss'),
    faults: (blob) => [short(quarter(blob))],
    isLargeToo: true,
  },
  { fault: 'cut short of its end', expected: 'miss', faults: () => [short(-100)] },
  {
    fault: 'cut in its last byte',
    expected: (blob) => (isOnWireAsZstd(blob) ? 'either' : 'miss'),
    faults: () => [short(-1)],
  },
  { fault: 'one byte too many', expected: 'miss', faults: () => [tooLong(Buffer.from('x'))] },
  { fault: 'a MiB too many', expected: 'miss', faults: () => [tooLong(Buffer.alloc(2 ** 20))] },
  { fault: 'garbage behind', expected: 'miss', faults: () => [trailing(Buffer.from('garbage'))] },
  { fault: 'its first byte wrong', expected: 'miss', faults: () => [flip('first')] },
  { fault: 'its middle byte wrong', expected: 'miss', faults: () => [flip('middle')] },
  { fault: 'its last byte wrong', expected: 'miss', faults: () => [flip('last')], isLargeToo: true },
  { fault: 'other bytes', expected: 'miss', faults: () => [skippableFirst(), otherContent()], isLargeToo: true },
  {
    fault: 'wrong, and 100 KiB to skip behind its last frame',
    expected: 'miss',
    faults: () => [flip('last'), trailing(skippableFrame(Buffer.alloc(100 * 1024)))],
  },
  {
    fault: 'right, and 100 KiB to skip behind its last frame',
    expected: (blob) => (isOnWireAsZstd(blob) ? 'bytes' : 'miss'),
    faults: () => [trailing(skippableFrame(Buffer.alloc(100 * 1024)))],
  },
  { fault: 'a bit turned on the wire', expected: 'miss', faults: () => [flipOnWire('middle')] },
  {
    fault: 'a damaged frame',
    expected: (blob) => (isOnWireAsZstd(blob) ? 'miss' : 'bytes'),
    faults: () => [damagedFrame()],
  },
  { fault: 'silence from the start', expected: 'miss', faults: () => [stall('before')], limits: SHORT.silent },
  {
    fault: 'silence in the middle',
    expected: 'miss',
    faults: () => [stall(-100)],
    limits: SHORT.stalled,
    isLargeToo: true,
  },
  { fault: 'silence behind the last byte', expected: 'bytes', faults: () => [stall('after')], limits: SHORT.stalled },
  { fault: 'a piece, then gone', expected: 'miss', faults: () => [short(5_000), afterFirst(1, fail(5))] },
];

/** The same in each row: their encodings cost more than everything that is tested here. */
const made = new Map<string, Buffer>();
const bytesFor = (state: string, { encoding, sizeBytes }: Blob): Buffer => {
  const key = `${state} ${encoding} ${sizeBytes}`;
  const bytes = made.get(key) ?? seededBytes(key, sizeBytes);
  made.set(key, bytes);
  return bytes;
};

refuseLeaks(t);
// Most of the time is spent waiting for silences to pass, and between tries.
t.jobs = 8;

for (const row of ROWS) t.test(row.fault, { buffered: true }, (t) => runRow(t, row));

async function runRow(t: Test, { expected, faults, isMute, limits, isLargeToo }: Row): Promise<void> {
  const { upstream, client, end } = await startRig(t, { 'fills.perClient': '64', ...limits });
  if (isMute) upstream.script('GetCapabilities', fail(12));
  // A connection that takes long on a busy machine makes the upstream one that speaks no zstd.
  t.equal((await client.findMissing([])).code, 0);
  const add = (state: string, blob: Blob) => {
    const bytes = bytesFor(state, blob);
    const digest = upstream.cache.add(bytes);
    const { encoding } = blob;
    const name = `${state} ${encoding} ${blob.sizeBytes}`;
    return {
      digest,
      script: () => upstream.script({ method: 'Read', hash: digest.hash }, ...faults(blob)),
      read: async (expected: Expected) =>
        checkRead(t, await client.read(digest, { encoding }), bytes, { encoding, expected, name }),
    };
  };
  const expectedOf = (blob: Blob) => (typeof expected === 'function' ? expected(blob) : expected);

  await Promise.all(
    ENCODINGS.map(async (encoding) => {
      const held = add('held', { encoding, sizeBytes: isLargeToo ? FOLLOWED : SMALL });
      await held.read('bytes');
      held.script();
      await held.read('bytes');
      t.equal(upstream.callsOf({ hash: held.digest.hash }).length, 1, `held ${encoding}: fetched once`);
    }),
  );

  await Promise.all(
    ENCODINGS.flatMap((encoding) => [
      ...[SMALL, FOLLOWED, ...(isLargeToo ? [LARGE] : [])].map(async (sizeBytes) => {
        const blob = { encoding, sizeBytes };
        const cold = add('cold', blob);
        cold.script();
        await cold.read(expectedOf(blob));
      }),
      ...[encoding === 'zstd' ? SMALL : FOLLOWED].map(async (sizeBytes) => {
        const blob = { encoding, sizeBytes };
        const shared = add('shared', blob);
        shared.script();
        await Promise.all(Array.from({ length: 8 }, () => shared.read(expectedOf(blob))));
        await upstream.until(() =>
          upstream.callsOf({ hash: shared.digest.hash }).every(({ ended }) => ended !== 'open'),
        );
        const complete = upstream.callsOf({ hash: shared.digest.hash }).filter(({ ended }) => ended === 'ok').length;
        const most = expectedOf(blob) === 'bytes' ? 1 : 4;
        t.ok(complete <= most, `eight readers, ${encoding} ${sizeBytes}: ${complete} whole transfers`);
      }),
    ]),
  );
  await end();
}
