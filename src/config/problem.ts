// What is wrong with a configuration: all of it in one error, and never a secret in it.

import { CleanmissError } from '../core/errors.ts';

export interface Problem {
  /** The key as it was spelled, or the file. */
  readonly key: string;
  /** Fit to be shown; absent where a file cannot be read or parsed at all. */
  readonly value?: string;
  /** `cleanmiss.toml`, `CLEANMISS_NIX_UPSTREAM`, `--nix.upstream` or `default`. */
  readonly source: string;
  readonly message: string;
}

const spell = ({ key, value, source, message }: Problem): string =>
  value === undefined ? `${key}: ${message}` : `${key} = ${value} (${source}): ${message}`;

export class ConfigError extends CleanmissError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
    super(
      'CONFIG',
      'client',
      `the configuration has ${count}:\n${problems.map((one) => `  ${spell(one)}`).join('\n')}`,
    );
    this.problems = problems;
  }
}

/** A URL may carry a password before its host and a token in its query. */
const withoutUrlSecrets = (text: string): string =>
  text.includes('//') ? text.replace(/\/\/.*@/s, '//***@').replace(/\?.*/s, '?***') : text;

/** A value in TOML's spelling, as far as it may be shown. */
export const showValue = (raw: unknown, shown: (text: string) => string = withoutUrlSecrets): string => {
  if (typeof raw === 'string') return JSON.stringify(shown(raw));
  if (Array.isArray(raw)) return `[${raw.map((item) => showValue(item, shown)).join(', ')}]`;
  return typeof raw === 'object' && raw !== null ? '{…}' : String(raw);
};

/** For a key that nobody knows, whose name may still say that its value is a secret. */
export const showUnknown = (key: string, raw: unknown): string =>
  showValue(raw, /auth|credential|key|pass|secret|token/i.test(key) ? () => '***' : withoutUrlSecrets);
