// `cleanmiss status`: how a running one is, on one screen; with `--watch`, whenever that changes.

import { askAdmin, watchAdmin } from '../admin/client.ts';
import { type Shown, statusExit, statusText } from '../admin/report.ts';
import { CleanmissError } from '../core/errors.ts';
import { addressOf } from './admin-address.ts';
import { asJson, FINE, type Options, type Shell } from './shell.ts';

const CLEAR_SCREEN = '\x1b[2J\x1b[H';

const asStatus = (answer: object, options: Options): Shown => {
  if (!('health' in answer && 'gate' in answer && 'store' in answer)) {
    throw new CleanmissError('UNREACHABLE', 'upstream', `${options['admin']} is no cleanmiss`);
  }
  // It has the marks of a status, whose fields are only ever added to.
  return answer as Shown;
};

export const runStatus = async (options: Options, shell: Shell): Promise<number> => {
  const address = addressOf(options, shell);
  const isJson = options['json'] === true;
  if (options['watch'] !== true) {
    const status = asStatus(await askAdmin(address, '/v1/status'), options);
    shell.say(isJson ? asJson(status) : statusText(status));
    return statusExit(status);
  }
  let code: number = FINE;
  for await (const event of watchAdmin(address, '/v1/events')) {
    const status = asStatus(event, options);
    shell.say(isJson ? asJson(status) : CLEAR_SCREEN + statusText(status));
    code = statusExit(status);
  }
  shell.complain('cleanmiss: it has stopped\n');
  return code;
};
