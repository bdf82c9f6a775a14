// Finds out, once at start, which native decoders of this process may be trusted with what.

import type { Transform } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';

export interface CodecRuntime {
  /** Node's zlib decodes zstd, and reports a frame that is cut short. */
  readonly nativeZstd: boolean;
  /** Its zstd streams stop after one frame: each frame needs a stream of its own. */
  readonly frameAtATime?: boolean;
}

/** Two frames as `zstd` wrote them: "clean" and "miss". Fixed bytes, so that no encoder of ours is trusted here. */
const clean = Buffer.from('28b52ffd2005290000636c65616e', 'hex');
const miss = Buffer.from('28b52ffd20042100006d697373', 'hex');

/** What zlib makes of bytes that come in one write; null when it reports an error. */
const decoded = (stream: Transform, encoded: Buffer): Promise<string | null> =>
  new Promise((resolve) => {
    const pieces: Buffer[] = [];
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    stream.on('end', () => resolve(Buffer.concat(pieces).toString()));
    stream.on('error', () => resolve(null));
    stream.on('close', () => resolve(null));
    stream.end(encoded);
  });

/** Node 22 takes a frame that is cut short for an empty one; 22 and 24 drop all frames in a write but the first. */
export const probeRuntime = async (open: () => Transform): Promise<CodecRuntime> => {
  const [one, two, cut] = await Promise.all([
    decoded(open(), clean),
    decoded(open(), Buffer.concat([clean, miss])),
    decoded(open(), clean.subarray(0, -1)),
  ]);
  return { nativeZstd: one === 'clean' && cut === null, frameAtATime: two !== 'cleanmiss' };
};

/** The process we run in. A fact like its version, hence a constant; tests pass another to `openDecoder`. */
export const hostRuntime: CodecRuntime = await probeRuntime(createZstdDecompress);
