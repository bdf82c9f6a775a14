// A figure: one kind of work, measured on every way in turn, round by round.

import { type Way, ways } from './stage.ts';

export interface Target {
  readonly than: 'direct' | 'proxied' | 'nothing';
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** Medians of all rounds. A way that does not do this work has none. */
  readonly values: Readonly<Partial<Record<Way, number>>>;
  /** cleanmiss to each of the others: medians of the rounds' own ratios, as the machine's other work comes and goes. */
  readonly ratios: Readonly<Partial<Record<'direct' | 'proxied', number>>>;
  readonly target?: Target;
}

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return Number.isInteger(middle) ? ((sorted[middle - 1] ?? Number.NaN) + upper) / 2 : upper;
};

export interface FigureShape extends Pick<Figure, 'name' | 'unit'> {
  readonly target?: Target;
  readonly rounds: number;
}

/** Each round takes all ways, one after the other, and begins with another one. */
export const measured = async (
  { rounds, ...shape }: FigureShape,
  measure: (way: Way, round: number) => Promise<number>,
): Promise<Figure> => {
  const results: Record<Way, number>[] = [];
  for (let round = 0; round < rounds; round++) {
    const result = { direct: 0, proxied: 0, cleanmiss: 0 };
    for (let turn = 0; turn < ways.length; turn++) {
      const way = ways[(round + turn) % ways.length] ?? 'direct';
      result[way] = await measure(way, round);
    }
    results.push(result);
  }
  const of = (way: Way) => median(results.map((result) => result[way]));
  const to = (way: Way) => median(results.map((result) => result.cleanmiss / result[way]));
  return {
    ...shape,
    values: { direct: of('direct'), proxied: of('proxied'), cleanmiss: of('cleanmiss') },
    ratios: { direct: to('direct'), proxied: to('proxied') },
  };
};

/** Null where there is no target. */
export const meetsTarget = ({ target, values, ratios }: Figure): boolean | null => {
  if (target === undefined) return null;
  const value = target.than === 'nothing' ? values.cleanmiss : ratios[target.than];
  if (value === undefined) return null;
  return value >= (target.atLeast ?? Number.NEGATIVE_INFINITY) && value <= (target.atMost ?? Number.POSITIVE_INFINITY);
};
