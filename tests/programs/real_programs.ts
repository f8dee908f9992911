/**
 * make real-programs: programs that nobody here wrote, each run on a plain directory and on a
 * depot whose files are evicted all the time. The last line counts.
 *
 *   real_programs.ts [--only PART_OF_A_NAME]
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a test program reports on standard output
import { parseArgs } from "node:util";
import { PROGRAMS } from "./programs.ts";
import { compareRuns } from "./run_program.ts";

const { values } = parseArgs({ options: { only: { type: "string", default: "" } } });
const total = {
  programs: 0,
  equal: 0,
  different: 0,
  skipped: 0,
  evicted: 0,
  restored: 0,
};

for (const program of PROGRAMS.filter(({ name }) => name.includes(values.only))) {
  total.programs += 1;
  const found = await new Deno.Command("sh", {
    args: ["-c", `command -v ${program.needs}`],
    env: { PATH: `${Deno.env.get("PATH")}:/usr/sbin` },
    stdout: "null",
  }).output();
  if (!found.success) {
    total.skipped += 1;
    console.log(`skipped: ${program.name}: ${program.needs} is not installed`);
    continue;
  }
  const started = performance.now();
  const { differences, allowed, report } = await compareRuns(program);
  const seconds = ((performance.now() - started) / 1_000).toFixed(0);
  total.evicted += report.evicted;
  total.restored += report.restored;
  total[differences.length === 0 ? "equal" : "different"] += 1;
  console.log(
    `${differences.length === 0 ? "ok   " : "FAIL "} ${program.name}: ` +
      `evicted=${report.evicted} restored=${report.restored} (${seconds} s)`,
  );
  for (const line of allowed) console.log(`      allowed: ${line}`);
  for (const line of differences) console.log(`      ${line}`);
}

console.log(
  "real-programs: " + Object.entries(total).map(([k, v]) => `${k}=${v}`).join(" "),
);
Deno.exit(total.different === 0 && total.equal > 0 && total.skipped === 0 ? 0 : 1);
