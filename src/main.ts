// Runs a house until it is told to stop: opens it, says where to point clients, drains on SIGTERM.

import type { EventEmitter } from 'node:events';
import { type Logger, pino, stdTimeFunctions } from 'pino';
import type { House } from './compose.ts';
import type { Config } from './config.ts';
import type { Clock } from './core/clock.ts';
import { CleanmissError } from './core/errors.ts';
import { spellListen } from './core/listen.ts';
import { scrub } from './core/scrub.ts';

/** EX_SOFTWARE of sysexits.h: none of the codes that mean something here, so that no script takes a crash for one. */
export const CRASHED = 70;

/** JSON lines, scrubbed as whole lines: a secret goes whatever field, message or stack brought it here. */
export const openLog = (level: Config['log']['level'], to: { write(line: string): void }): Logger =>
  pino(
    { level, base: null, timestamp: stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    { write: (line) => to.write(scrub(line)) },
  );

export interface Stage {
  readonly compose: (config: Config, outer: { clock: Clock; log: Logger }) => Promise<House>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Once, when the house listens. */
  readonly onOpen: (house: House) => void;
  /** Where signals and stray errors arrive: `process`. */
  readonly process: Pick<EventEmitter, 'on' | 'off'>;
  /** Ends the process at once. */
  readonly exit: (code: number) => void;
}

const signalNumbers = { SIGINT: 2, SIGTERM: 15 } as const;

const listenFaults = new Map([
  ['EADDRINUSE', 'another process listens there'],
  ['EADDRNOTAVAIL', 'this machine has no such address'],
  ['EACCES', 'only root may listen there'],
]);

/** A system's refusal is the operator's to mend. Of `listen` it names address and port, not the key that asked for them. */
const explainFault = (error: unknown, config: Config): unknown => {
  if (!(error instanceof Error && 'code' in error && 'syscall' in error)) return error;
  const why = listenFaults.get(String(error.code));
  if (error.syscall !== 'listen' || why === undefined || !('port' in error)) {
    return new CleanmissError('START', 'self', `cannot start: ${error.message}`, error);
  }
  const key = (['admin', 'bazel'] as const).find((front) => config[front].listen.port === error.port) ?? 'nix';
  return new CleanmissError('LISTEN', 'client', `${key}.listen = "${spellListen(config[key].listen)}": ${why}`, error);
};

/**
 * Resolves once the house is closed again. Rejects when it cannot open: with a CleanmissError where the operator can
 * help (a directory that is owned, an address in use), with anything else where only its author can.
 */
export const serve = async (config: Config, stage: Stage): Promise<void> => {
  const { clock, log, process } = stage;
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  let isStopping = false;
  const onSignal = (signal: keyof typeof signalNumbers): void => {
    if (isStopping) stage.exit(128 + signalNumbers[signal]);
    isStopping = true;
    log.info({ signal, drainMs: config.server.drainMs }, 'draining: a second signal stops at once');
    stop();
  };
  // What nobody caught left something half done, and no more bytes may leave on its word. Dying is safe, going on is not:
  // clients see a cut and try again or elsewhere, and what is on the disk is proven again when it is read.
  const onCrash = (err: unknown, origin: string): void => {
    log.fatal({ err, origin }, 'crashed');
    stage.exit(CRASHED);
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal).on('uncaughtException', onCrash);
  try {
    const house = await stage
      .compose(config, { clock, log })
      .catch((error) => Promise.reject(explainFault(error, config)));
    log.info({ nix: house.nix.address, admin: house.admin.address }, 'listening');
    stage.onOpen(house);
    await stopped;
    await house.close();
    log.info('drained');
  } finally {
    process.off('SIGTERM', onSignal).off('SIGINT', onSignal).off('uncaughtException', onCrash);
  }
};

/** Where to point Nix, in three lines, and Bazel, in one. */
export const welcome = (version: string, config: Config, house: House): string => {
  const nix = `http://${house.nix.address}`;
  const status = `status at http://${house.admin.address}/v1/status`;
  const { upstream } = config.nix;
  const behind = config.bazel.upstream === undefined ? '' : `   (in front of ${config.bazel.upstream.origin})`;
  const lines =
    upstream === undefined
      ? [
          `cleanmiss ${version} is the cache ${nix} (${status})`,
          `write to it:  nix copy --to ${nix} PATH`,
          `read from it: nix build --extra-substituters ${nix} INSTALLABLE`,
        ]
      : [
          `cleanmiss ${version} is ${nix} in front of ${upstream.origin} (${status})`,
          `read through it, in nix.conf: substituters = ${nix}/CACHE`,
          `push through it: attic login NAME ${nix} TOKEN`,
        ];
  lines.push(`build with it: bazel build --remote_cache=grpc://${house.bazel.address} TARGET${behind}`);
  return `${lines.join('\n')}\n`;
};
