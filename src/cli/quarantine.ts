// `cleanmiss quarantine on|off|show`: an operator's standing order to refuse writes.

import { askAdmin, callAdmin } from '../admin/client.ts';
import type { OrderView } from '../admin/views.ts';
import { CleanmissError } from '../core/errors.ts';
import { addressOf } from './admin-address.ts';
import { asJson, FINDINGS, FINE, type Options, QUARANTINED, type Shell, table } from './shell.ts';

const UNKEPT = 'in force, but not on disk yet: until it is, every write is refused\n';

const pathOf = (scope: unknown): string => `/v1/quarantine/${encodeURIComponent(String(scope))}`;

const line = ({ scope, reason, since, by, expires, ticket }: OrderView): string[] => [
  scope,
  since,
  expires ?? 'when lifted',
  by,
  `${reason}${ticket ? ` [${ticket}]` : ''}`,
];

const heads = ['SCOPE', 'SINCE', 'ENDS', 'BY', 'REASON'];

export const runQuarantineOn = async (options: Options, shell: Shell): Promise<number> => {
  const { reason, ticket, expires, scope } = options;
  const address = addressOf(options, shell);
  const put = (ifMatch?: string) =>
    callAdmin(address, { method: 'PUT', path: pathOf(scope), body: { reason, ticket, expires }, ifMatch });
  let answer = await put();
  // It would end one sooner than another operator said: this one sees it here, and says so.
  if (answer.status === 428) answer = await put((await callAdmin(address, { path: pathOf(scope) })).etag);
  const order = answer.orThrow() as OrderView;
  shell.say(options['json'] === true ? asJson(order) : table(heads, [line(order)]));
  if (answer.status !== 202) return FINE;
  shell.complain(UNKEPT);
  return FINDINGS;
};

export const runQuarantineOff = async (options: Options, shell: Shell): Promise<number> => {
  const { reason, scope } = options;
  const address = addressOf(options, shell);
  const body = { reason };
  const isClear = options['assumeClear'] === true;
  const say = (answer: object, text: string): number => {
    shell.say(options['json'] === true ? asJson(answer) : text);
    return FINE;
  };
  if (isClear) {
    const answer = await callAdmin(address, { method: 'DELETE', path: `${pathOf('global')}?assumeClear=true`, body });
    return say(answer.orThrow(), 'nothing else is assumed to have been in force\n');
  }
  if (scope === undefined) throw new CleanmissError('SCOPE', 'client', '--scope: which one is to be lifted?');
  const seen = await callAdmin(address, { path: pathOf(scope) });
  if (seen.status === 404 && seen.detail.startsWith('there is no quarantine')) {
    return say({ scope, liftedAt: null }, `${seen.detail}\n`);
  }
  seen.orThrow();
  const answer = await callAdmin(address, { method: 'DELETE', path: pathOf(scope), body, ifMatch: seen.etag });
  return say(answer.orThrow(), `lifted: ${scope}\n`);
};

export const runQuarantineShow = async (options: Options, shell: Shell): Promise<number> => {
  const answer = await askAdmin(addressOf(options, shell), '/v1/quarantine');
  if (!('quarantine' in answer && Array.isArray(answer.quarantine))) {
    throw new CleanmissError('UNREACHABLE', 'upstream', `${options['admin']} is no cleanmiss`);
  }
  // The house's own answer, whose fields are only ever added to.
  const orders = answer.quarantine as OrderView[];
  const trouble = 'trouble' in answer && typeof answer.trouble === 'string' ? answer.trouble : null;
  const text = `${table(heads, orders.map(line)) || 'none\n'}${trouble === null ? '' : `every write is refused: ${trouble}\n`}`;
  shell.say(options['json'] === true ? asJson(answer) : text);
  return orders.length > 0 ? QUARANTINED : trouble === null ? FINE : FINDINGS;
};
