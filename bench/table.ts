// Shows figures as a Markdown table.

import { type Figure, meetsTarget, type Target } from './figure.ts';

/** Three digits, which is what a noisy machine can tell. */
const spell = (value: number | undefined): string => {
  if (value === undefined) return '';
  if (value >= 1000) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
};

const spellRatio = (value: number | undefined): string => value?.toFixed(2) ?? '';

const spellTarget = ({ than, atLeast, atMost }: Target): string => {
  const bound = atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`;
  return than === 'nothing' ? bound : `${bound} of ${than}`;
};

const spellMet = (figure: Figure): string => {
  const isMet = meetsTarget(figure);
  if (isMet === null) return '';
  return isMet ? 'met' : '**missed**';
};

export const asTable = (figures: readonly Figure[]): string => {
  const rows = figures.map((figure) => {
    const { name, unit, values, ratios, target } = figure;
    const numbers = [values.direct, values.proxied, values.cleanmiss].map(spell);
    const compared = [ratios.direct, ratios.proxied].map(spellRatio);
    return [name, unit, ...numbers, ...compared, target === undefined ? '' : spellTarget(target), spellMet(figure)];
  });
  const head = ['figure', 'unit', 'direct', 'proxy_pass', 'cleanmiss', '÷ direct', '÷ proxy_pass', 'target', ''];
  const rule = head.map((_, column) => (column >= 2 && column <= 6 ? '---:' : '---'));
  return [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |\n`).join('');
};
