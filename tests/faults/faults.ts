/**
 * The world fails around a running daemon, and recovers: the store goes away, lies, fills
 * up; the local disk fails; the helpers are killed again and again; the clock jumps. While
 * a fault lasts nothing may be lost or wrong, and when it ends everything must drain by itself.
 *
 *   deno run -A tests/faults/faults.ts [--only NAME,NAME] [--seed S]
 *
 * Needs root, for mounts, and a C compiler. The last line is
 * `faults: scenarios=N failed=N files=N lost=0 wrong=0`.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program that reports to a person

import { parseArgs } from "node:util";
import { seededRandom } from "../crash/random.ts";
import { runScenarios, SCENARIOS } from "./scenarios.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: { only: { type: "string" }, seed: { type: "string" } },
});
const names = values.only?.split(",") ?? Object.keys(SCENARIOS);
const { failed, files, lost, wrong } = await runScenarios(
  names,
  seededRandom(values.seed),
  (line) => console.log(line),
);
console.log(
  `faults: scenarios=${names.length} failed=${failed} files=${files} lost=${lost} ` +
    `wrong=${wrong}`,
);
Deno.exit(names.length > 0 && failed + lost + wrong === 0 ? 0 : 1);
