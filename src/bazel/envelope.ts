// The messages of ByteStream that carry blobs, to and from Buffers by hand: a blob is a view when read, and copied once when written.
//
// Shapes: proto/google/bytestream. As everywhere in protobuf, fields come in any
// order, the last of a repeated scalar wins, a message that comes twice is merged, and unknown fields are passed over.
// Numbers past 2^53 are refused: no blob is that long. What breaks the format throws `MalformedMessage`.

import { WireReader } from './wire-reader.ts';
import { dataSize, numberSize, textSize, writeData, writeNumber, writeText } from './wire-writer.ts';

export interface WriteChunk {
  /** Empty where the client leaves it out, as all but the first may. */
  resourceName: string;
  writeOffset: number;
  finishWrite: boolean;
  data: Buffer;
}

const noBytes = Buffer.alloc(0);

// ReadResponse { data = 10 }

const readData = 10;

/**
 * A ReadResponse that is written only where grpc-js frames it: of a message that is to be sent it asks its length and one copy
 * (BaseServerInterceptingCall.serializeMessage, 1.14; services.test.ts holds it to that). The data are lent until it was sent.
 */
export class LentReadResponse {
  readonly #data: Buffer;
  /** Where it was written. */
  frame: Buffer | null = null;

  constructor(data: Buffer) {
    this.#data = data;
  }

  get byteLength(): number {
    return dataSize(this.#data);
  }

  copy(frame: Buffer, at: number): void {
    writeData(frame, at, readData, this.#data);
    this.frame = frame;
  }
}

export const encodeReadResponse = (response: Buffer | LentReadResponse): Buffer => {
  // A Buffer in all that it is asked for.
  if (response instanceof LentReadResponse) return response as unknown as Buffer;
  const message = Buffer.allocUnsafe(dataSize(response));
  writeData(message, 0, readData, response);
  return message;
};

/** The data, as a view of the message. */
export const decodeReadResponse = (message: Buffer): Buffer => {
  const reader = new WireReader(message, 'upstream');
  let data: Buffer = noBytes;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === readData && reader.isBytes) data = reader.bytes();
    else reader.skip(field);
  }
  return data;
};

// WriteRequest { resource_name = 1, write_offset = 2, finish_write = 3, data = 10 }

export const encodeWriteRequest = (chunk: WriteChunk): Buffer => {
  const { resourceName, writeOffset, data } = chunk;
  const finishWrite = Number(chunk.finishWrite);
  const message = Buffer.allocUnsafe(
    textSize(resourceName) + numberSize(writeOffset) + numberSize(finishWrite) + dataSize(data),
  );
  let at = writeText(message, 0, 1, resourceName);
  at = writeNumber(message, at, 2, writeOffset);
  at = writeNumber(message, at, 3, finishWrite);
  writeData(message, at, 10, data);
  return message;
};

/** `data` is a view of the message. */
export const decodeWriteRequest = (message: Buffer): WriteChunk => {
  const reader = new WireReader(message, 'client');
  const chunk: WriteChunk = { resourceName: '', writeOffset: 0, finishWrite: false, data: noBytes };
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 10 && reader.isBytes) chunk.data = reader.bytes();
    else if (field === 1 && reader.isBytes) chunk.resourceName = reader.string();
    else if (field === 2 && reader.isVarint) chunk.writeOffset = reader.int64();
    else if (field === 3 && reader.isVarint) chunk.finishWrite = reader.bool();
    else reader.skip(field);
  }
  return chunk;
};
