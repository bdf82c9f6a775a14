// Bodies that decode to far more than they weigh, or never to anything.

const zstdMagic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const maxBlockBytes = 128 * 1024;

/** A three-byte block header (RFC 8878, 3.1.1.2). Type 0 raw, 1 run-length, 2 compressed. */
const blockHeader = (isLast: boolean, type: 0 | 1 | 2, sizeBytes: number): Buffer => {
  const header = Buffer.alloc(3);
  header.writeUIntLE((sizeBytes << 3) | (type << 1) | (isLast ? 1 : 0), 0, 3);
  return header;
};

/** One well-formed zstd frame of `decodedBytes` zeros, in run-length blocks: 4 bytes for every 128 KiB. */
export const zstdBomb = (decodedBytes: number): Buffer => {
  // No content size, no checksum, a window of 128 KiB.
  const parts: Buffer[] = [zstdMagic, Buffer.from([0x00, 0x38])];
  for (let left = decodedBytes; left > 0; left -= maxBlockBytes) {
    const isLast = left <= maxBlockBytes;
    parts.push(blockHeader(isLast, 1, Math.min(left, maxBlockBytes)), Buffer.from([0]));
  }
  if (decodedBytes === 0) parts.push(blockHeader(true, 0, 0));
  return Buffer.concat(parts);
};

/** A frame that decodes to nothing: 9 bytes. */
export const emptyZstdFrame = (): Buffer => zstdBomb(0);

/** A skippable frame (RFC 8878, 3.1.2); `kind` is the last digit of its magic. */
export const skippableFrame = (content: Buffer, kind = 0): Buffer => {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50 + kind, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, content]);
};

/** Skippable frames for ever, one after another. */
export function* endlessSkippable(contentBytes = 64 * 1024): Generator<Buffer, never, void> {
  const frame = skippableFrame(Buffer.alloc(contentBytes));
  while (true) yield frame;
}

/** Frames that decode to nothing, for ever; a thousand in a piece. */
export function* endlessEmptyFrames(): Generator<Buffer, never, void> {
  const frames = Buffer.concat(Array<Buffer>(1000).fill(emptyZstdFrame()));
  while (true) yield frames;
}
