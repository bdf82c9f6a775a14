// A form rots on our disk after it was proven: no rotten byte leaves the Bazel front, and what can be had again is.

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { refuseLeaks } from '../support/leaks.ts';
import type { ReadOptions } from '../support/reapi-client.ts';
import { type ReapiRig, startRig } from '../support/reapi-rig.ts';
import { seededBytes } from '../support/seeded.ts';

refuseLeaks(t);

const { OK, NOT_FOUND } = status;
const MIB = 1024 * 1024;
/** Nothing is answered from memory, and no form is being written any more when it rots. */
const FROM_DISK = { 'store.memoryBytes': '0' };

/** Flips one byte of every form that is long enough. */
const rot = async ({ house }: ReapiRig, at: number): Promise<void> => {
  const dir = join(house.dir, 'cleanmiss-data/store/forms');
  let rotted = 0;
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = await readFile(path);
    if (at >= bytes.length) continue;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(path, bytes);
    rotted += 1;
  }
  t.ok(rotted > 0, `${rotted} forms rotted`);
};

const decoded = (bytes: Buffer, { encoding }: ReadOptions) => (encoding === 'zstd' ? zstdDecompressSync(bytes) : bytes);

const READS: readonly { readonly name: string; readonly options: ReadOptions }[] = [
  { name: 'identity', options: {} },
  { name: 'zstd', options: { encoding: 'zstd' } },
  { name: 'identity from an offset', options: { offset: 1_200_000 } },
];

for (const { name, options } of READS) {
  // A MiB that is not asked for is not looked at.
  for (const at of options.offset === undefined ? [10, MIB + 10] : [MIB + 10]) {
    t.test(`Read, ${name}, rotten at ${at}`, async (t) => {
      const rig = await startRig(t, FROM_DISK);
      const bytes = seededBytes('rot', 2_500_000);
      const digest = rig.upstream.cache.add(bytes);
      t.equal((await rig.client.read(digest, { ...options, keepsBytes: false })).code, OK, 'proven');
      await rot(rig, at);
      const mended = await rig.client.read(digest, options);
      const rest = bytes.subarray(options.offset ?? 0);
      t.equal(mended.code, OK, mended.details);
      t.ok(decoded(mended.bytes, options).equals(rest), 'the right bytes, fetched again where it was rotten');

      await rot(rig, at);
      await rig.upstream.refuse();
      const lost = await rig.client.read(digest, options);
      t.equal(lost.code, NOT_FOUND, 'with nobody to ask, a miss');
      if (options.encoding !== 'zstd')
        t.ok(
          lost.bytes.length < rest.length && lost.bytes.equals(rest.subarray(0, lost.bytes.length)),
          'no wrong byte',
        );
      await rig.upstream.comeBack();
      await rig.end();
    });
  }
}

const batched = async (t: Test, rig: ReapiRig, bytes: Buffer, isThere: boolean): Promise<void> => {
  const digests = [rig.upstream.cache.add(bytes), rig.upstream.cache.add(seededBytes('sound', 2_000))];
  const { code, response } = await rig.client.batchRead(digests);
  t.equal(code, OK);
  const [rotten, sound] = response?.responses ?? [];
  t.equal(rotten?.status?.code ?? OK, isThere ? OK : NOT_FOUND);
  t.ok(!isThere || rotten?.data.equals(bytes));
  t.equal(sound?.status?.code ?? OK, OK, 'and the other of the same call is none the worse');
};

t.test('BatchReadBlobs', async (t) => {
  const rig = await startRig(t, FROM_DISK);
  const bytes = seededBytes('rot in a batch', 2_500_000);
  await batched(t, rig, bytes, true);
  await rot(rig, MIB + 10);
  await batched(t, rig, bytes, true);
  t.equal(
    rig.upstream.callsOf({ method: 'Read', hash: rig.upstream.cache.add(bytes).hash }).length,
    2,
    'fetched again',
  );
  await rot(rig, MIB + 10);
  await rig.upstream.refuse();
  await batched(t, rig, bytes, false);
  await rig.upstream.comeBack();
  await rig.end();
});
