// An upload is kept when its bytes are what its file hash names and decode to an end; else its sender is told what is wrong.

import { createHash } from 'node:crypto';
import t from 'tap';
import type { Encoding } from '../../../src/core/claim.ts';
import { deposit } from '../../../src/proof/deposit.ts';
import { refuseLeaks } from '../../support/leaks.ts';
import { bytesOf, flipped, makeBody, openHeart, turns, until } from '../../support/proof-rig.ts';

refuseLeaks(t);

const SIZE = 300_000;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

interface Sent {
  /** What comes; the rest is what was announced. */
  readonly bytes: Buffer;
  readonly announced: Buffer;
  readonly encoding: Encoding | null;
  readonly isCut?: boolean;
}

const sending = ({ bytes, announced, encoding, isCut = false }: Sent) => {
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += 10_000) yield bytes.subarray(at, at + 10_000);
    if (isCut) throw new Error('aborted');
  }
  return {
    fileHash: sha256(announced),
    fileBytes: announced.length,
    encodingOf: () => encoding,
    bytes: pieces(),
    abort: () => {},
  };
};

const zstd = await makeBody('deposit', SIZE, 'zstd-many');
const { encoded } = zstd;
const whole: Sent = { bytes: encoded, announced: encoded, encoding: 'zstd' };
const last = encoded.length - 1;

const wrong: { reason: string; sent: Sent; message: RegExp }[] = [
  { reason: 'in no encoding', sent: { ...whole, encoding: null }, message: /no encoding that can be proven/ },
  { reason: 'in another', sent: { ...whole, encoding: 'xz' }, message: /no right xz stream/ },
  {
    reason: 'damaged',
    sent: { ...whole, bytes: flipped(encoded, 0), announced: flipped(encoded, 0) },
    message: /no right zstd stream/,
  },
  {
    reason: 'cut inside a frame',
    sent: { ...whole, bytes: encoded.subarray(0, -1), announced: encoded.subarray(0, -1) },
    message: /no whole zstd stream/,
  },
  {
    reason: 'shorter than announced',
    sent: { ...whole, bytes: encoded.subarray(0, last) },
    message: /before its Content-Length/,
  },
  {
    reason: 'longer than announced',
    sent: { ...whole, announced: encoded.subarray(0, -1) },
    message: /longer than its Content-Length/,
  },
  { reason: 'nothing', sent: { ...whole, bytes: Buffer.alloc(0) }, message: /before its Content-Length/ },
  { reason: 'other bytes of that length', sent: { ...whole, announced: flipped(encoded, last) }, message: /file hash/ },
];

t.test('right', async (t) => {
  for (const kind of ['none', 'zstd-many', 'xz', 'gzip', 'br'] as const) {
    const { clock, forms } = await openHeart(t);
    const body = await makeBody('right', SIZE, kind);
    const upload = sending({ bytes: body.encoded, announced: body.encoded, encoding: body.encoding });
    const form = await deposit({ clock, forms, idleMs: 60_000, maxDecodedBytes: SIZE }, upload);
    t.same(form.digest, body.digest, kind);
    t.ok((await bytesOf(form)).equals(body.encoded));
    t.equal(clock.armed, 0);
  }
});

t.test('its encoding is told by its first bytes, however few come at once', async (t) => {
  for (const size of [3, 20, 31, 32, 33, 100]) {
    const { clock, forms } = await openHeart(t);
    const body = await makeBody('head', size);
    const heads: Buffer[] = [];
    async function* bytewise() {
      for (const byte of body.encoded) {
        yield Buffer.from([byte]);
        await turns(1);
      }
    }
    const upload = {
      ...sending({ bytes: body.encoded, announced: body.encoded, encoding: 'identity' }),
      encodingOf: (head: Buffer) => {
        heads.push(head);
        return 'identity' as const;
      },
      bytes: bytewise(),
    };
    const form = await deposit({ clock, forms, idleMs: 60_000, maxDecodedBytes: SIZE }, upload);
    t.ok((await bytesOf(form)).equals(body.encoded));
    t.equal(heads.length, 1);
    t.ok(heads[0]?.equals(body.encoded.subarray(0, Math.min(size, 32))), `${size} bytes`);
  }
});

for (const { reason, sent, message } of wrong)
  t.test(reason, async (t) => {
    const { clock, forms } = await openHeart(t);
    const ports = { clock, forms, idleMs: 60_000, maxDecodedBytes: 2 ** 30 };
    const error = await deposit(ports, sending(sent)).catch((thrown: unknown) => thrown);
    t.match(error, { code: 'WRONG_UPLOAD', blame: 'client', message });
    t.equal(forms.stats().objects, 0, 'nothing is kept');
    t.equal(forms.stats().spoolBytes, 0);
    t.equal(clock.armed, 0);
  });

t.test('more decoded bytes than an upload may have', async (t) => {
  const { clock, forms } = await openHeart(t);
  const error = deposit({ clock, forms, idleMs: 60_000, maxDecodedBytes: SIZE - 1 }, sending(whole));
  await t.rejects(error, { code: 'WRONG_UPLOAD' });
});

t.test('a connection that breaks', async (t) => {
  const { clock, forms } = await openHeart(t);
  const ports = { clock, forms, idleMs: 60_000, maxDecodedBytes: SIZE };
  await t.rejects(deposit(ports, sending({ ...whole, bytes: encoded.subarray(0, 50_000), isCut: true })), {
    message: 'aborted',
  });
  t.equal(forms.stats().spoolBytes, 0);
  t.equal(clock.armed, 0);
});

t.test('an uploader who falls silent is broken off', async (t) => {
  const { clock, forms } = await openHeart(t);
  const broken = Promise.withResolvers<never>();
  async function* pieces() {
    yield encoded.subarray(0, 100);
    yield await broken.promise;
  }
  const upload = { ...sending(whole), bytes: pieces(), abort: () => broken.reject(new Error('aborted')) };
  const taking = deposit({ clock, forms, idleMs: 60_000, maxDecodedBytes: SIZE }, upload).catch(
    (error: unknown) => error,
  );
  await until(() => forms.stats().spoolBytes === 100);
  await turns();
  clock.advanceNow(59_999);
  t.equal(clock.armed, 1, 'within its time');
  clock.advanceNow(1);
  t.match(await taking, { message: 'aborted' });
  t.equal(clock.armed, 0);
});

t.test('no room', async (t) => {
  const large = await makeBody('large', 3_000_000);
  const upload = () => sending({ bytes: large.encoded, announced: large.encoded, encoding: 'identity' });
  const full = await openHeart(t);
  full.files.onWrite = () => {
    throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  };
  const ports = { idleMs: 60_000, maxDecodedBytes: 2 ** 30 };
  await t.rejects(deposit({ ...ports, clock: full.clock, forms: full.forms }, upload()), { code: 'DISK' });
  const busy = await openHeart(t, { store: { maxBytes: 4_000_000, spoolShare: 0.5 } });
  await t.rejects(deposit({ ...ports, clock: busy.clock, forms: busy.forms }, upload()), { code: 'BUSY' });
  for (const { forms, clock } of [full, busy]) {
    t.equal(forms.stats().spoolBytes, 0);
    t.equal(clock.armed, 0);
  }
});
