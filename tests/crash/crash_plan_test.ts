import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { CRASH_POINTS } from "../../src/core/crash_point.ts";
import { planDeaths, PREPARATIONS } from "./crash_plan.ts";
import { Random } from "./random.ts";

Deno.test("planDeaths() dies as often as asked, and at every step where there is room", () => {
  strictEqual(planDeaths(7, new Random(1)).length, 7);
  const steps = planDeaths(120, new Random(1)).map((it) => it.kind === "step" && it.step);
  deepStrictEqual(CRASH_POINTS.filter((step) => !steps.includes(step)), []);
});

Deno.test("planDeaths() puts what a step needs right before it", () => {
  const deaths = planDeaths(400, new Random(2));
  let checked = 0;
  for (const [i, death] of deaths.entries()) {
    const diedAt = death.kind === "step" ? PREPARATIONS[death.step]?.diedAt : undefined;
    if (diedAt === undefined) continue;
    const before = deaths[i - 1];
    ok(before?.kind === "step" && before.step === diedAt);
    checked += 1;
  }
  ok(checked > 3);
});

Deno.test("planDeaths() is the same for the same seed, and another for another", () => {
  deepStrictEqual(planDeaths(50, new Random(3)), planDeaths(50, new Random(3)));
  ok(
    JSON.stringify(planDeaths(50, new Random(3))) !==
      JSON.stringify(planDeaths(50, new Random(4))),
  );
});
