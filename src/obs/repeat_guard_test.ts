import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import type { LogLevel } from "../core/log_filter.ts";
import type { LogRecord } from "./log_record.ts";
import { createRepeatGuard, QUIET_MS } from "./repeat_guard.ts";

function record(level: LogLevel, message: string, n = 0): LogRecord {
  return { level, message, fields: { n } };
}

Deno.test("admit() lets the first of equal errors through and sums up the others", async () => {
  const clock = new ManualClock();
  const guard = createRepeatGuard(clock);
  const failed = record("error", "failed");
  deepStrictEqual(guard.admit(failed), [failed]);
  for (let i = 0; i < 5; i++) deepStrictEqual(guard.admit(failed), []);
  await clock.advance(QUIET_MS - 1);
  deepStrictEqual(guard.admit(failed), []);
  await clock.advance(1);
  deepStrictEqual(guard.admit(failed), [
    { ...failed, message: "failed (repeated 6 times)" },
    failed,
  ]);
});

Deno.test("admit() brings a summary that is due with any other line", async () => {
  const clock = new ManualClock();
  const guard = createRepeatGuard(clock);
  guard.admit(record("warn", "slow"));
  guard.admit(record("warn", "slow"));
  await clock.advance(QUIET_MS);
  const info = record("info", "going on");
  deepStrictEqual(guard.admit(info), [record("warn", "slow (repeated once more)"), info]);
  deepStrictEqual(guard.flush(), []);
});

Deno.test("admit() never holds back what differs in level, message or a field", () => {
  const guard = createRepeatGuard(new ManualClock());
  const different = [
    record("error", "a"),
    record("warn", "a"),
    record("error", "b"),
    record("error", "a", 1),
  ];
  for (const it of different) deepStrictEqual(guard.admit(it), [it]);
});

Deno.test("admit() never holds back information", () => {
  const guard = createRepeatGuard(new ManualClock());
  const info = record("info", "same");
  for (let i = 0; i < 3; i++) deepStrictEqual(guard.admit(info), [info]);
});

Deno.test("admit() writes what it has no room to remember", () => {
  const guard = createRepeatGuard(new ManualClock());
  for (let n = 0; n < 1_000; n++) guard.admit(record("error", "x", n));
  const extra = record("error", "x", 1_000);
  deepStrictEqual(guard.admit(extra), [extra]);
  deepStrictEqual(guard.admit(extra), [extra]);
});

Deno.test("flush() gives up all that is held back", () => {
  const guard = createRepeatGuard(new ManualClock());
  for (const message of ["a", "a", "b", "b", "b", "c"]) {
    guard.admit(record("error", message));
  }
  deepStrictEqual(guard.flush().map((it) => it.message), [
    "a (repeated once more)",
    "b (repeated 2 times)",
  ]);
  strictEqual(guard.flush().length, 0);
});
