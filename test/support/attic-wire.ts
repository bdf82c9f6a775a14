// Loads the recorded answers of a real atticd: what was asked, what came over the wire byte for byte, and how it ended.

import { readdirSync, readFileSync } from 'node:fs';

/** Bytes as the capture files hold them. */
type StoredBytes = { readonly text: string } | { readonly base64: readonly string[] };

/** What a capture file says besides its bytes. attic-wire/README.md explains every field. */
interface CaptureNotes {
  readonly name: string;
  readonly fault?: string;
  readonly note?: string;
  readonly request: readonly string[];
  readonly requestBody?: string;
  readonly status: number | null;
  readonly end: 'FIN';
  readonly bodyBytes: number;
  readonly rawBytes?: number;
  readonly chunkedTerminator: boolean | null;
  /** `sha256:<hex>`, of the decoded NAR. */
  readonly narHash?: string;
  readonly narSize?: number;
  readonly compression?: 'zstd' | 'xz' | 'none' | 'br';
  readonly goodStoredBytes?: number;
  readonly chunks?: readonly { readonly seq: number; readonly narBytes: number; readonly storedBytes: number }[];
}

interface StoredCapture extends CaptureNotes {
  readonly head?: readonly string[];
  readonly body?: StoredBytes;
  readonly raw?: StoredBytes;
}

export interface AtticWire extends CaptureNotes {
  /** Status line, headers and the empty line; no bytes when no head came. */
  readonly head: Buffer;
  /** De-chunked; as far as it came. */
  readonly body: Buffer;
  /** All that the connection delivered, where that was recorded. */
  readonly raw?: Buffer;
}

const directory = new URL('./attic-wire/', import.meta.url);
const headEnd = '\r\n\r\n';

const bytesOf = (stored: StoredBytes): Buffer =>
  'text' in stored ? Buffer.from(stored.text, 'latin1') : Buffer.from(stored.base64.join(''), 'base64');

/** Takes the framing off, of a cut body too. */
const dechunked = (framed: Buffer): Buffer => {
  const pieces: Buffer[] = [];
  for (let at = 0; at < framed.length; ) {
    const lineEnd = framed.indexOf('\r\n', at);
    const sizeBytes = lineEnd < 0 ? 0 : Number.parseInt(framed.toString('latin1', at, lineEnd), 16);
    if (sizeBytes === 0) break;
    pieces.push(framed.subarray(lineEnd + 2, lineEnd + 2 + sizeBytes));
    at = lineEnd + 2 + sizeBytes + 2;
  }
  return Buffer.concat(pieces);
};

const partsOf = (stored: StoredCapture): Pick<AtticWire, 'head' | 'body' | 'raw'> => {
  if (!stored.raw) {
    const head = Buffer.from([...(stored.head ?? []), '', ''].join('\r\n'), 'latin1');
    return { head, body: stored.body ? bytesOf(stored.body) : Buffer.alloc(0) };
  }
  const raw = bytesOf(stored.raw);
  const found = raw.indexOf(headEnd);
  const split = found < 0 ? raw.length : found + headEnd.length;
  const rest = raw.subarray(split);
  const body = stored.chunkedTerminator === null ? rest : dechunked(rest);
  return { head: raw.subarray(0, split), body, raw };
};

export const atticWireNames = (): string[] =>
  readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length));

/** Throws for a name that no capture has. */
export const loadAtticWire = (name: string): AtticWire => {
  // The files are our own, and attic-wire.test.ts reads every one of them through this.
  const stored = JSON.parse(readFileSync(new URL(`${name}.json`, directory), 'utf8')) as StoredCapture;
  const { head: _head, body: _body, raw: _raw, ...notes } = stored;
  return { ...notes, ...partsOf(stored) };
};

/** As atticd frames it: a frame at a time, in pieces of 4 KiB at most. */
const chunked = ({ body, chunks, chunkedTerminator }: AtticWire): Buffer => {
  const parts: Buffer[] = [];
  const frames = chunks?.map((chunk) => chunk.storedBytes) ?? [body.length];
  let at = 0;
  for (const frameBytes of frames) {
    for (const end = at + frameBytes; at < end; ) {
      const piece = body.subarray(at, Math.min(end, at + 4096));
      parts.push(Buffer.from(`${piece.length.toString(16).toUpperCase()}\r\n`), piece, Buffer.from('\r\n'));
      at += piece.length;
    }
  }
  return Buffer.concat([...parts, Buffer.from(chunkedTerminator ? '0\r\n\r\n' : '')]);
};

/** What goes over the wire: as recorded, else head and body framed anew. */
export const wireBytes = (capture: AtticWire): Buffer => {
  const { raw, head, body, chunkedTerminator } = capture;
  return raw ?? Buffer.concat([head, chunkedTerminator === null ? body : chunked(capture)]);
};
