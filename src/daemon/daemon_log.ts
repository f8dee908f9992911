/**
 * The daemon's log: where the configuration wants it, and somewhere in any case. A log that
 * cannot be written is no reason not to serve.
 *
 * Imports nothing that brings native parts with it: it is there before they can be loaded, to say
 * why they cannot.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Config } from "../config/key_table.ts";
import type { WriteBytes } from "../obs/line_queue.ts";
import { type LogSettings, type OpenLogger, openLogger } from "../obs/logger.ts";
import { messageOf } from "./start_error.ts";

export function logOptionsOf(config: Config): LogSettings {
  return {
    format: config.logFormat,
    level: config.logLevel,
    file: config.logFile,
    rotateMaxMb: config.logRotateMaxMb,
    retentionDays: config.logRetentionDays,
  };
}

/** The keys that a log which goes on where it was does not follow. */
const OF_THE_FILE = ["log_file", "log_rotate_max_mb", "log_retention_days"];

/** Falls back to standard output. @param writeOut Default: standard output. */
export function openDaemonLog(
  config: Config,
  clock: Clock,
  writeOut?: WriteBytes,
): OpenLogger {
  const options = {
    ...logOptionsOf(config),
    clock,
    ...(writeOut === undefined ? {} : { writeOut }),
  };
  try {
    return openLogger(options);
  } catch (error) {
    const log = openLogger({ ...options, file: null });
    log.error(
      `Cannot open log_file ${config.logFile} (${messageOf(error)}): the log goes to ` +
        `standard output; let UID ${Deno.uid()} write there, or correct log_file, and send SIGHUP`,
    );
    return log;
  }
}

/** Gives the log its new settings. @returns Those of the changed keys that are in effect. */
export function applyToLog<K extends string>(
  log: OpenLogger,
  config: Config,
  changed: readonly K[],
): readonly K[] {
  const isOpen = log.reconfigure(logOptionsOf(config));
  return isOpen ? changed : changed.filter((key) => !OF_THE_FILE.includes(key));
}

/** What `run` does; why it ends in an error is in the log, too, before that is thrown on. */
export async function loggingRefusal<T>(
  log: OpenLogger,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    const isExpected = error instanceof Error && EXPECTED.has(error.name);
    const stack = error instanceof Error ? error.stack ?? "" : "";
    log.error(`cannot run: ${messageOf(error)}`, isExpected ? {} : { stack });
    throw error;
  }
}

/** Errors that say by themselves what is wrong. */
const EXPECTED = new Set(["StartError", "ManifestError", "StorageError"]);
