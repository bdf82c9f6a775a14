#!/usr/bin/env node
// The commands. Exit: 0 fine, 1 degraded or findings, 2 usage, 3 quarantined, 4 unreachable, 70 a crash.

import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { destination } from 'pino';
import { withAdminFlags } from './cli/admin-address.ts';
import { runAuditVerify } from './cli/audit.ts';
import { runIncidentAck, runIncidentList, runIncidentShow } from './cli/incident.ts';
import { runQuarantineOff, runQuarantineOn, runQuarantineShow } from './cli/quarantine.ts';
import { asJson, FINDINGS, FINE, type Options, readIfThere, type Shell, UNREACHABLE, USAGE } from './cli/shell.ts';
import { runStatus } from './cli/status.ts';
import { ConfigError } from './config/problem.ts';
import { configKeys, loadConfig, type Setting } from './config.ts';
import { systemClock } from './core/clock.ts';
import { CleanmissError } from './core/errors.ts';
import { CRASHED, openLog, serve, welcome } from './main.ts';

/** One level above this file, both in a checkout and in the package. */
const version = (): string => {
  const manifest: { version?: unknown } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return String(manifest.version);
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

const runCanary = (options: Options, shell: Shell): Promise<number> =>
  // Here and not above: nobody else needs the S3 client.
  import('./cli/canary.ts').then(({ runCanaryInit }) =>
    runCanaryInit(load(options, shell).config, version(), options, shell),
  );

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

/** `finish` gets the exit code of the command that ran. */
const commands = (shell: Shell, finish: (code: number) => void): Command => {
  const run = (action: (options: Options, shell: Shell) => number | Promise<number>) => async (options: Options) =>
    finish(await action(options, shell));
  const runOn =
    (action: (id: string, options: Options, shell: Shell) => Promise<number>) => async (id: string, options: Options) =>
      finish(await action(id, options, shell));
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
  withAdminFlags(add(program, 'status', 'how a running cleanmiss is'))
    .option('--watch', 'and go on, whenever that changes')
    .action(run(runStatus));

  const scope = ['--scope <scope>', 'global, nix, bazel or cache:NAME'] as const;
  const quarantine = program
    .command('quarantine')
    .description('refuse writes until it is lifted, whatever health says');
  withAdminFlags(add(quarantine, 'on', 'refuse writes from now on'))
    .requiredOption(...scope)
    .requiredOption('--reason <text>', 'clients print it')
    .option('--ticket <ticket>', 'where to read more')
    .option('--expires <duration>', 'ends by itself: "4h", or a time such as "2026-05-01T12:00:00Z"')
    .action(run(runQuarantineOn));
  withAdminFlags(add(quarantine, 'off', 'lift a quarantine'))
    .option(...scope)
    .option('--reason <text>', 'for the audit log')
    .option('--assume-clear', 'after its file was corrupt: I know that nothing else was in force')
    .action(run(runQuarantineOff));
  withAdminFlags(add(quarantine, 'show', 'what is in force')).action(run(runQuarantineShow));

  const incident = program.command('incident').description('what was wrong with the object store');
  withAdminFlags(add(incident, 'list', 'newest first')).action(run(runIncidentList));
  withAdminFlags(add(incident, 'show', 'all of one: evidence, and what was refused'))
    .argument('<id>')
    .action(runOn(runIncidentShow));
  withAdminFlags(add(incident, 'ack', 'I have looked at it: let writes pass again'))
    .argument('<id>')
    .requiredOption('--note <text>', 'what was found, for the audit log')
    .action(runOn(runIncidentAck));

  const audit = program.command('audit').description('who changed what');
  withAdminFlags(add(audit, 'verify', 'whether every row is as it was written'))
    .option('--file <file>', 'of a log itself, without asking a running cleanmiss')
    .action(run(runAuditVerify));

  const canary = program.command('canary').description('objects by which a bucket is known');
  withConfigFlags(add(canary, 'init', 'write them, once, and never over anything')).action(run(runCanary));
  return program;
};

const exitOf = ({ code }: CleanmissError): number =>
  code === 'UNREACHABLE' ? UNREACHABLE : code === 'ADMIN_FAILED' ? FINDINGS : USAGE;

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
