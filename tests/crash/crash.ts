/**
 * Kills the daemon at random and at every named step while a depot is written and read,
 * and fails if one revision is lost or wrong, or if the kills showed nothing.
 *
 *   deno run -A tests/crash/crash.ts [--runs N] [--seed S] [--rebuild]
 *
 * KEEP=1 leaves the directory for a look.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program that reports to a person

import { parseArgs } from "node:util";
import { isConvincing, runCrashes } from "./crash_run.ts";
import { seededRandom } from "./random.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    runs: { type: "string", default: "200" },
    seed: { type: "string" },
    rebuild: { type: "boolean", default: false },
  },
});
const result = await runCrashes({
  runs: Number(values.runs),
  random: seededRandom(values.seed),
  rebuilds: values.rebuild,
  log: (line) => console.log(line),
});
const { kills, files, inFlightAtKill, lost, wrong } = result;
for (const [step, hits] of result.hits) {
  console.log(`  ${step}: died there ${hits} times`);
}
const isGood = isConvincing(result) && lost === 0 && wrong === 0;
if (!isConvincing(result)) {
  console.log("crash: a step was not reached, or nothing was at stake");
}
console.log(
  `crash: kills=${kills} files=${files} in_flight_at_kill=${inFlightAtKill} lost=${lost} ` +
    `wrong=${wrong}`,
);
Deno.exit(isGood ? 0 : 1);
