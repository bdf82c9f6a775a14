// The action cache: results that are whole, results that are not, and what newer clients and servers say in them.

import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { status } from '@grpc/grpc-js';
import type { BlobDigest } from '../../../src/bazel/batch-envelope.ts';
import {
  ActionResultSchema,
  GetActionResultRequestSchema,
  TreeSchema,
  UpdateActionResultRequestSchema,
} from '../../../src/bazel/generated/build/bazel/remote/execution/v2/remote_execution_pb.ts';
import { codeOf, newBlob, type Row, type Wire } from './wire.ts';

const ACTIONS = '/build.bazel.remote.execution.v2.ActionCache';

type Result = MessageInitShape<typeof ActionResultSchema>;

const wireDigest = ({ hash, sizeBytes }: BlobDigest) => ({ hash, sizeBytes: BigInt(sizeBytes) });
const output = (path: string, { digest }: { readonly digest: BlobDigest }) => ({ path, digest: wireDigest(digest) });

const get = async (wire: Wire, action: BlobDigest, instance = ''): Promise<string> =>
  codeOf(await wire.client.getActionResult(action, { instance }));

/** What the update says, and what is got of it. */
const updated = async (wire: Wire, result: Result, action = newBlob(100).digest): Promise<readonly string[]> => {
  const update = codeOf(await wire.client.updateActionResult(action, result));
  return [update, await get(wire, action)];
};

const whole: Row[] = [
  { reason: 'an empty result', ask: (wire) => updated(wire, {}), sees: ['OK', 'OK'] },
  { reason: 'only an exit code', ask: (wire) => updated(wire, { exitCode: 3 }), sees: ['OK', 'OK'] },
  {
    reason: 'files, printed text and symlinks that stand',
    ask: async (wire) =>
      updated(wire, {
        outputFiles: [output('a/file', await wire.lying(5000)), output('empty', { digest: EMPTY })],
        stdoutDigest: wireDigest((await wire.lying(20)).digest),
        stderrDigest: wireDigest((await wire.lying(20)).digest),
        outputSymlinks: [{ path: 'link', target: 'a/file' }],
      }),
    sees: ['OK', 'OK'],
  },
  {
    reason: 'a Tree that stands, and all that it lists',
    ask: async (wire) => {
      const file = output('file', await wire.lying(5000));
      const tree = await putTree(wire, { root: { files: [{ name: 'file', digest: file.digest }] } });
      return updated(wire, { outputDirectories: [{ path: 'folder', treeDigest: wireDigest(tree.digest) }] });
    },
    sees: ['OK', 'OK'],
  },
  {
    reason: 'the same action again: the later result is got',
    ask: async (wire) => {
      const action = newBlob(100).digest;
      await wire.client.updateActionResult(action, { exitCode: 1 });
      await wire.client.updateActionResult(action, { exitCode: 2 });
      return (await wire.client.getActionResult(action)).response?.exitCode;
    },
    sees: 2,
  },
];

