// `cleanmiss incident list|show|ack`: what was wrong with the object store, and that an operator has looked at it.

import { askAdmin, callAdmin } from '../admin/client.ts';
import type { IncidentView, RecordView } from '../admin/views.ts';
import { CleanmissError } from '../core/errors.ts';
import { addressOf } from './admin-address.ts';
import { asJson, FINDINGS, FINE, type Options, type Shell, table } from './shell.ts';

const stateOf = ({ recoveredAt, ackedAt, isLatching }: IncidentView): string => {
  if (recoveredAt === null) return 'open';
  return isLatching && ackedAt === null ? 'waits for an ack' : 'closed';
};

export const runIncidentList = async (options: Options, shell: Shell): Promise<number> => {
  const answer = await askAdmin(addressOf(options, shell), '/v1/incidents');
  if (!('incidents' in answer && Array.isArray(answer.incidents))) {
    throw new CleanmissError('UNREACHABLE', 'upstream', `${options['admin']} is no cleanmiss`);
  }
  // The house's own answer, whose fields are only ever added to.
  const incidents = answer.incidents as IncidentView[];
  const rows = incidents.map((one) => [one.id, one.class, one.openedAt, one.recoveredAt ?? '-', stateOf(one)]);
  const text = table(['ID', 'CLASS', 'OPENED', 'RECOVERED', 'STATE'], rows) || 'none\n';
  shell.say(options['json'] === true ? asJson(answer) : text);
  return FINE;
};

export const runIncidentShow = async (id: string, options: Options, shell: Shell): Promise<number> => {
  const answer = await askAdmin(addressOf(options, shell), `/v1/incidents/${encodeURIComponent(id)}`);
  if (!('evidence' in answer && 'refused' in answer)) {
    throw new CleanmissError('UNREACHABLE', 'upstream', `${options['admin']} is no cleanmiss`);
  }
  // As above.
  shell.say(options['json'] === true ? asJson(answer) : recordText(answer as RecordView));
  return FINE;
};

const recordText = (record: RecordView): string => {
  const evidence = record.evidence.map((row) => [
    row.at,
    row.bucket ?? '-',
    row.operation,
    row.class,
    String(row.status ?? '-'),
    row.code ?? '-',
    `${Math.round(row.ms)} ms`,
    row.marker ?? '-',
    row.requestId ?? '-',
  ]);
  const refused = record.refused.map((write) => [write.at, write.front, write.subject]);
  const ack = record.ackedAt === null ? '' : `acked by ${record.ackedBy} at ${record.ackedAt}: ${record.ackNote}\n`;
  return [
    `incident ${record.id}: ${record.class}, ${stateOf(record)}\n`,
    `opened ${record.openedAt}, recovered ${record.recoveredAt ?? 'not yet'}\n`,
    ack,
    '\n',
    table(['AT', 'BUCKET', 'OPERATION', 'CLASS', 'STATUS', 'CODE', 'TOOK', 'MARKER', 'REQUEST'], evidence),
    `\n${record.refusedTotal} writes refused; to be pushed again: ${refused.length}\n`,
    table(['LAST', 'FRONT', 'STORE PATH OR ACTION'], refused),
  ].join('');
};

export const runIncidentAck = async (id: string, options: Options, shell: Shell): Promise<number> => {
  const path = `/v1/incidents/${encodeURIComponent(id)}/ack`;
  const answer = await callAdmin(addressOf(options, shell), { method: 'POST', path, body: { note: options['note'] } });
  const body = answer.orThrow();
  shell.say(options['json'] === true ? asJson(body) : `acked: ${id}\n`);
  if (answer.status !== 202) return FINE;
  shell.complain('it cannot be written to disk yet: writes pass once it is\n');
  return FINDINGS;
};
