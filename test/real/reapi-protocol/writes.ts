// ByteStream.Write and QueryWriteStatus: what is taken, what is refused, and what stands afterwards.

import { status } from '@grpc/grpc-js';
import { encodeWriteRequest } from '../../../src/bazel/envelope.ts';
import { damaged, encodeLikeBazelRemote } from '../../support/reapi/zstd.ts';
import type { WriteOptions } from '../../support/reapi-client.ts';
import { type Blob, codeOf, inPieces, newBlob, type Row, readAll, toldOfWrite, type Wire } from './wire.ts';

const SIZE = 100_000;
const EMPTY: Blob = {
  bytes: Buffer.alloc(0),
  digest: { hash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', sizeBytes: 0 },
};
const EMPTY_FRAME = Buffer.from('28b52ffd2000010000', 'hex');
/** Of gRPC: bazel-remote leaves it to the library what an error is. */
const CODE = 'an upload that is wrong is INVALID_ARGUMENT, says REAPI; Bazel would try another code again';

interface Sent {
  readonly pieces?: (blob: Blob) => readonly Buffer[];
  readonly options?: (blob: Blob) => WriteOptions;
  readonly blob?: Blob;
}

/** How it ended, and what of it is there: a write that failed has left nothing. */
const write =
  ({ pieces = ({ bytes }) => inPieces(bytes, 40_000), options = () => ({}), blob = newBlob(SIZE) }: Sent): Row['ask'] =>
  async (wire) => {
    const sent = options(blob);
    const answer = await wire.client.write(blob.digest, pieces(blob), sent);
    const isCompressed = sent.encoding === 'zstd' && answer.committedSize === pieces(blob).reduce(sum, 0);
    const told = isCompressed ? 'OK compressed' : toldOfWrite(answer);
    const there = await wire.has(blob.digest, sent.instance);
    return `${told}, ${there}${there === 'present' ? `, read ${await readAll(wire, blob, pick(sent))}` : ''}`;
  };

const sum = (total: number, { length }: Buffer): number => total + length;
const pick = ({ instance }: WriteOptions) => (instance === undefined ? {} : { instance });

const remoteSees = (sees: unknown, why: string): Row['differs'] => ({ remote: { sees, why } });
const REFUSED = 'INVALID_ARGUMENT, missing';
const STORED = `OK ${SIZE}, present, read OK`;

const other = newBlob(SIZE).bytes;
const zstd: WriteOptions = { encoding: 'zstd' };
const encoded = ({ bytes }: Blob): readonly Buffer[] => inPieces(encodeLikeBazelRemote(bytes), 30_000);
const at = (blob: Blob) => `${blob.digest.hash}/${blob.digest.sizeBytes}`;

const taken: Row[] = [
  { reason: 'a blob in three messages', ask: write({}), sees: STORED },
  { reason: 'in one message', ask: write({ pieces: ({ bytes }) => [bytes] }), sees: STORED },
  {
    reason: 'with empty messages between',
    ask: write({ pieces: ({ bytes }) => inPieces(bytes, 40_000).flatMap((piece) => [Buffer.alloc(0), piece]) }),
    sees: STORED,
  },
  {
    reason: 'with finish_write in an empty message of its own',
    ask: write({ pieces: ({ bytes }) => [bytes, Buffer.alloc(0)] }),
    sees: STORED,
  },
  {
    reason: 'whole, but finish_write is never said',
    ask: write({ options: () => ({ finishes: false }) }),
    sees: STORED,
  },
  {
    reason: 'the name in each message',
    ask: write({
      options: (blob) => ({ change: (chunk) => ({ ...chunk, resourceName: `uploads/a-uuid/blobs/${at(blob)}` }) }),
    }),
    sees: STORED,
  },
  {
    reason: 'zstd in one frame, without a checksum or with',
    ask: write({ pieces: encoded, options: () => zstd }),
    sees: 'OK compressed, present, read OK',
  },
  {
    reason: 'zstd with a skippable frame before it',
    ask: write({
      pieces: (blob) => [Buffer.from('502a4d180400000001020304', 'hex'), ...encoded(blob)],
      options: () => zstd,
    }),
    sees: 'OK compressed, present, read OK',
  },
  {
    reason: 'zstd of several MiB',
    ask: write({ pieces: encoded, options: () => zstd, blob: newBlob(5 * 1024 * 1024 + 1) }),
    sees: 'OK compressed, present, read OK',
  },
  {
    reason: 'identity of several MiB',
    ask: write({ pieces: ({ bytes }) => inPieces(bytes), blob: newBlob(5 * 1024 * 1024 + 1) }),
    sees: `OK ${5 * 1024 * 1024 + 1}, present, read OK`,
  },
  { reason: 'the empty blob', ask: write({ blob: EMPTY }), sees: 'OK 0, present, read OK' },
  {
    reason: 'the empty blob as zstd',
    ask: async (wire) => codeOf(await wire.client.write(EMPTY.digest, [EMPTY_FRAME], zstd)),
    sees: 'OK',
  },
  {
    reason: 'an instance of several segments',
    ask: write({ options: () => ({ instance: 'main/of/us' }) }),
    sees: STORED,
  },
  ...['', '-', 'no uuid at all', 'ä/ö', 'blobs'].map(
    (uuid): Row => ({
      reason: `the uuid "${uuid}"`,
      ask: write({ options: () => ({ uuid }) }),
      sees: uuid.includes('/') ? REFUSED : STORED,
    }),
  ),
  {
    reason: 'metadata behind the size',
    ask: write({ options: (blob) => ({ resourceName: `uploads/a-uuid/blobs/${at(blob)}/foo/bar.o` }) }),
    sees: STORED,
  },
  {
    reason: 'metadata behind the size, zstd',
    ask: write({
      pieces: encoded,
      options: (blob) => ({ ...zstd, resourceName: `uploads/a-uuid/compressed-blobs/zstd/${at(blob)}/foo` }),
    }),
    sees: 'OK compressed, present, read OK',
  },
];

const repeated =
  (options: WriteOptions, again: (blob: Blob) => readonly Buffer[]): Row['ask'] =>
  async (wire) => {
    const blob = await wire.lying(SIZE);
    const first = await wire.client.write(blob.digest, again(blob), options);
    const second = await wire.client.write(blob.digest, again(blob), options);
    return [codeOf(first), toldOfWrite(second)];
  };

const repeats: Row[] = [
  {
    reason: 'what is there already is answered with its size',
    ask: repeated({}, ({ bytes }) => inPieces(bytes, 40_000)),
    sees: ['OK', `OK ${SIZE}`],
  },
  { reason: 'the same as zstd is answered with -1', ask: repeated(zstd, encoded), sees: ['OK', 'OK -1'] },
  {
    reason: 'eight at once of one blob',
    ask: async (wire) => {
      const blob = newBlob(SIZE);
      const pieces = inPieces(blob.bytes, 10_000);
      const one = (_: unknown, index: number) => wire.client.write(blob.digest, pieces, { uuid: `${index}` });
      const answers = await Promise.all(Array.from({ length: 8 }, one));
      return [...new Set(answers.map(toldOfWrite)), await readAll(wire, blob)];
    },
    sees: [`OK ${SIZE}`, 'OK'],
  },
];

const wrong: Row[] = [
  {
    reason: 'other bytes of the same length',
    ask: write({ pieces: () => inPieces(other, 40_000) }),
    sees: REFUSED,
    differs: remoteSees('INTERNAL, missing', CODE),
  },
  {
    reason: 'other bytes as zstd',
    ask: write({ pieces: () => [encodeLikeBazelRemote(other)], options: () => zstd }),
    sees: REFUSED,
    differs: remoteSees('INTERNAL, missing', CODE),
  },
  {
    reason: 'too short',
    ask: write({ pieces: ({ bytes }) => inPieces(bytes.subarray(0, 90_000), 40_000) }),
    sees: REFUSED,
    differs: remoteSees('UNKNOWN, missing', CODE),
  },
  {
    reason: 'too short, and finish_write is never said',
    ask: write({ pieces: ({ bytes }) => [bytes.subarray(0, 90_000)], options: () => ({ finishes: false }) }),
    sees: REFUSED,
    differs: remoteSees('UNKNOWN, missing', CODE),
  },
  {
    reason: 'too long',
    ask: write({ pieces: ({ bytes }) => [bytes, Buffer.from('!')] }),
    sees: REFUSED,
    differs: remoteSees('OUT_OF_RANGE, missing', CODE),
  },
  {
    reason: 'much too long',
    ask: write({ pieces: ({ bytes }) => Array.from({ length: 30 }, () => bytes) }),
    sees: REFUSED,
    differs: remoteSees('OUT_OF_RANGE, missing', CODE),
  },
  {
    reason: 'zstd of too few bytes',
    ask: write({ pieces: ({ bytes }) => [encodeLikeBazelRemote(bytes.subarray(1))], options: () => zstd }),
    sees: REFUSED,
    differs: remoteSees('INTERNAL, missing', CODE),
  },
  {
    reason: 'zstd of too many bytes',
    ask: write({
      pieces: ({ bytes }) => [encodeLikeBazelRemote(Buffer.concat([bytes, bytes]))],
      options: () => zstd,
    }),
    sees: REFUSED,
    differs: remoteSees('INTERNAL, missing', CODE),
  },
  {
    reason: 'zstd with a flipped bit',
    ask: write({ pieces: ({ bytes }) => [damaged(encodeLikeBazelRemote(bytes))], options: () => zstd }),
    sees: REFUSED,
    differs: remoteSees('INTERNAL, missing', CODE),
  },
  {
    reason: 'zstd that is cut',
    ask: write({ pieces: ({ bytes }) => [encodeLikeBazelRemote(bytes).subarray(0, -9)], options: () => zstd }),
    sees: REFUSED,
    differs: remoteSees('INTERNAL, missing', CODE),
  },
  {
    reason: 'zstd that is none',
    ask: write({ pieces: ({ bytes }) => [bytes], options: () => zstd }),
    sees: REFUSED,
    differs: remoteSees('INTERNAL, missing', CODE),
  },
  {
    reason: 'a first offset that is not 0',
    ask: write({ options: () => ({ change: (chunk) => ({ ...chunk, writeOffset: chunk.writeOffset + 7 }) }) }),
    sees: REFUSED,
    differs: remoteSees('UNKNOWN, missing', CODE),
  },
  {
    reason: 'a later offset that leaves a gap',
    ask: write({
      options: () => ({
        change: (chunk, index) => ({ ...chunk, writeOffset: chunk.writeOffset + (index === 1 ? 7 : 0) }),
      }),
    }),
    sees: REFUSED,
    differs: remoteSees(STORED, 'it does not look'),
  },
  {
    reason: 'a name that changes',
    ask: write({
      options: (blob) => ({
        change: (chunk, index) => (index === 1 ? { ...chunk, resourceName: `uploads/b/blobs/${at(blob)}` } : chunk),
      }),
    }),
    sees: REFUSED,
  },
  {
    reason: 'bytes after finish_write',
    ask: write({ options: () => ({ change: (chunk, index) => ({ ...chunk, finishWrite: index === 1 }) }) }),
    sees: REFUSED,
    differs: remoteSees('UNKNOWN, missing', CODE),
  },
  {
    reason: 'no message at all',
    ask: (wire) => wire.rawWrite([], 2_000),
    sees: 'INVALID_ARGUMENT',
    differs: remoteSees('DEADLINE_EXCEEDED', 'it waits for a first message for ever'),
  },
  {
    reason: 'a message that is none',
    ask: (wire) => wire.rawWrite([Buffer.from([0x0a, 0x7f, 1])]),
    sees: 'INVALID_ARGUMENT',
    differs: remoteSees('INTERNAL', CODE),
  },
  {
    reason: 'one message of 9 MiB',
    ask: (wire) => {
      const { bytes, digest } = newBlob(9 * 1024 * 1024);
      const resourceName = `uploads/a/blobs/${digest.hash}/${digest.sizeBytes}`;
      return wire.rawWrite([encodeWriteRequest({ resourceName, writeOffset: 0, finishWrite: true, data: bytes })]);
    },
    sees: 'RESOURCE_EXHAUSTED',
  },
];

const nameRows: readonly { readonly reason: string; name(blob: Blob): string; readonly differs?: Row['differs'] }[] = [
  { reason: 'no name', name: () => '' },
  { reason: 'the name of a read', name: (blob) => `blobs/${at(blob)}` },
  { reason: 'no uuid', name: (blob) => `uploads/blobs/${at(blob)}` },
  { reason: 'deflate', name: (blob) => `uploads/a/compressed-blobs/deflate/${at(blob)}` },
  { reason: 'no compressor', name: (blob) => `uploads/a/compressed-blobs/${at(blob)}` },
  { reason: 'a digest function', name: (blob) => `uploads/a/blobs/blake3/${at(blob)}` },
  { reason: 'upper case', name: ({ digest: { hash } }) => `uploads/a/blobs/${hash.toUpperCase()}/${SIZE}` },
  { reason: 'a short hash', name: ({ digest: { hash } }) => `uploads/a/blobs/${hash.slice(2)}/${SIZE}` },
  { reason: 'no size', name: ({ digest: { hash } }) => `uploads/a/blobs/${hash}` },
  { reason: 'a size below 0', name: ({ digest: { hash } }) => `uploads/a/blobs/${hash}/-5` },
  { reason: 'a size that is no number', name: ({ digest: { hash } }) => `uploads/a/blobs/${hash}/many` },
  { reason: 'size 0 with another hash', name: ({ digest: { hash } }) => `uploads/a/blobs/${hash}/0` },
];

const names: Row[] = nameRows.map(({ reason, name, differs }) => ({
  reason: `an upload with ${reason}`,
  ask: write({ options: (blob) => ({ resourceName: name(blob) }) }),
  sees: REFUSED,
  differs,
}));

const asked = async (wire: Wire, name: string): Promise<unknown> => {
  const { response, ...end } = await wire.client.queryWriteStatus(name);
  return end.code === status.OK ? response : codeOf(end);
};

const queries: Row[] = [
  {
    reason: 'QueryWriteStatus before and after',
    ask: async (wire) => {
      const blob = newBlob(SIZE);
      const name = `uploads/a-uuid/blobs/${at(blob)}`;
      const before = await asked(wire, name);
      await wire.client.write(blob.digest, [blob.bytes]);
      return [before, await asked(wire, name)];
    },
    sees: [
      { committedSize: 0, complete: false },
      { committedSize: SIZE, complete: true },
    ],
  },
  {
    reason: 'QueryWriteStatus of an upload that was refused',
    ask: async (wire) => {
      const blob = newBlob(SIZE);
      await wire.client.write(blob.digest, [other]);
      return asked(wire, `uploads/a-uuid/blobs/${at(blob)}`);
    },
    sees: { committedSize: 0, complete: false },
  },
  {
    reason: 'QueryWriteStatus of the empty blob',
    ask: (wire) => asked(wire, `uploads/a-uuid/blobs/${at(EMPTY)}`),
    sees: { committedSize: 0, complete: true },
  },
  {
    reason: 'QueryWriteStatus with a bad name',
    ask: (wire) => asked(wire, 'uploads/a-uuid'),
    sees: 'INVALID_ARGUMENT',
  },
];

export const writes: readonly Row[] = [...taken, ...repeats, ...wrong, ...names, ...queries];
