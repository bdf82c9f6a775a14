// Every encoding, every wrong body: nothing but the right bytes is proven, and what is wrong is told apart.

import { createHash } from 'node:crypto';
import t from 'tap';
import type { NamedDigest } from '../../../src/core/digest.ts';
import type { Failure } from '../../../src/core/verdict.ts';
import { Meter } from '../../../src/proof/meter.ts';
import { type Proof, Prover } from '../../../src/proof/prover.ts';
import { skippableFrame, zstdBomb } from '../../support/bombs.ts';
import { chopped } from '../../support/codec-run.ts';
import { type BodyKind, encodePlainly } from '../../support/encodings.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { flipped, makeBody, type TestBody } from '../../support/proof-rig.ts';
import { seededBytes } from '../../support/seeded.ts';

refuseLeaks(t);

const KINDS: readonly BodyKind[] = [
  'none',
  'zstd-one',
  'zstd-many',
  'zstd-skippable',
  'xz',
  'xz-many',
  'gzip',
  'gzip-many',
  'br',
];
const SIZE = 150_000;

const prove = async (
  { digest, encoding }: { digest: NamedDigest; encoding: TestBody['encoding'] },
  pieces: readonly Uint8Array[],
): Promise<Proof> => {
  const prover = new Prover(digest, encoding);
  try {
    for (const piece of pieces) {
      const failure = await prover.take(Buffer.from(piece));
      if (failure !== null) return failure;
    }
    return await prover.finish();
  } finally {
    prover.close();
  }
};

const word = (proof: Proof | Failure): string => ('reason' in proof ? `${proof.kind} ${proof.reason}` : proof.kind);

interface Row {
  readonly reason: string;
  readonly change: (body: TestBody) => Promise<Buffer> | Buffer;
  readonly says: (kind: BodyKind) => RegExp;
}

/** Not every bit of an encoded body says something of the decoded one: those of a skippable frame do not. */
const damaged = (kind: BodyKind): RegExp => {
  if (kind === 'none') return /^refuted hash$/;
  if (kind === 'zstd-skippable') return /^proven$|^refuted (decode|hash|long)$/;
  return /^refuted (decode|hash|long|trailing)$|^unavailable (unprovable|short)$/;
};
const another = (kind: BodyKind): RegExp => (kind === 'br' ? /^refuted trailing$/ : /^refuted long$/);

const rows: readonly Row[] = [
  { reason: 'right', change: ({ encoded }) => encoded, says: () => /^proven$/ },
  {
    reason: 'without its last byte',
    change: ({ encoded }) => encoded.subarray(0, -1),
    says: () => /^unavailable short$/,
  },
  {
    reason: 'half of it',
    change: ({ encoded }) => encoded.subarray(0, encoded.length >> 1),
    says: () => /^unavailable short$/,
  },
  { reason: 'one byte of it', change: ({ encoded }) => encoded.subarray(0, 1), says: () => /^unavailable short$/ },
  { reason: 'nothing', change: () => Buffer.alloc(0), says: () => /^unavailable empty$/ },
  {
    reason: 'one decoded byte more, in a stream of its own',
    change: async ({ encoded, encoding }) =>
      Buffer.concat([encoded, await encodePlainly(Buffer.from('x'), encoding === 'identity' ? 'none' : encoding)]),
    says: another,
  },
  {
    reason: 'followed by other bytes',
    change: ({ encoded }) => Buffer.concat([encoded, Buffer.from('trailing')]),
    says: (kind) => (kind === 'none' ? /^refuted long$/ : /^refuted (trailing|decode)$|^unavailable short$/),
  },
  {
    reason: 'other bytes of the same length',
    change: async ({ encoding }) =>
      encodePlainly(seededBytes('other', SIZE), encoding === 'identity' ? 'none' : encoding),
    says: () => /^refuted hash$/,
  },
  {
    reason: 'shorter bytes, well encoded',
    change: async ({ decoded, encoding }) =>
      encodePlainly(decoded.subarray(1), encoding === 'identity' ? 'none' : encoding),
    says: () => /^unavailable short$/,
  },
  ...['first', 'middle', 'last'].map((where): Row => {
    const place = (bytes: Buffer) => ({ first: 0, middle: bytes.length >> 1, last: bytes.length - 1 })[where] ?? 0;
    return {
      reason: `a bit flipped in the ${where} byte`,
      change: ({ encoded }) => flipped(encoded, place(encoded)),
      says: damaged,
    };
  }),
];

