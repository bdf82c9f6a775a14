// Large requests, each set in a client process of its own.

import { fileURLToPath } from 'node:url';
import { runProgram, startProgram } from '../test/support/real/program.ts';
import type { Scope } from '../test/support/real/scope.ts';
import type { Download } from './download-client.ts';

const client = fileURLToPath(new URL('download-client.ts', import.meta.url));

/** All URLs at once. Rejects unless every body is whole. */
export const downloadAll = async (urls: readonly string[], flags: readonly string[] = []): Promise<Download[]> => {
  const { code, stdout, stderr } = await runProgram(process.execPath, [client, ...flags, ...urls], { env: {} });
  if (code !== 0) throw new Error(`a download failed: ${stderr}`);
  return JSON.parse(stdout);
};

export const download = async (url: string, flags: readonly string[] = []): Promise<Download> => {
  const [one] = await downloadAll([url], flags);
  if (one === undefined) throw new Error('the client reports one download for each URL');
  return one;
};

export const megabytesPerSecond = ({ bytes, lastByteMs }: Download): number => bytes / 1e3 / lastByteMs;

/** As many readers of the URL that take not one byte, until the scope ends. */
export const stallReaders = (scope: Scope, url: string, readers: number): void => {
  const urls = Array.from({ length: readers }, () => url);
  const { kill } = startProgram(process.execPath, [client, '--stall', ...urls], { env: {} });
  scope.teardown(kill);
};
