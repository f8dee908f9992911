/**
 * Keeps a fault that repeats itself from filling the disk: a warning or an error that is
 * the same in every field is written once a minute, with the number of those left out.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { LogRecord } from "./log_record.ts";

/** How long one that was written stands for those like it. */
export const QUIET_MS = 60_000;

/** More different lines than this at a time are written as they come. */
const TRACKED_MAX = 1_000;

export interface RepeatGuard {
  /** What is to be written now: summaries that are due, then `record` unless it is one too many. */
  admit(record: LogRecord): LogRecord[];
  /** The summaries of all that is held back. */
  flush(): LogRecord[];
}

interface Seen {
  readonly record: LogRecord;
  readonly untilMs: number;
  leftOut: number;
}

export function createRepeatGuard(clock: Clock): RepeatGuard {
  // In order of insertion, which is the order of `untilMs`.
  const seen = new Map<string, Seen>();

  const takeDue = (nowMs: number): LogRecord[] => {
    const due: LogRecord[] = [];
    for (const [key, entry] of seen) {
      if (entry.untilMs > nowMs) break;
      seen.delete(key);
      if (entry.leftOut > 0) due.push(summaryOf(entry));
    }
    return due;
  };
  return {
    admit(record: LogRecord): LogRecord[] {
      const nowMs = clock.monotonicMs();
      const due = takeDue(nowMs);
      if (record.level !== "warn" && record.level !== "error") return [...due, record];
      const key = keyOf(record);
      const entry = seen.get(key);
      if (entry !== undefined) {
        entry.leftOut++;
        return due;
      }
      if (seen.size < TRACKED_MAX) {
        seen.set(key, { record, untilMs: nowMs + QUIET_MS, leftOut: 0 });
      }
      return [...due, record];
    },
    flush: () => takeDue(Infinity),
  };
}

function summaryOf({ record, leftOut }: Seen): LogRecord {
  const times = leftOut === 1 ? "once more" : `${leftOut} times`;
  return { ...record, message: `${record.message} (repeated ${times})` };
}

function keyOf({ level, message, fields }: LogRecord): string {
  const parts = Object.entries(fields).map(([name, value]) => `${name}=${value}`);
  return JSON.stringify([level, message, ...parts]);
}
