// Canaries prove themselves; keys are read from a file; and what a server says of itself is taken for no more than it is.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CANARY_BYTES, canaryBytes, storeNamedBy } from '../../../src/health/canary-bytes.ts';
import { minioSays, rustfsSays } from '../../../src/health/readiness.ts';
import { keysFrom } from '../../../src/health/s3-store.ts';

t.test('a canary', (t) => {
  const bytes = canaryBytes('11e6-ab', 'nix-cache.v2');
  t.equal(bytes.length, CANARY_BYTES);
  t.equal(storeNamedBy(bytes, 'nix-cache.v2'), '11e6-ab');
  t.equal(storeNamedBy(bytes, 'bazel'), null, 'of another bucket');
  t.equal(storeNamedBy(bytes.subarray(0, -1), 'nix-cache.v2'), null, 'short');
  t.equal(storeNamedBy(Buffer.concat([bytes, Buffer.from('x')]), 'nix-cache.v2'), null, 'long');
  t.equal(storeNamedBy(Buffer.alloc(0), 'nix-cache.v2'), null, 'empty');
  for (const at of [0, 20, 40, 100, 1023]) {
    const flipped = Buffer.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    t.not(storeNamedBy(flipped, 'nix-cache.v2'), '11e6-ab', `flipped at ${at}`);
  }
  t.equal(storeNamedBy(canaryBytes('a\nb', 'nix'), 'nix'), null, 'no name beyond its line');
  t.end();
});

t.test('keys from a file', async (t) => {
  const file = join(t.testdir(), 'credentials');
  const read = (text: string) => {
    writeFileSync(file, text);
    return keysFrom(file);
  };
  const keys = { accessKeyId: 'AK', secretAccessKey: 'S/e=c' };
  t.same(await read('[default]\naws_access_key_id = AK\naws_secret_access_key=S/e=c\n'), keys);
  t.same(await read('aws_access_key_id=AK\r\naws_secret_access_key=S/e=c\r\n'), keys, 'without a heading');
  const other = '[other]\naws_access_key_id=X\naws_secret_access_key=Y\n';
  const text = `${other}[default]\naws_access_key_id=AK\naws_secret_access_key=S/e=c\naws_session_token=T\n`;
  t.same(await read(text), { ...keys, sessionToken: 'T' });
  await t.rejects(read(other), { code: 'CREDENTIALS', message: /^(?!.*[XY]\b)/ });
  await t.rejects(keysFrom(`${file}-not-there`), { code: 'ENOENT' });
});

t.test('readiness', (t) => {
  const reply = (status: number, body = '', headers = {}) => ({ status, headers, body });
  const rows = [
    ['RustFS, ready', rustfsSays(reply(200, '{"ready":true,"version":"1.0.0-beta.1"}')), 'ready'],
    ['RustFS, not ready', rustfsSays(reply(503, '{"ready":false,"version":"1.0.0-beta.1"}')), 'not-ready'],
    ['200 and degraded in the body', rustfsSays(reply(200, '{"ready":false}')), 'not-ready'],
    ['a page', rustfsSays(reply(200, '<html>')), 'unknown'],
    ['a 503 of a proxy', rustfsSays(reply(503, '')), 'unknown'],
    ['JSON of somebody else', rustfsSays(reply(200, '{"ready":"yes"}')), 'unknown'],
    ['null', rustfsSays(reply(200, 'null')), 'unknown'],
    ['MinIO, quorum', minioSays(reply(200, '', { server: 'MinIO' })), 'ready'],
    ['MinIO, none', minioSays(reply(503, '', { 'x-minio-write-quorum': '1' })), 'not-ready'],
    ['MinIO, busy', minioSays(reply(429, '', { server: 'MinIO' })), 'unknown'],
    ['somebody who says 200', minioSays(reply(200)), 'unknown'],
  ] as const;
  for (const [reason, said, word] of rows) t.equal(said.word, word, reason);
  t.equal(rustfsSays(reply(200, '{"ready":true,"version":"1.0.0-beta.1"}')).version, '1.0.0-beta.1');
  t.end();
});
