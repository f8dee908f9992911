/**
 * Which log lines are wanted: a level for all, and others for single modules.
 *
 * Written as `info` or `info,engine=debug,storage=warn`; the configuration checks it and
 * the logger obeys it.
 *
 * @module
 */

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

export type LogLevel = typeof LOG_LEVELS[number];

export interface LogFilter {
  readonly level: LogLevel;
  /** By the value of the field `module`, which a folder's logger carries. */
  readonly byModule: ReadonlyMap<string, LogLevel>;
}

/** Null if `text` is no filter. Without a level of its own the filter begins at `info`. */
export function parseLogFilter(text: string): LogFilter | null {
  let level: LogLevel | null = null;
  const byModule = new Map<string, LogLevel>();
  for (const part of text.split(",").map((it) => it.trim())) {
    const [left, right, ...rest] = part.split("=");
    if (left === undefined || rest.length > 0) return null;
    if (right === undefined) {
      if (!isLogLevel(left) || level !== null) return null;
      level = left;
    } else {
      if (!isLogLevel(right) || !/^[a-z_]+$/.test(left) || byModule.has(left)) {
        return null;
      }
      byModule.set(left, right);
    }
  }
  return { level: level ?? "info", byModule };
}

/** Whether a line of this level, from this module if any, is wanted. */
export function isWanted(filter: LogFilter, level: LogLevel, module?: string): boolean {
  const least = module === undefined ? undefined : filter.byModule.get(module);
  return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(least ?? filter.level);
}

function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}
