// Form files of FORMAT 1, written out by hand: what older versions left on disk is read for ever, or FORMAT is raised.

import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import type { Encoding } from '../../../src/core/claim.ts';
import { openForms, readAll } from '../../support/store-rig.ts';

/*
 * body | 32 bytes SHA-256 of each MiB of it | JSON | its length and the number of MiBs, 4 bytes each, big-endian |
 * SHA-256 of everything since the body | CLNMISS1. None of it comes from our code: it was made with Python's hashlib.
 */
const words = (text: string): Buffer => Buffer.from(text, 'latin1');
const hex = (digits: string): Buffer => Buffer.from(digits, 'hex');

const small = Buffer.concat([
  words('cleanmiss\n'),
  hex('df1e25519ccc6256da571f32305ad14658d75d450385f3fb783d08cec3d740df'),
  words(
    '{"sha256":"df1e25519ccc6256da571f32305ad14658d75d450385f3fb783d08cec3d740df","sizeBytes":10,"encoding":"identity",' +
      '"fileBytes":10,"fileHash":"df1e25519ccc6256da571f32305ad14658d75d450385f3fb783d08cec3d740df"}',
  ),
  hex('000000cf00000001'),
  hex('17db620a192317a8d5bda1e36090bb4fe0cd1c438b206ebada325c75ba51a720'),
  words('CLNMISS1'),
]);

const large = Buffer.concat([
  Buffer.alloc(1_048_576, 'a'),
  words('b'),
  hex('9bc1b2a288b26af7257a36277ae3816a7d4f16e89c1e7e77d0a5c48bad62b360'),
  hex('3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d'),
  words(
    '{"sha256":"174985e4dd3b2df2a316acc62b781b8712734467cc92f94ddccc6530acb14f1e","sizeBytes":7,"encoding":"xz",' +
      '"fileBytes":1048577,"fileHash":"371264331be3a89bb42c4fea3770469e9094f6ce8c8244b9ac2beb9ffd80e621"}',
  ),
  hex('000000cd00000002'),
  hex('b67343f2687bf82c044ba9bcf78c75d20bfa65574be2140d18d6de84804668ff'),
  words('CLNMISS1'),
]);

const empty = Buffer.concat([
  words(
    '{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","sizeBytes":0,"encoding":"identity",' +
      '"fileBytes":0,"fileHash":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}',
  ),
  hex('000000cd00000000'),
  hex('9354ab9ab45eb10ddbb76801c6a63612558460cb3f0ffc435ed7d39ed05afe7b'),
  words('CLNMISS1'),
]);

interface Frozen {
  readonly file: Buffer;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly encoding: Encoding;
  readonly body: Buffer;
}

const frozen: readonly Frozen[] = [
  {
    file: small,
    sha256: 'df1e25519ccc6256da571f32305ad14658d75d450385f3fb783d08cec3d740df',
    sizeBytes: 10,
    encoding: 'identity',
    body: words('cleanmiss\n'),
  },
  {
    file: large,
    sha256: '174985e4dd3b2df2a316acc62b781b8712734467cc92f94ddccc6530acb14f1e',
    sizeBytes: 7,
    encoding: 'xz',
    body: large.subarray(0, 1_048_577),
  },
  {
    file: empty,
    sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    sizeBytes: 0,
    encoding: 'identity',
    body: Buffer.alloc(0),
  },
];

const nameOf = ({ sha256, sizeBytes, encoding }: Frozen): string =>
  join('forms', sha256.slice(0, 2), `${sha256}-${sizeBytes}.${encoding}`);

const place = async (dir: string, name: string, file: Buffer): Promise<void> => {
  await mkdir(dirname(join(dir, name)), { recursive: true });
  await writeFile(join(dir, name), file);
};

for (const form of frozen)
  t.test(`a form of ${form.body.length} bytes is read as it was written`, async (t) => {
    const dir = t.testdir();
    await place(dir, nameOf(form), form.file);
    const { store } = await openForms(t, { dir });
    t.same(store.stats(), { bytes: form.file.length, maxBytes: store.stats().maxBytes, objects: 1, spoolBytes: 0 });
    const found = await store.find(form, form.encoding);
    t.ok(found && (await readAll(found)).equals(form.body));
  });

const at = (file: Buffer, fromEnd: number): Buffer => {
  const damaged = Buffer.from(file);
  damaged.writeUInt8(damaged.readUInt8(file.length - fromEnd) ^ 1, file.length - fromEnd);
  return damaged;
};

const damages: readonly { readonly reason: string; readonly of: (file: Buffer) => Buffer }[] = [
  { reason: 'another magic', of: (file) => at(file, 1) },
  { reason: 'another checksum', of: (file) => at(file, 9) },
  { reason: 'another number of MiBs', of: (file) => at(file, 41) },
  { reason: 'far more MiBs than the file has', of: (file) => at(file, 44) },
  { reason: 'another length of the JSON', of: (file) => at(file, 45) },
  { reason: 'another file hash', of: (file) => at(file, 52) },
  { reason: 'another MiB hash', of: (file) => at(file, 48 + 205) },
  { reason: 'cut by one byte', of: (file) => file.subarray(0, -1) },
  { reason: 'cut to a footer’s size', of: (file) => file.subarray(0, 48) },
  { reason: 'longer by one byte', of: (file) => Buffer.concat([file, words('!')]) },
  { reason: 'one byte more at the front', of: (file) => Buffer.concat([words('!'), file]) },
  { reason: 'nothing but zeros, as after a loss of power', of: (file) => Buffer.alloc(file.length) },
];

for (const form of frozen.filter(({ file }) => file !== empty))
  for (const { reason, of } of damages)
    t.test(`${form.body.length} bytes, ${reason}: not held, and removed`, async (t) => {
      const dir = t.testdir();
      await place(dir, nameOf(form), of(form.file));
      const { store, log } = await openForms(t, { dir });
      t.equal(await store.find(form, form.encoding), undefined);
      t.match(log.lines, [{ fields: { reason: 'footer' } }]);
      await store.close();
      t.match(store.stats(), { objects: 0, bytes: 0 });
    });

t.test('a right file under another’s name is not that other', async (t) => {
  const dir = t.testdir();
  const other = { sha256: 'a'.repeat(64), sizeBytes: 10 };
  await place(dir, join('forms', 'aa', `${other.sha256}-10.identity`), small);
  const { store } = await openForms(t, { dir });
  t.equal(await store.find(other, 'identity'), undefined);
});
