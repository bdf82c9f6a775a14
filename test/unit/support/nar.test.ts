// NARs and narinfos of the fault tests are those that a real atticd stored and signed.

import { createPublicKey, verify } from 'node:crypto';
import t from 'tap';
import { loadAtticWire } from '../../support/attic-wire.ts';
import { makeObject } from '../../support/cache-object.ts';
import { digestOf, lazyNar, makeNar, type NarNode, writeNar } from '../../support/nar.ts';
import { fingerprint, hashText, narinfoText, signingKey, storeHash } from '../../support/narinfo.ts';
import { nix32 } from '../../support/nix32.ts';

/** Reads a well-formed NAR back. */
const readNar = (nar: Buffer): NarNode => {
  let at = 0;
  const bytes = (): Buffer => {
    const size = Number(nar.readBigUInt64LE(at));
    const value = nar.subarray(at + 8, at + 8 + size);
    at += 8 + Math.ceil(size / 8) * 8;
    return value;
  };
  const text = () => bytes().toString();
  const node = (): NarNode => {
    text();
    text();
    const type = text();
    if (type === 'symlink') {
      text();
      const target = text();
      text();
      return { kind: 'symlink', target };
    }
    if (type === 'regular') {
      const isExecutable = text() === 'executable';
      if (isExecutable) for (let skipped = 0; skipped < 2; skipped++) text();
      const contents = bytes();
      text();
      return { kind: 'regular', contents, executable: isExecutable };
    }
    const entries: Record<string, NarNode> = {};
    while (text() === 'entry') {
      text();
      text();
      const name = text();
      text();
      entries[name] = node();
      text();
    }
    return { kind: 'directory', entries };
  };
  text();
  return node();
};

const isSignedBy = (publicKey: string, sig: string, text: string): boolean => {
  const der = Buffer.concat([
    Buffer.from('302a300506032b6570032100', 'hex'),
    Buffer.from(publicKey.split(':')[1] ?? '', 'base64'),
  ]);
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  return verify(null, Buffer.from(text), key, Buffer.from(sig.split(':')[1] ?? '', 'base64'));
};

t.test('what atticd stored, taken apart and written again, is the same', async (t) => {
  for (const name of ['nar-none-multi', 'nar-none-single-s3']) {
    const { body, narHash } = loadAtticWire(name);
    t.ok(writeNar(readNar(body)).equals(body), name);
    t.equal(hashText(digestOf(body).sha256, 'hex'), narHash);
  }
});

t.test('a NAR has the size that was asked for', async (t) => {
  for (const sizeBytes of [112, 120, 4088, 4096, 65_536, 1024 * 1024, 1024 * 1024 + 8]) {
    const nar = makeNar({ seed: sizeBytes, sizeBytes });
    t.equal(nar.length, sizeBytes);
    t.ok(writeNar(readNar(nar)).equals(nar));
  }
  t.equal(makeNar({ seed: 1, sizeBytes: 0 }).length, 112);
  t.equal(makeNar({ seed: 1, sizeBytes: 9001 }).length, 9008);
  t.ok(makeNar({ seed: 'a', sizeBytes: 9000 }).equals(makeNar({ seed: 'a', sizeBytes: 9000 })));
  t.notOk(makeNar({ seed: 'a', sizeBytes: 9000 }).equals(makeNar({ seed: 'b', sizeBytes: 9000 })));
});

t.test('a lazy NAR is one, too', async (t) => {
  const lazy = lazyNar({ seed: 1, sizeBytes: 3_000_000 });
  const nar = Buffer.concat([...lazy.chunks()]);
  t.equal(nar.length, lazy.sizeBytes);
  t.ok(writeNar(readNar(nar)).equals(nar));
  t.strictSame(lazy.digest(), digestOf(nar));
});

t.test("a narinfo of atticd's, and its signature", async (t) => {
  const { body } = loadAtticWire('narinfo-zstd-multi-refs');
  const value = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(body.toString())?.[1] ?? '';
  const references = value('References').split(' ');
  const text = narinfoText({
    storePath: value('StorePath'),
    url: value('URL'),
    compression: value('Compression'),
    narHash: value('NarHash'),
    narSize: Number(value('NarSize')),
    references,
    sigs: [value('Sig')],
  });
  t.equal(text, body.toString());
  const config: { public_key: string } = JSON.parse(loadAtticWire('cache-config-synthesised').body.toString());
  const signed = fingerprint({
    storePath: value('StorePath'),
    narSha256: value('NarHash').slice('sha256:'.length),
    narSize: Number(value('NarSize')),
    references,
  });
  t.ok(isSignedBy(config.public_key, value('Sig'), signed));
});

t.test('our own signatures', async (t) => {
  const key = signingKey('test-1');
  t.equal(key.publicKey, signingKey('test-1').publicKey, 'one key a seed');
  t.ok(isSignedBy(key.publicKey, key.sign('text'), 'text'));
  t.notOk(isSignedBy(key.publicKey, key.sign('text'), 'test'));
});

t.test('hashes in four spellings', async (t) => {
  // The SHA-256 of nothing, as `nix-hash --to-base32` and `--to-sri` of Nix 2.8 print it.
  const nothing = digestOf(Buffer.alloc(0)).sha256;
  t.equal(hashText(nothing, 'nix32'), 'sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73');
  t.equal(hashText(nothing, 'sri'), 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=');
  t.equal(nix32(Buffer.alloc(20)), '0'.repeat(32));
  t.match(storeHash('x'), /^[0-9a-df-np-sv-z]{32}$/);
});

t.test('an object as Attic and as Nix write it', async (t) => {
  const attic = await makeObject({ seed: 1, sizeBytes: 50_000, key: signingKey('lab') });
  t.match(attic.narinfo, `URL: nar/${attic.hash}.nar\nCompression: zstd\nNarHash: sha256:${attic.digest.sha256}\n`);
  t.match(attic.narinfo, '\nReferences: \nSig: lab:');
  t.notMatch(attic.narinfo, 'File');
  const nix = await makeObject({
    seed: 1,
    like: 'nix',
    kind: 'xz',
    references: [`${storeHash(2)}-two`],
    ca: 'fixed:x',
  });
  t.match(nix.narPath, /^nar\/[0-9a-z]{52}\.nar\.xz$/);
  t.match(nix.narinfo, `FileSize: ${nix.body.bytes.length}\n`);
  t.match(nix.narinfo, /References: \S{32}-two\nCA: fixed:x\n$/);
});
