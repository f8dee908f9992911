/**
 * The crash test as CI runs it: some steps and some deaths at random, other ones each time.
 *
 * @module
 */

import { ok, strictEqual } from "node:assert/strict";
import { isConvincing, runCrashes } from "./crash_run.ts";
import { seededRandom } from "./random.ts";

/** About a minute. `crash.ts` goes through all steps. */
const RUNS = 30;

Deno.test("a daemon that is killed at random and at named steps loses nothing", async () => {
  const random = seededRandom(undefined);
  const lines: string[] = [];
  const result = await runCrashes({
    runs: RUNS,
    random,
    // Of several versions in the store a rebuild from nothing takes the newest by the
    // store's clock, and says so: a guess, which `crash.ts --rebuild` looks at.
    rebuilds: false,
    log: (line) => lines.push(line),
  });
  strictEqual(result.kills, RUNS);
  strictEqual(result.lost + result.wrong, 0, lines.join("\n"));
  ok(isConvincing(result), lines.join("\n"));
});