const EMPTY = { hash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', sizeBytes: 0 };

const putTree = (wire: Wire, init: MessageInitShape<typeof TreeSchema>) =>
  wire.put(Buffer.from(toBinary(TreeSchema, create(TreeSchema, init))));

const missed = ['OK', 'NOT_FOUND'];

const broken: Row[] = [
  { reason: 'an action that was never run', ask: (wire) => get(wire, newBlob(100).digest), sees: 'NOT_FOUND' },
  {
    reason: 'a file that is nowhere: a miss, until it is put',
    ask: async (wire) => {
      const blob = newBlob(5000);
      const action = newBlob(100).digest;
      const before = await updated(wire, { outputFiles: [output('file', blob)] }, action);
      await wire.client.write(blob.digest, [blob.bytes]);
      return [...before, await get(wire, action)];
    },
    sees: ['OK', 'NOT_FOUND', 'OK'],
  },
  {
    reason: 'a file of another size than the one that is there',
    ask: async (wire) => {
      const { digest } = await wire.lying(5000);
      return updated(wire, { outputFiles: [output('file', { digest: { ...digest, sizeBytes: 4999 } })] });
    },
    sees: missed,
  },
  {
    reason: 'stdout that is nowhere',
    ask: (wire) => updated(wire, { stdoutDigest: wireDigest(newBlob(20).digest) }),
    sees: missed,
  },
  {
    reason: 'a Tree that is nowhere',
    ask: (wire) => updated(wire, { outputDirectories: [{ path: 'a', treeDigest: wireDigest(newBlob(99).digest) }] }),
    sees: missed,
  },
  {
    reason: 'a Tree of which one file is nowhere',
    ask: async (wire) => {
      const files = [{ name: 'nowhere', digest: wireDigest(newBlob(5).digest) }];
      const tree = await putTree(wire, { root: {}, children: [{ files }] });
      return updated(wire, { outputDirectories: [{ path: 'a', treeDigest: wireDigest(tree.digest) }] });
    },
    sees: missed,
  },
  {
    reason: 'a Tree that is none',
    ask: async (wire) => {
      const tree = await wire.put(Buffer.concat([Buffer.from([0x0a, 0x7f, 1]), newBlob(20).bytes]));
      return updated(wire, { outputDirectories: [{ path: 'a', treeDigest: wireDigest(tree.digest) }] });
    },
    sees: missed,
    differs: { remote: { sees: ['OK', 'UNKNOWN'], why: 'what cannot be read is a miss; Bazel would try again' } },
  },
];

const refused = ['INVALID_ARGUMENT', 'NOT_FOUND'];
const CODE = 'a request that is wrong is INVALID_ARGUMENT; Bazel would try another code again';

const wrong: Row[] = [
  ...(
    [
      ['a file with an absolute path', { outputFiles: [output('/a', newBlob(5))] }],
      ['a file with an empty path', { outputFiles: [output('', newBlob(5))] }],
      ['a file without a digest', { outputFiles: [{ path: 'a' }] }],
      ['a file with a bad hash', { outputFiles: [{ path: 'a', digest: { hash: 'z', sizeBytes: 5n } }] }],
      [
        'a file with a size below 0',
        { outputFiles: [output('a', { digest: { ...newBlob(5).digest, sizeBytes: -5 } })] },
      ],
      ['a folder without a digest', { outputDirectories: [{ path: 'a' }] }],
      ['stdout with a bad hash', { stdoutDigest: { hash: 'z', sizeBytes: 5n } }],
    ] as const satisfies readonly (readonly [string, Result])[]
  ).map(
    ([reason, result]): Row => ({
      reason: `UpdateActionResult, ${reason}`,
      ask: (wire) => updated(wire, result),
      sees: refused,
      differs: { remote: { sees: ['UNKNOWN', 'NOT_FOUND'], why: CODE } },
    }),
  ),
  {
    reason: 'UpdateActionResult, inlined bytes that do not match their digest',
    ask: (wire) => updated(wire, { stdoutRaw: Buffer.from('hello'), stdoutDigest: wireDigest(newBlob(5).digest) }),
    sees: refused,
    differs: { remote: { sees: ['INTERNAL', 'NOT_FOUND'], why: CODE } },
  },
  {
    reason: 'UpdateActionResult without a result',
    ask: async (wire) => {
      const request = create(UpdateActionResultRequestSchema, { actionDigest: wireDigest(newBlob(100).digest) });
      const bytes = toBinary(UpdateActionResultRequestSchema, request);
      return (await wire.raw(`${ACTIONS}/UpdateActionResult`, Buffer.from(bytes))).code;
    },
    sees: 'INVALID_ARGUMENT',
    differs: { remote: { sees: 'UNKNOWN', why: CODE } },
  },
  ...['GetActionResult', 'UpdateActionResult'].map(
    (method): Row => ({
      reason: `${method} without an action`,
      ask: async (wire) => (await wire.raw(`${ACTIONS}/${method}`, Buffer.alloc(0))).code,
      sees: 'INVALID_ARGUMENT',
    }),
  ),
  ...(
    [
      ['upper case', { hash: newBlob(5).digest.hash.toUpperCase(), sizeBytes: 5 }],
      ['a short hash', { hash: 'abc', sizeBytes: 5 }],
      ['size 0 with another hash', { hash: newBlob(5).digest.hash, sizeBytes: 0 }],
    ] as const
  ).map(
    ([reason, action]): Row => ({
      reason: `an action digest with ${reason}`,
      ask: async (wire) => [codeOf(await wire.client.updateActionResult(action, {})), await get(wire, action)],
      sees: ['INVALID_ARGUMENT', 'INVALID_ARGUMENT'],
    }),
  ),
];

const ALONE = 'without an upstream the whole digest is the key, in its instance';

const keys: Row[] = [
  {
    reason: 'the right hash with another size',
    ask: async (wire) => {
      const action = newBlob(100).digest;
      await wire.client.updateActionResult(action, {});
      return get(wire, { ...action, sizeBytes: 99 });
    },
    sees: 'OK',
    differs: { alone: { sees: 'NOT_FOUND', why: ALONE } },
  },
  {
    reason: 'another instance',
    ask: async (wire) => {
      const action = newBlob(100).digest;
      await wire.client.updateActionResult(action, {}, { instance: 'one/of/us' });
      return [await get(wire, action, 'one/of/us'), await get(wire, action, 'another')];
    },
    sees: ['OK', 'OK'],
    differs: { alone: { sees: ['OK', 'NOT_FOUND'], why: ALONE } },
  },
];

const UNKNOWN_FIELD = 1234;
const NEWS = 'news';

/** A result as it goes over the wire, with a field of a later REAPI in it. */
const withNews = (result: Result): Uint8Array =>
  Buffer.concat([
    toBinary(ActionResultSchema, create(ActionResultSchema, result)),
    new BinaryWriter().tag(UNKNOWN_FIELD, WireType.LengthDelimited).string(NEWS).finish(),
  ]);

const kept: Row[] = [
  {
    reason: 'unknown fields are kept',
    ask: async (wire) => {
      const actionDigest = wireDigest(newBlob(100).digest);
      const update = create(UpdateActionResultRequestSchema, { actionDigest });
      const actionResult = withNews({ exitCode: 7 });
      const request = Buffer.concat([
        toBinary(UpdateActionResultRequestSchema, update),
        new BinaryWriter().tag(3, WireType.LengthDelimited).bytes(actionResult).finish(),
      ]);
      const ask = create(GetActionResultRequestSchema, { actionDigest });
      const asked = Buffer.from(toBinary(GetActionResultRequestSchema, ask));
      const answers = [
        await wire.raw(`${ACTIONS}/UpdateActionResult`, request),
        await wire.raw(`${ACTIONS}/GetActionResult`, asked),
        await wire.raw(`${ACTIONS}/GetActionResult`, asked),
      ];
      return answers.map(({ code, messages: [bytes = Buffer.alloc(0)] }) => {
        const { exitCode, $unknown = [] } = fromBinary(ActionResultSchema, bytes);
        return [code, exitCode, $unknown.map(({ no }) => no)];
      });
    },
    sees: Array.from({ length: 3 }, () => ['OK', 7, [UNKNOWN_FIELD]]),
  },
  {
    reason: 'execution metadata is kept',
    ask: async (wire) => {
      const action = newBlob(100).digest;
      await wire.client.updateActionResult(action, { executionMetadata: { worker: 'a worker' } });
      return (await wire.client.getActionResult(action)).response?.executionMetadata?.worker;
    },
    sees: 'a worker',
  },
  {
    reason: 'stdout that was inlined can be had, inlined or by its digest',
    ask: async (wire) => {
      const action = newBlob(100).digest;
      await wire.client.updateActionResult(action, { stdoutRaw: Buffer.from('hello') });
      const { response, ...end } = await wire.client.getActionResult(action);
      if (response === null) return codeOf(end);
      if (response.stdoutRaw.length > 0) return Buffer.from(response.stdoutRaw).toString();
      const { hash = '', sizeBytes = 0n } = response.stdoutDigest ?? {};
      const read = await wire.client.read({ hash, sizeBytes: Number(sizeBytes) });
      return read.code === status.OK ? read.bytes.toString() : codeOf(read);
    },
    sees: 'hello',
  },
  {
    reason: 'stdout is inlined where that is asked for, or can be had by its digest',
    ask: async (wire) => {
      const { bytes, digest } = await wire.lying(20);
      const actionDigest = wireDigest(newBlob(100).digest);
      const stdoutDigest = wireDigest(digest);
      const action = { hash: actionDigest.hash, sizeBytes: Number(actionDigest.sizeBytes) };
      await wire.client.updateActionResult(action, { stdoutDigest });
      const ask = create(GetActionResultRequestSchema, { actionDigest, inlineStdout: true });
      const message = Buffer.from(toBinary(GetActionResultRequestSchema, ask));
      const { code, messages } = await wire.raw(`${ACTIONS}/GetActionResult`, message);
      const { stdoutRaw, ...result } = fromBinary(ActionResultSchema, messages[0] ?? Buffer.alloc(0));
      const isRight = stdoutRaw.length === 0 || bytes.equals(stdoutRaw);
      return [code, isRight, result.stdoutDigest?.hash === digest.hash, (await updatedStdout(wire, action)) === ''];
    },
    sees: ['OK', true, true, true],
  },
];

/** What another client gets, that asked for nothing inlined. */
const updatedStdout = async (wire: Wire, action: BlobDigest): Promise<string> =>
  Buffer.from((await wire.client.getActionResult(action)).response?.stdoutRaw ?? []).toString();

export const actions: readonly Row[] = [...whole, ...broken, ...wrong, ...keys, ...kept];
