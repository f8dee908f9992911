/**
 * The value of `bandwidth_schedule`: other limits for hours of the week.
 *
 * @module
 */

import { type FieldsOf, type KeyTable, live, readObject } from "./key_spec.ts";
import { type ConfigProblem, describeValue } from "./problem.ts";
import {
  dayTime,
  isObject,
  listOf,
  nullable,
  number,
  oneOf,
  type Place,
  type Reading,
  type ValueKind,
} from "./value_kinds.ts";
import { schemaOfTable } from "./schema.ts";

/** As `Date.getDay()` counts them. */
export const WEEK_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;

export const WINDOW_KEYS = {
  days: live(nullable(listOf(oneOf(...WEEK_DAYS))), null, {
    help: "Days on which the window begins.",
    defaultNote: "every day",
  }),
  from: live(dayTime(), undefined, { help: "When it begins, in the machine's time." }),
  to: live(dayTime(), undefined, {
    help: "When it ends. Earlier than `from`: on the next day.",
  }),
  upload_mbps: live(number(0, 1_000_000), 0, {
    help: "In place of `bandwidth_upload_mbps`.",
    defaultNote: "no limit",
  }),
  download_mbps: live(number(0, 1_000_000), 0, {
    help: "In place of `bandwidth_download_mbps`.",
    defaultNote: "no limit",
  }),
} as const satisfies KeyTable;

export type WindowConfig = FieldsOf<typeof WINDOW_KEYS>;

export function schedule(): ValueKind<readonly WindowConfig[]> {
  const wanted = "a list of windows: objects with from, to and limits";
  return {
    wanted,
    schema: { type: "array", items: schemaOfTable(WINDOW_KEYS) },
    read(value: unknown, place: Place): Reading<readonly WindowConfig[]> {
      if (!Array.isArray(value)) {
        return { problems: [{ key: place.key, value: describeValue(value), wanted }] };
      }
      const readings = value.map((it, index) =>
        readWindow(it, { ...place, key: `${place.key}[${index}]` })
      );
      const problems = readings.flatMap((it) => "problems" in it ? it.problems : []);
      if (problems.length > 0) return { problems };
      return { value: readings.flatMap((it) => "value" in it ? [it.value] : []) };
    },
  };
}

function readWindow(value: unknown, place: Place): Reading<WindowConfig> {
  const wanted = "a window: an object with from, to and limits";
  if (!isObject(value)) {
    return { problems: [{ key: place.key, value: describeValue(value), wanted }] };
  }
  const at = `${place.key}.`;
  const { fields, problems } = readObject(value, WINDOW_KEYS, at, place.secrets);
  const all = [...problems, ...problemsBetween(fields as Partial<WindowConfig>, at)];
  return all.length > 0 ? { problems: all } : { value: fields as WindowConfig };
}

function problemsBetween(
  { days, from, to }: Partial<WindowConfig>,
  at: string,
): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  if (from !== undefined && from === to) {
    const wanted = 'another time than from; a whole day is "00:00" to "24:00"';
    problems.push({ key: `${at}to`, value: "the same", wanted });
  }
  if (from === 1_440) {
    problems.push({ key: `${at}from`, value: '"24:00"', wanted: '"00:00" to "23:59"' });
  }
  if (days?.length === 0) {
    problems.push({ key: `${at}days`, value: "none", wanted: "a day, or null for all" });
  }
  return problems;
}
