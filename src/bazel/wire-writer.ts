// Writes protobuf fields into a Buffer that was measured before: each `…Size` says how many bytes its writer takes.

/** A field's tag: all of ours have numbers below 16, so that a tag is one byte. */
const varintField = (field: number): number => field << 3;
const bytesField = (field: number): number => (field << 3) | 2;

const varintSize = (value: number): number => {
  if (value < 0) return 10; // sign-extended to 64 bits
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size += 1;
  return size;
};

/** Tag, length and content. */
export const lengthSize = (length: number): number => 1 + varintSize(length) + length;

/** Proto3 writes no zeros. */
export const numberSize = (value: number): number => (value === 0 ? 0 : 1 + varintSize(value));
export const textSize = (text: string): number => (text === '' ? 0 : lengthSize(Buffer.byteLength(text)));
export const dataSize = (data: Buffer): number => (data.length === 0 ? 0 : lengthSize(data.length));

/** Where it ends. `value` is a safe integer. */
const writeVarint = (to: Buffer, at: number, value: number): number => {
  let next = at;
  if (value < 0) {
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest >= 128n; rest >>= 7n) to[next++] = Number(rest & 127n) | 0x80;
    to[next++] = Number(rest);
    return next;
  }
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) to[next++] = (rest % 128) | 0x80;
  to[next++] = rest;
  return next;
};

export const writeNumber = (to: Buffer, at: number, field: number, value: number): number => {
  if (value === 0) return at;
  to[at] = varintField(field);
  return writeVarint(to, at + 1, value);
};

/** The head of bytes, text or a message: its content follows. */
export const writeLength = (to: Buffer, at: number, field: number, length: number): number => {
  to[at] = bytesField(field);
  return writeVarint(to, at + 1, length);
};

export const writeText = (to: Buffer, at: number, field: number, text: string): number => {
  if (text === '') return at;
  const start = writeLength(to, at, field, Buffer.byteLength(text));
  return start + to.write(text, start);
};

export const writeData = (to: Buffer, at: number, field: number, data: Buffer): number => {
  if (data.length === 0) return at;
  const start = writeLength(to, at, field, data.length);
  return start + data.copy(to, start);
};
