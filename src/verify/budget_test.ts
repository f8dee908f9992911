import { deepStrictEqual, strictEqual } from "node:assert/strict";
import type { Clock } from "../core/clock.ts";
import { chooseSelection, isSelected, RecallBudget, Throttle } from "./budget.ts";

Deno.test("RecallBudget refuses what would pass its limit, and takes what still fits", () => {
  const budget = new RecallBudget(100);
  deepStrictEqual([60, 50, 40].map((bytes) => budget.take(bytes)), [true, false, true]);
  strictEqual(budget.usedBytes, 100);
  strictEqual(budget.isExhausted, true);
  strictEqual(new RecallBudget(0).take(0), true);
});

Deno.test("isSelected() splits all archives into parts that are about equal", () => {
  const keys = Array.from({ length: 20_000 }, (_, i) => `//depot/dir/file${i}.c`);
  for (const  of of[1, 2, 7, 100]) {
    const counts = Array.from({ length: of }, () => 0);
    for (const key of keys) {
      const parts = counts.keys().filter((part) => isSelected(key, { part, of }))
        .toArray();
      strictEqual(parts.length, 1, key);
      counts[parts[0]!]!++;
    }
    const expected = keys.length / of;
    strictEqual(counts.every((count) => Math.abs(count - expected) < expected / 2), true);
  }
});

Deno.test("Throttle spreads bytes over time, without a debt from idle time", async () => {
  let nowMs = 0;
  const slept: number[] = [];
  const clock: Clock = {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    sleep(delayMs: number): Promise<void> {
      slept.push(delayMs);
      nowMs += delayMs;
      return Promise.resolve();
    },
  };
  const throttle = new Throttle(clock, 1000);
  await throttle.spend(500);
  await throttle.spend(500);
  nowMs += 60_000;
  await throttle.spend(5);
  await throttle.spend(250);
  deepStrictEqual(slept, [500, 500, 255]);
});

Deno.test("chooseSelection() samples another part with each checkpoint, and the same for one", () => {
  deepStrictEqual(chooseSelection({ part: 3, of: 7 }, 1_700_000_000), { part: 3, of: 7 });
  const nightly = Array.from({ length: 200 }, (_, day) => 1_700_000_000 + day * 86_400);
  const parts = nightly.map((asOfS) =>
    chooseSelection({ part: null, of: 10 }, asOfS).part
  );
  strictEqual(new Set(parts).size, 10);
  deepStrictEqual(
    nightly.map((asOfS) => chooseSelection({ part: null, of: 10 }, asOfS).part),
    parts,
  );
});
