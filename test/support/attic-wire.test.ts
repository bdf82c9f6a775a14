// Holds every recorded answer of Attic to its own figures, and to what it is there to show.

import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { brotliDecompressSync, zstdDecompressSync } from 'node:zlib';
import t from 'tap';
import { type AtticWire, atticWireNames, loadAtticWire, wireBytes } from './attic-wire.ts';

interface Lzma {
  decompress(input: Buffer, done: (output: Buffer | null, error?: Error) => void): void;
}
// The package has no types; this is the one call that we make, from its README.
const lzma = createRequire(import.meta.url)('lzma-native') as Lzma;
const unxz = (bytes: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    lzma.decompress(bytes, (output, error) => (output ? resolve(output) : reject(error)));
  });

const decode = async ({ body, compression }: AtticWire): Promise<Buffer> => {
  switch (compression) {
    case 'zstd':
      return zstdDecompressSync(body);
    case 'xz':
      return unxz(body);
    case 'br':
      return brotliDecompressSync(body);
    default:
      return body;
  }
};

/** Does its body decode to what its narinfo claims? */
const isProven = async (capture: AtticWire): Promise<boolean> => {
  const nar = await decode(capture).catch(() => Buffer.alloc(0));
  const hash = createHash('sha256').update(nar).digest('hex');
  return `sha256:${hash}` === capture.narHash && nar.length === capture.narSize;
};

const captures = atticWireNames().map(loadAtticWire);

t.equal(captures.length, 90, 'all that were recorded');

t.test('every capture has the bytes that its figures say', async (t) => {
  for (const capture of captures) {
    const { name, head, body, raw, status } = capture;
    const start = status === null ? '' : `HTTP/1.${name.endsWith('http10') ? 0 : 1} ${status} `;
    t.ok(head.toString('latin1').startsWith(start), `${name}: status`);
    t.equal(body.length, capture.bodyBytes, `${name}: body bytes`);
    t.equal(raw?.length, capture.rawBytes, `${name}: raw bytes`);
    const isTerminated = wireBytes(capture).toString('latin1').endsWith('\r\n0\r\n\r\n');
    t.equal(isTerminated, capture.chunkedTerminator === true, `${name}: terminator`);
    const storedBytes = capture.chunks?.reduce((sum, chunk) => sum + chunk.storedBytes, 0);
    if (capture.chunks) t.equal(storedBytes, body.length, `${name}: chunks`);
    if (name.startsWith('narinfo-') && capture.narHash) {
      t.match(body.toString(), `NarHash: ${capture.narHash}\nNarSize: ${capture.narSize}\n`, `${name}: narinfo`);
    }
  }
});

t.test('a body whose framing was not recorded is framed as atticd does', async (t) => {
  const { raw, ...capture } = loadAtticWire('nar-zstd-multi');
  const framed = wireBytes(capture);
  // The last frame came in other pieces; how, differs from run to run.
  const lastFrameAt = framed.indexOf(capture.body.subarray(35_534, 35_600));
  t.ok(raw?.subarray(0, lastFrameAt).equals(framed.subarray(0, lastFrameAt)));
});

t.test('a good body decodes to its NAR hash, but brotli in several streams', async (t) => {
  const bodies = captures.filter((capture) => capture.compression && !capture.fault);
  t.equal(bodies.length, 12);
  for (const capture of bodies) {
    t.equal(await isProven(capture), !capture.name.startsWith('nar-br-multi'), capture.name);
  }
});

t.test('no body of a faulty store does', async (t) => {
  const bodies = captures.filter((capture) => capture.compression && capture.fault);
  t.equal(bodies.length, 13);
  for (const capture of bodies) t.equal(await isProven(capture), false, capture.name);
});
