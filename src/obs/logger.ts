/**
 * The log that people and collectors read: what a line is, and who may write one.
 *
 * Text goes through the layers as a {@linkcode Logger}; only `openLogger` decides where it
 * ends up. A line that cannot be written never stops the daemon: it is counted, and the
 * next line that can be written says how many are missing.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import {
  isWanted,
  type LogFilter,
  type LogLevel,
  parseLogFilter,
} from "../core/log_filter.ts";
import { LineQueue, type WriteBytes } from "./line_queue.ts";
import { formatLine, type LogFormat } from "./log_line.ts";
import type { LogFields, LogRecord } from "./log_record.ts";
import { type LogSinkOptions, openLogSink } from "./log_sink.ts";
import { createRepeatGuard } from "./repeat_guard.ts";

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger whose lines carry `fields` too. The field `module` chooses its level. */
  child(fields: LogFields): Logger;
}

export interface LoggerOptions extends LogSinkOptions {
  readonly format: LogFormat;
  /** As `parseLogFilter` takes it, which the configuration has checked. */
  readonly level: string;
  readonly clock: Clock;
  /** Where lines go while no file is named. Default: standard output. */
  readonly writeOut?: WriteBytes;
}

/** What may change while it is open. */
export type LogSettings = Omit<LoggerOptions, "clock" | "writeOut">;

export interface OpenLogger extends Logger {
  /**
   * Takes effect with the next line. Opens the file anew even if nothing changed, which is
   * what an outside rotation wants. A file that cannot be opened is an error in the log,
   * which goes on where it was.
   *
   * @returns False if it does: level and format alone are as wanted then.
   */
  reconfigure(wanted: LogSettings): boolean;
  /**
   * Says what is still held back; nothing is taken afterwards. A file has it all when this
   * returns, standard output when it resolves, if somebody reads it.
   */
  close(): Promise<void>;
}

/** @throws The file system's error if the file cannot be opened. */
export function openLogger(options: LoggerOptions): OpenLogger {
  const { clock } = options;
  let format = options.format;
  let filter = filterOf(options.level);
  const writeOut = options.writeOut ?? ((bytes) => Deno.stdout.write(bytes));
  // One for all its sinks: a write that hangs is not joined by another one.
  const standardOutput = new LineQueue(writeOut, clock);
  let sink = openLogSink(options, standardOutput, clock);
  let isOpen = true;
  const guard = createRepeatGuard(clock);

  const write = (record: LogRecord): void => {
    sink.write(formatLine(record, format, clock.nowMs()));
  };
  const take = (record: LogRecord): void => {
    const { module } = record.fields;
    const named = typeof module === "string" ? module : undefined;
    if (!isOpen || !isWanted(filter, record.level, named)) return;
    for (const wanted of guard.admit(record)) write(wanted);
  };
  const logger = loggerOver(take, {});
  return {
    ...logger,
    reconfigure(wanted: LogSettings): boolean {
      format = wanted.format;
      filter = filterOf(wanted.level);
      try {
        const opened = openLogSink(wanted, standardOutput, clock);
        sink.close();
        sink = opened;
        return true;
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        logger.error("Cannot open the new log file; the old one stays in use", {
          file: wanted.file,
          why,
        });
        return false;
      }
    },
    async close(): Promise<void> {
      if (!isOpen) return;
      for (const record of guard.flush()) write(record);
      isOpen = false;
      sink.close();
      await standardOutput.settled();
    },
  };
}

function filterOf(level: string): LogFilter {
  const filter = parseLogFilter(level);
  assert(filter !== null, `"${level}" is no log level; the configuration lets none pass`);
  return filter;
}

/** Says nothing. */
export const NULL_LOGGER: Logger = loggerOver(() => {}, {});

/** Keeps what it is told, for tests. */
export function createMemoryLogger(): Logger & {
  readonly records: readonly LogRecord[];
} {
  const records: LogRecord[] = [];
  return { ...loggerOver((record) => records.push(record), {}), records };
}

function loggerOver(take: (record: LogRecord) => void, common: LogFields): Logger {
  const at = (level: LogLevel) => (message: string, fields: LogFields = {}): void =>
    take({ level, message, fields: { ...common, ...fields } });
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => loggerOver(take, { ...common, ...fields }),
  };
}
