/**
 * Random operations by several processes and threads on a depot, under the shim and the real
 * daemon, while files are evicted and restored and the daemon dies and comes back; and the
 * same on a plain directory. Nothing that a program can see may differ.
 *
 *   deno run -A tests/differential/differential.ts [--ops N] [--seed S] [--procs P] [--faults]
 *
 * With --faults the store fails and the daemon hangs, too: an operation may then fail with EIO,
 * and nothing else may differ. With --replay FILE it plays the short script that a failure ended
 * with. KEEP=1 leaves the directory for a look. Needs root.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program that reports to a person

import { parseArgs } from "node:util";
import { seededRandom } from "../crash/random.ts";
import { replay } from "./replay.ts";
import { runDifferential } from "./run.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    ops: { type: "string", default: "200000" },
    seed: { type: "string" },
    procs: { type: "string", default: "4" },
    faults: { type: "boolean", default: false },
    replay: { type: "string" },
  },
});
if (values.replay !== undefined) {
  const lines = (await Deno.readTextFile(values.replay)).split("\n").filter((it) =>
    it !== ""
  );
  const divergence = await replay(lines);
  console.log(divergence ?? "nothing differs");
  Deno.exit(divergence === null ? 0 : 1);
}
const random = seededRandom(values.seed);
const result = await runDifferential({
  ops: Number(values.ops),
  processes: Number(values.procs),
  hasFaults: values.faults,
  random,
  log: (line) => console.log(line),
});
console.log(
  `differential: ops=${result.ops} divergences=${result.divergences.length} ` +
    `seed=${random.seed}`,
);
Deno.exit(result.divergences.length === 0 ? 0 : 1);
