// The house rules that no linter knows: who may import whom, and what is never written, as one function over sources.

import { dirname, join, normalize } from 'node:path/posix';

const tenants = ['core', 'codec', 'store', 'health', 'proof', 'gate'];

/** DESIGN, "Who may import whom". A room may always import itself. */
const arrows: Record<string, readonly string[]> = {
  core: [],
  codec: ['core'],
  store: ['core'],
  health: ['core'],
  proof: ['core', 'codec', 'store'],
  gate: ['core', 'health'],
  nix: tenants,
  bazel: tenants,
  checks: tenants,
  admin: tenants,
  config: ['core'],
};

/** These see every room, and no room sees them. */
const roof = ['compose', 'main', 'cli'];

/** `nix/narinfo.ts` lies in `nix`; `config.ts` and `config/values.ts` in `config`. */
const roomOf = (path: string): string => path.split('/')[0]?.replace(/\.ts$/, '') ?? '';

interface Rule {
  readonly found: RegExp;
  readonly says: string;
  /** Rooms or files where it may stand. */
  readonly except?: readonly string[];
  readonly inComments?: true;
}

const rules: readonly Rule[] = [
  { found: /\.pipe\(/, says: '`.pipe(` loses errors: use `pipeline`' },
  {
    found: /\bas (?:unknown as )?(?:Proven|Followed)/,
    says: 'only proof/ and store/ call bytes proven',
    except: ['proof', 'store'],
  },
  {
    found: /\b(?:Date\.now|performance\.now|setTimeout|setInterval)\(|\bnew Date\(\)|node:timers/,
    says: 'time is passed in: take a Clock',
    except: ['core/clock.ts'],
  },
  { found: /\bprocess\.env\b/, says: 'the environment is read once, in cli.ts', except: ['cli'] },
  { found: /\b(?:TODO|FIXME|XXX)\b/, says: 'finish it or write it into an issue', inComments: true },
  { found: /\bimport\(\s*[^'"\s]/, says: 'an import whose target no rule can see' },
];

const specifiers = /\b(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|\bimport\s*\(?\s*['"]([^'"]+)['"]/g;

const withoutCommentLines = (source: string): string => source.replace(/^\s*(?:\/\/|\/?\*).*$/gm, '');

const arrowViolations = (path: string, source: string): string[] => {
  const from = roomOf(path);
  if (roof.includes(from)) return [];
  const allowed = arrows[from];
  if (allowed === undefined) return [`${path}: the house has no room "${from}"`];
  return [...source.matchAll(specifiers)].flatMap((match) => {
    const target = match[1] ?? match[2] ?? '';
    if (!target.startsWith('.')) return [];
    const to = roomOf(normalize(join(dirname(path), target)));
    return to === from || allowed.includes(to) ? [] : [`${path}: ${from} must not import ${to} (${target})`];
  });
};

/** What one file of `src/` (its path below it, with `/`) breaks, one line each. */
export const houseViolations = (path: string, source: string): string[] => {
  const code = withoutCommentLines(source);
  const broken = rules.filter(
    (rule) =>
      rule.found.test(rule.inComments ? source : code) &&
      !rule.except?.some((place) => place === path || place === roomOf(path)),
  );
  return [
    ...arrowViolations(path, code),
    ...broken.map((rule) => `${path}: ${rule.says}`),
    ...(/^(?:#!.*\n)?\/\/ \S/.test(source) ? [] : [`${path}: the first line says what the file promises`]),
    ...(/(?:^|[/-])(?:utils?|helpers?|common|manager)\.ts$|(?:^|\/)index\.ts$/.test(path)
      ? [`${path}: name it for its idea`]
      : []),
  ];
};
