#!/usr/bin/env node
// The commands. Exit: 0 fine, 1 degraded or findings, 2 usage, 3 quarantined, 4 unreachable, 70 a crash.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { destination } from 'pino';
import { askAdmin } from './admin/client.ts';
import { type Shown, statusExit, statusText } from './admin/report.ts';
import { ConfigError } from './config/problem.ts';
import { configKeys, loadConfig, type Setting } from './config.ts';
import { systemClock } from './core/clock.ts';
import { CleanmissError, codeOf, isCode } from './core/errors.ts';
import { Secret } from './core/secret.ts';
import { CRASHED, openLog, serve, welcome } from './main.ts';

type Options = Readonly<Record<string, unknown>>;

const FINE = 0;
const USAGE = 2;
const UNREACHABLE = 4;

/** What a command has of the world; tests give it another. */
export interface Shell {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** On standard output. */
  readonly say: (text: string) => void;
  /** On standard error. */
  readonly complain: (text: string) => void;
}

const asJson = (value: unknown): string => `${JSON.stringify(value)}\n`;

/** One level above this file, both in a checkout and in the package. */
const version = (): string => {
  const manifest: { version?: unknown } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return String(manifest.version);
};

const readIfThere = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  }
};

const load = (options: Options, { cwd, env }: Shell) => {
  const names = new Set(configKeys.map(({ name }) => name));
  const given = Object.entries(options).filter(([name]) => names.has(name));
  const flags = Object.fromEntries(given.map(([name, value]) => [name, String(value)]));
  const file = options['config'] === undefined ? undefined : String(options['config']);
  return loadConfig({ cwd, env, readFile: readIfThere, file, flags });
};

/** Lines that wait for a disk, or a reader, that takes none. */
const MAX_UNWRITTEN_BYTES = 1024 * 1024;

/** What cannot be written is dropped: a full disk under the log is no reason to stop serving. */
const standardError = () => destination({ dest: 2, sync: true, maxLength: MAX_UNWRITTEN_BYTES }).on('error', () => {});

const runServe = async (options: Options, shell: Shell): Promise<number> => {
  const { config } = load(options, shell);
  const log = openLog(config.log.level, standardError());
  // Here and not above: the other commands need not wait for every part to load.
  const { compose } = await import('./compose.ts');
  await serve(config, {
    compose: (its, outer) => compose(its, { ...outer, version: version() }),
    clock: systemClock,
    log,
    onOpen: (house) =>
      shell.say(
        options['json'] === true
          ? asJson({ nix: house.nix.address, bazel: house.bazel.address, admin: house.admin.address })
          : welcome(version(), config, house),
      ),
    process,
    exit: (code) => process.exit(code),
  });
  return FINE;
};

const asToml = (settings: readonly Setting[]): string => {
  let section = '';
  const lines = settings.flatMap(({ name, value, source }) => {
    const split = name.lastIndexOf('.');
    const header = name.slice(0, split) === section ? [] : [`[${name.slice(0, split)}]`];
    section = name.slice(0, split);
    return [...header, `${name.slice(split + 1)} = ${value}${source === 'default' ? '' : `  # ${source}`}`];
  });
  return `${lines.join('\n')}\n`;
};

const runConfigCheck = (options: Options, shell: Shell): number => {
  const isJson = options['json'] === true;
  try {
    const { settings } = load(options, shell);
    const values = () =>
      Object.fromEntries(settings.map(({ name, value }): [string, unknown] => [name, JSON.parse(value)]));
    shell.say(isJson ? asJson({ ok: true, config: values() }) : `ok\n${asToml(settings)}`);
    return FINE;
  } catch (error) {
    if (!isJson || !(error instanceof ConfigError)) throw error;
    shell.say(asJson({ ok: false, problems: error.problems }));
    return USAGE;
  }
};

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

const runStatus = async (options: Options, shell: Shell): Promise<number> => {
  const answer = await askAdmin(
    { url: String(options['admin']), token: readToken(options['tokenFile'], shell) },
    '/v1/status',
  );
  if (!('health' in answer && 'gate' in answer && 'store' in answer)) {
    throw new CleanmissError('UNREACHABLE', 'upstream', `${options['admin']} is no cleanmiss`);
  }
  // It has the marks of a status, whose fields are only ever added to.
  const status = answer as Shown;
  shell.say(options['json'] === true ? asJson(status) : statusText(status));
  return statusExit(status);
};

const withConfigFlags = (command: Command): Command => {
  command.option('--config <file>', 'the configuration (./cleanmiss.toml where there is one)');
  for (const { name, env, meta } of configKeys) {
    // A truth may be said by its flag alone.
    const isTruth = typeof meta.default === 'boolean';
    const flag = new Option(`--${name} ${isTruth ? '[value]' : '<value>'}`, `${meta.about} ${env}: ${meta.accepts}`);
    command.addOption((isTruth ? flag.preset('true') : flag).helpGroup('Configuration:'));
  }
  return command;
};

const withAdminFlags = (command: Command): Command =>
  command
    .option('--admin <url>', 'where the admin API is', 'http://127.0.0.1:9501')
    .option('--token-file <file>', 'a file that holds a token for it');

/** `finish` gets the exit code of the command that ran. */
const commands = (shell: Shell, finish: (code: number) => void): Command => {
  const run = (action: (options: Options, shell: Shell) => number | Promise<number>) => async (options: Options) =>
    finish(await action(options, shell));
  // Subcommands inherit these, as long as they come after.
  const program = new Command('cleanmiss')
    .description('A sidecar in front of binary caches: what cannot be proven is a clean miss.')
    .version(version())
    .exitOverride()
    .configureOutput({ writeOut: shell.say, writeErr: shell.complain })
    .showSuggestionAfterError();
  const add = (parent: Command, name: string, about: string): Command =>
    parent.command(name).description(about).option('--json', 'JSON on standard output').allowExcessArguments(false);

  withConfigFlags(add(program, 'serve', 'run until SIGTERM')).action(run(runServe));
  const config = program.command('config').description('look at the configuration');
  withConfigFlags(add(config, 'check', 'say what is wrong with it, or what is in force')).action(run(runConfigCheck));
  withAdminFlags(add(program, 'status', 'how a running cleanmiss is')).action(run(runStatus));
  return program;
};

const exitOf = (error: CleanmissError): number => (error.code === 'UNREACHABLE' ? UNREACHABLE : USAGE);

/** One message for what the caller can help; a stack for what only the author can. */
const explain = (error: unknown, { complain }: Shell): number => {
  // Commander has printed it.
  if (error instanceof CommanderError) return error.exitCode === 0 ? FINE : USAGE;
  if (error instanceof CleanmissError) {
    complain(`cleanmiss: ${error.message}\n`);
    return exitOf(error);
  }
  complain(`cleanmiss: ${error instanceof Error ? error.stack : error}\n`);
  return CRASHED;
};

/** Never rejects: the exit code. */
export const runCli = async (args: readonly string[], shell: Shell): Promise<number> => {
  let code = FINE;
  try {
    await commands(shell, (exit) => {
      code = exit;
    }).parseAsync(args, { from: 'user' });
  } catch (error) {
    code = explain(error, shell);
  }
  return code;
};

if (import.meta.main) {
  // Standard output is for people: that they stopped reading is no reason to stop serving.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  const code = await runCli(process.argv.slice(2), {
    cwd: process.cwd(),
    env: process.env,
    say: (text) => process.stdout.write(text),
    complain: (text) => process.stderr.write(text),
  });
  process.exit(code);
}
