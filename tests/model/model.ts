// deno-lint-ignore-file no-console -- a program whose output is its result
/**
 * Random operations against the real engine over a simulated disk, clock and store:
 * `deno run -A tests/model/model.ts --ops 1000000 --seed 1`. A failing run is cut down to a
 * short list, printed, and the exit status is 1.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { runModel } from "./run_model.ts";

const { values } = parseArgs({
  options: {
    ops: { type: "string", default: "100000" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
  },
});
const seed = Number(values.seed);
const { operations, runs, failure } = await runModel({
  operationCount: Number(values.ops),
  seed,
});
if (failure !== null) {
  console.log(`model: ${failure.fault}: ${failure.message}`);
  for (const operation of failure.operations) console.log(JSON.stringify(operation));
}
const lost = failure?.fault === "lost" ? 1 : 0;
const wrong = failure === null || failure.fault === "lost" ? 0 : 1;
console.log(
  `model: ops=${operations} runs=${runs} lost=${lost} wrong=${wrong} seed=${seed}`,
);
if (failure !== null) Deno.exit(1);
