// What `cleanmiss status` makes of a status: words for people, and an exit code for scripts.

import type { BreakerState } from '../core/breaker.ts';
import type { Status } from './status.ts';

/** As tools outside may have it from an older or another cleanmiss: what was added to a status may be missing. */
export type Shown = Omit<Status, 'upstream' | 'breakers' | 'redirectsRefused'> &
  Partial<Pick<Status, 'upstream' | 'breakers' | 'redirectsRefused'>>;

/** 0 fine, 1 degraded or findings, 3 quarantined. */
export const statusExit = ({ health, gate, quarantine, incident, suspects, upstream }: Shown): 0 | 1 | 3 => {
  if (quarantine.length > 0) return 3;
  const isWell = health.state === 'green' || (health.state === 'unknown' && health.watched !== true);
  const isOpen = Object.values(gate).every(({ writes }) => writes === 'allowed');
  return isWell && isOpen && incident === null && suspects.open === 0 && upstream?.breaker !== 'open' ? 0 : 1;
};

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

const breakerWords = (breaker: BreakerState | null): string =>
  breaker === null ? 'none' : breaker === 'open' ? 'breaker open' : 'answers';

const upstreamWords = ({ upstream, breakers }: Shown): string[] => {
  const fronts = Object.entries(breakers ?? {});
  if (fronts.length > 0) return [fronts.map(([front, breaker]) => `${front} ${breakerWords(breaker)}`).join(', ')];
  return upstream === undefined ? [] : [breakerWords(upstream.breaker)];
};

const incidentWords = ({ id, class: fault, openedAt, recoveredAt }: NonNullable<Shown['incident']>): string =>
  `${id} (${fault}) since ${openedAt}${recoveredAt === null ? '' : `, recovered: cleanmiss incident ack ${id} --note TEXT`}`;

export const statusText = (status: Shown): string => {
  const { health, gate, quarantine, incident, suspects, store, fills, redirectsRefused = [] } = status;
  const row = (name: string, text: string): string => `${name.padEnd(11)} ${text}`;
  const writes = Object.entries(gate).map(
    ([front, { writes, reason }]) => `${front} ${writes}${reason === null ? '' : ` (${reason})`}`,
  );
  return [
    row('health', `${health.state}${health.class === null ? '' : ` (${health.class})`} since ${health.since}`),
    row('writes', writes.join(', ')),
    ...quarantine.map(({ scope, reason, since, by, expires }) =>
      row('quarantine', `${scope} since ${since} by ${by}${expires === null ? '' : ` until ${expires}`}: ${reason}`),
    ),
    ...(incident === null ? [] : [row('incident', incidentWords(incident))]),
    ...upstreamWords(status).map((text) => row('upstream', text)),
    ...redirectsRefused.map(({ host, count }) =>
      row('redirects', `to ${host} refused ${count} times: is it missing from nix.redirectHosts?`),
    ),
    row('suspects', `${suspects.open} open, ${suspects.held} held`),
    row('store', `${gib(store.bytes)} of ${gib(store.maxBytes)} in ${store.objects} objects`),
    row('fills', `${fills.active} active`),
    '',
  ].join('\n');
};
