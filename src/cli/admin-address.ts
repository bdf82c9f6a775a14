// Where a command finds the admin API, and with which token: the same two flags for each of them.

import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { AdminAddress } from '../admin/client.ts';
import { CleanmissError, codeOf } from '../core/errors.ts';
import { Secret } from '../core/secret.ts';
import { type Options, readIfThere, type Shell } from './shell.ts';

export const withAdminFlags = (command: Command): Command =>
  command
    .option('--admin <url>', 'where the admin API is', 'http://127.0.0.1:9501')
    .option('--token-file <file>', 'a file that holds a token for it');

const readToken = (file: unknown, { cwd }: Shell): Secret | undefined => {
  if (file === undefined) return undefined;
  // Without its name: some paste the token where that belongs.
  const refused = (why: string) => new CleanmissError('TOKEN_FILE', 'client', `--token-file: ${why}`);
  let token: string | undefined;
  try {
    token = readIfThere(resolve(cwd, String(file)))?.trim();
  } catch (error) {
    throw refused(`it cannot be read: ${codeOf(error)}`);
  }
  if (token === undefined) throw refused('there is no such file');
  // Else the header is refused with a message that repeats it.
  if (!/^[\x21-\x7e]+$/.test(token)) throw refused('accepted: a file that holds one token');
  return new Secret(token);
};

export const addressOf = (options: Options, shell: Shell): AdminAddress => ({
  url: String(options['admin']),
  token: readToken(options['tokenFile'], shell),
});