for (const kind of KINDS)
  t.test(kind, async (t) => {
    const body = await makeBody('prover', SIZE, kind);
    for (const { reason, change, says } of rows) {
      const bytes = await change(body);
      for (const [cutting, pieces] of [
        ['whole', [bytes]],
        ['in pieces', chopped(bytes, reason, 9_000).filter((piece) => piece.length > 0)],
      ] as const) {
        const proof = await prove(body, pieces);
        t.match(word(proof), says(kind), `${reason}, ${cutting}`);
        if (proof.kind !== 'proven') continue;
        t.same(proof.digest, body.digest);
        t.equal(proof.fileHash, createHash('sha256').update(bytes).digest('hex'), 'of the encoded bytes');
      }
    }
  });

t.test('a refutation says where it was noticed, and what was found', async (t) => {
  const body = await makeBody('where', SIZE);
  const wrong = flipped(body.encoded, 70_000);
  const proof = await prove(body, [wrong.subarray(0, 80_000), wrong.subarray(80_000)]);
  t.match(proof, {
    kind: 'refuted',
    reason: 'hash',
    atByte: SIZE,
    found: { sha256: createHash('sha256').update(wrong).digest('hex'), sizeBytes: SIZE },
  });
});

t.test('a body whose size nobody named', async (t) => {
  for (const kind of ['none', 'zstd-many', 'xz'] as const) {
    const body = await makeBody('unnamed', SIZE, kind);
    const unnamed = { encoding: body.encoding, digest: { sha256: body.digest.sha256, sizeBytes: null } };
    t.match(
      await prove(unnamed, [body.encoded]),
      { kind: 'proven', digest: body.digest },
      `${kind}: its size is found`,
    );
    t.equal(word(await prove(unnamed, [])), 'unavailable empty', kind);
    const short = await prove(unnamed, [body.encoded.subarray(0, -1)]);
    t.equal(word(short), kind === 'none' ? 'refuted hash' : 'unavailable short', `${kind}: short`);
  }
});

t.test('what is longer than any encoder writes is refuted before it is decoded', async (t) => {
  const size = 4096;
  const bound = size + size / 8 + 2 ** 20;
  const skipped = skippableFrame(Buffer.alloc(300 * 1024));
  const rows = [
    { reason: 'identity, one byte beyond', encoding: 'identity', pieces: [Buffer.alloc(bound + 1)] },
    { reason: 'many skippable frames', encoding: 'zstd', pieces: Array<Buffer>(4).fill(skipped) },
    { reason: 'a bomb of zeros', encoding: 'zstd', pieces: [zstdBomb(64 * 2 ** 20)] },
  ] as const;
  for (const { reason, encoding, pieces } of rows) {
    const proof = await prove({ digest: { sha256: '0'.repeat(64), sizeBytes: size }, encoding }, pieces);
    t.match(word(proof), /^refuted long$|^unavailable unprovable$/, reason);
  }
});

t.test('the bound is met, not passed', async (t) => {
  const meter = new Meter('gzip', 1000);
  const { encoded } = await makeBody('bound', 1000, 'gzip');
  t.equal(await meter.take(encoded), null);
  t.equal(meter.decodedBytes, 1000);
  t.match(await meter.take(await encodePlainly(Buffer.from('x'), 'gzip')), { kind: 'long' });
  t.match(
    await meter.take(Buffer.from('x')).catch((error: unknown) => error),
    { kind: 'long' },
    'and a failure stays one',
  );
  meter.close();
});

t.test('what was taken so far, for whoever goes on from there', async (t) => {
  for (const kind of ['none', 'zstd-many', 'br'] as const) {
    const body = await makeBody('prefix', SIZE, kind);
    const prover = new Prover(body.digest, body.encoding);
    t.equal(prover.encodedBytes, 0);
    t.equal(prover.prefixHash(), createHash('sha256').digest('hex'));
    const half = body.encoded.subarray(0, body.encoded.length >> 1);
    await prover.take(half);
    t.equal(prover.encodedBytes, half.length);
    t.equal(prover.prefixHash(), createHash('sha256').update(half).digest('hex'), kind);
    await prover.take(body.encoded.subarray(half.length));
    t.equal((await prover.finish()).kind, 'proven');
    prover.close();
    prover.close();
  }
});

t.test('closed under a write, it neither hangs nor leaks', async (t) => {
  const body = await makeBody('closed', 2_000_000, 'xz');
  const prover = new Prover(body.digest, body.encoding);
  const taking = prover.take(body.encoded);
  prover.close();
  t.match(await taking.catch((error: unknown) => error), { code: 'CLOSED' });
});
