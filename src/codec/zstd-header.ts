// Reads a zstd frame header (RFC 8878 §3.1.1.1): how much memory the frame asks for, before any decoder sees it.

import { DecodeError } from '../core/errors.ts';

export interface FrameHeader {
  /** The decoder must keep this many bytes at hand. */
  readonly windowBytes: number;
  readonly hasChecksum: boolean;
}

/** The longest header: magic 4, descriptor 1, window 1, dictionary 4, content size 8. */
export const maxHeaderBytes = 18;

const dictionaryBytes = [0, 1, 2, 4] as const;
const contentSizeBytes = [0, 2, 4, 8] as const;

const flags = (descriptor: number) => {
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeCode = (descriptor >> 6) as 0 | 1 | 2 | 3; // The top two bits of a byte.
  return {
    isSingleSegment,
    hasChecksum: (descriptor & 0x04) !== 0,
    windowField: isSingleSegment ? 0 : 1,
    dictionaryField: dictionaryBytes[(descriptor & 0x03) as 0 | 1 | 2 | 3], // Masked to two bits.
    contentSizeField: sizeCode === 0 && isSingleSegment ? 1 : contentSizeBytes[sizeCode],
  };
};

/** The length of the header that has this descriptor (the byte after the magic), magic included. */
export const headerBytes = (descriptor: number): number => {
  const { windowField, dictionaryField, contentSizeField } = flags(descriptor);
  return 5 + windowField + dictionaryField + contentSizeField;
};

/** Reads a whole header, from its magic on. */
export const readHeader = (header: Buffer): FrameHeader => {
  const descriptor = header.readUInt8(4);
  const { isSingleSegment, hasChecksum, windowField, dictionaryField, contentSizeField } = flags(descriptor);
  if ((descriptor & 0x08) !== 0) throw new DecodeError('damaged', 'a zstd frame header has its reserved bit set');
  const dictionary = dictionaryField === 0 ? 0 : header.readUIntLE(5 + windowField, dictionaryField);
  if (dictionary !== 0) throw new DecodeError('damaged', `a zstd frame asks for dictionary ${dictionary}`);
  const windowBytes = isSingleSegment
    ? readContentSize(header, 5 + dictionaryField, contentSizeField)
    : readWindow(header.readUInt8(5));
  return { windowBytes, hasChecksum };
};

const readWindow = (descriptor: number): number => {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 0x07);
};

/** Beyond 2^53 it is inexact, and beyond every bound. */
const readContentSize = (header: Buffer, at: number, bytes: number): number => {
  if (bytes === 8) return Number(header.readBigUInt64LE(at));
  const size = header.readUIntLE(at, bytes);
  return bytes === 2 ? size + 256 : size;
};
