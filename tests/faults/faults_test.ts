/**
 * Two faults as CI runs them, others each time; `faults.ts` goes through all.
 *
 * @module
 */

import { strictEqual } from "node:assert/strict";
import { seededRandom } from "../crash/random.ts";
import { runScenarios, SCENARIOS } from "./scenarios.ts";

const COUNT = 2;

Deno.test("a daemon lives through faults of its store, its disk and its machine, and loses nothing", async () => {
  const random = seededRandom(undefined);
  const names = random.shuffled(Object.keys(SCENARIOS)).slice(0, COUNT);
  const lines: string[] = [];
  const result = await runScenarios(names, random, (line) => lines.push(line));
  strictEqual(result.failed + result.lost + result.wrong, 0, lines.join("\n"));
});
