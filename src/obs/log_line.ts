/**
 * One record as one line of text or of JSON. Pure.
 *
 * Whatever stands in a message or a field, a record stays one line and cannot steer a
 * terminal: names of depot files are chosen by users.
 *
 * @module
 */

import type { LogFields, LogRecord } from "./log_record.ts";

export type LogFormat = "text" | "json";

/** With its line feed. */
export function formatLine(record: LogRecord, format: LogFormat, nowMs: number): string {
  const time = new Date(nowMs).toISOString();
  return (format === "json" ? jsonLine(record, time) : textLine(record, time)) + "\n";
}

/** `fields` is an object of its own, so that no field can pass for the time or the level. */
function jsonLine(record: LogRecord, time: string): string {
  const { module, ...fields } = record.fields;
  return JSON.stringify({
    ts: time,
    level: record.level,
    ...(module === undefined ? {} : { module }),
    message: record.message,
    ...(Object.keys(fields).length === 0 ? {} : { fields }),
  }, (_, value) => typeof value === "bigint" ? jsonOfBigint(value) : value);
}

/** Readers of JSON keep 53 bits of a number. */
function jsonOfBigint(value: bigint): number | string {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : String(value);
}

function textLine(record: LogRecord, time: string): string {
  const { module, ...fields } = record.fields;
  const from = module === undefined ? "" : `${escaped(String(module))}: `;
  const level = record.level.toUpperCase().padEnd(5);
  return `${time} ${level} ${from}${escaped(record.message)}${textOfFields(fields)}`;
}

function textOfFields(fields: LogFields): string {
  let text = "";
  for (const [name, value] of Object.entries(fields)) {
    const plain = String(value);
    const needsQuotes = typeof value === "string" && !/^[\w.,:;@%+/~-]+$/.test(plain);
    text += ` ${escaped(name)}=${needsQuotes ? escaped(JSON.stringify(plain)) : plain}`;
  }
  return text;
}

/** Controls (C0, DEL, C1), line separators and what turns the direction of text around. */
// deno-lint-ignore no-control-regex
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

function escaped(text: string): string {
  return text.replace(UNSAFE, (c) => {
    if (c === "\n") return "\\n";
    return `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
