import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { formatLine } from "./log_line.ts";
import type { LogFields } from "./log_record.ts";

const NOW_MS = Date.parse("2026-03-01T10:00:00.123Z");

function text(message: string, fields: LogFields = {}): string {
  return formatLine({ level: "warn", message, fields }, "text", NOW_MS);
}

function json(message: string, fields: LogFields = {}): unknown {
  return JSON.parse(formatLine({ level: "error", message, fields }, "json", NOW_MS));
}

Deno.test("formatLine() writes text as time, level, module, message and fields", () => {
  strictEqual(
    text("Upload failed", { module: "engine", path: "a/b,v", why: "no route", n: 3n }),
    '2026-03-01T10:00:00.123Z WARN  engine: Upload failed path=a/b,v why="no route" n=3\n',
  );
  strictEqual(
    text("x", { a: true, b: null, c: 1.5, d: "" }).slice(31),
    'x a=true b=null c=1.5 d=""\n',
  );
});

Deno.test("formatLine() keeps a record on one line and away from the terminal's controls", () => {
  const hostile = "a\nb\r\x1b[2J\x9b\u2028\u202e\x7f";
  const shown = "a\\nb\\u000d\\u001b[2J\\u009b\\u2028\\u202e\\u007f";
  strictEqual(text(hostile).slice(31), `${shown}\n`);
  strictEqual(text("m", { module: hostile }).slice(31), `${shown}: m\n`);
  for (const line of [text("m", { [hostile]: 1 }), text("m", { path: hostile })]) {
    // deno-lint-ignore no-control-regex
    strictEqual(/[\x00-\x1f\x7f-\x9f\u2028\u202e]/.test(line.slice(0, -1)), false, line);
  }
  strictEqual(
    formatLine({ level: "info", message: "a\nb", fields: {} }, "json", NOW_MS).split("\n")
      .length,
    2,
  );
});

Deno.test("formatLine() puts fields into an object of their own in JSON", () => {
  deepStrictEqual(
    json("m", { module: "gate", level: "fake", ts: 0, big: 2n ** 60n, small: 7n }),
    {
      ts: "2026-03-01T10:00:00.123Z",
      level: "error",
      module: "gate",
      message: "m",
      fields: { level: "fake", ts: 0, big: "1152921504606846976", small: 7 },
    },
  );
  deepStrictEqual(json("m"), {
    ts: "2026-03-01T10:00:00.123Z",
    level: "error",
    message: "m",
  });
});
