/**
 * What is said in one line of the log.
 *
 * @module
 */

import type { LogLevel } from "../core/log_filter.ts";

/** Values as they are to be shown. A path is a display string already, a secret never here. */
export type LogFields = Readonly<
  Record<string, string | number | bigint | boolean | null>
>;

export interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}
