// Reads a form's footer from disk, and with it the whole body when that is small; believes neither unchecked.

import { hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { isCode } from '../core/errors.ts';
import { type Files, readWhole } from './files.ts';
import { type Footer, footerBytes, parseFooter } from './footer.ts';
import { MIB } from './form.ts';
import { formName } from './form-name.ts';

export type Loaded =
  | { readonly kind: 'large'; readonly footer: Footer }
  | { readonly kind: 'small'; readonly footer: Footer; readonly body: Buffer }
  /** Its bytes are not what was proven: it is to be dropped. */
  | { readonly kind: 'damaged'; readonly reason: string }
  /** Says nothing about the bytes: too many open files, say. */
  | { readonly kind: 'unreadable'; readonly error: unknown };

/** The footer of 2 GiB: one read for all but the very largest. A small form is read with its body. */
const TAIL_BYTES = 64 * 1024;

/**
 * Whether the bytes behind an error of the file system are lost, and not just out of reach for now. EIO is no such word: a
 * cable or a network disk that comes back says it too, and without an upstream this may be the only copy.
 */
export const isLost = (error: unknown): boolean => isCode(error, 'ENOENT');

export interface FormFile {
  readonly path: string;
  readonly name: string;
  readonly diskBytes: number;
}

export const loadForm = async (files: Files, form: FormFile): Promise<Loaded> => {
  let file: FileHandle | undefined;
  try {
    file = await files.open(form.path, 'r');
    return await load(file, form);
  } catch (error) {
    if (!isLost(error)) return { kind: 'unreadable', error };
    return { kind: 'damaged', reason: 'missing' };
  } finally {
    await file?.close();
  }
};

const load = async (file: FileHandle, { name, diskBytes }: FormFile): Promise<Loaded> => {
  let tail = await readEnd(file, diskBytes, diskBytes <= MIB + TAIL_BYTES ? diskBytes : TAIL_BYTES);
  const bytes = tail && footerBytes(tail, diskBytes);
  if (tail && bytes !== undefined && bytes > tail.length) tail = await readEnd(file, diskBytes, bytes);
  if (tail === undefined || bytes === undefined) return { kind: 'damaged', reason: 'footer' };
  const footer = parseFooter(tail.subarray(-bytes), diskBytes);
  // A file under another's name is no more than a damaged one.
  if (footer === undefined || formName(footer.digest, footer.encoding) !== name)
    return { kind: 'damaged', reason: 'footer' };
  if (footer.fileBytes > MIB) return { kind: 'large', footer };
  const body = tail.subarray(0, footer.fileBytes);
  if (hash('sha256', body) !== footer.fileHash) return { kind: 'damaged', reason: 'body' };
  return { kind: 'small', footer, body };
};

/** The last `bytes` of the file, which ends at `diskBytes`; undefined when it is shorter. */
const readEnd = async (file: FileHandle, diskBytes: number, bytes: number): Promise<Buffer | undefined> => {
  const end = Buffer.allocUnsafeSlow(bytes);
  return (await readWhole(file, end, diskBytes - bytes)) === bytes ? end : undefined;
};
