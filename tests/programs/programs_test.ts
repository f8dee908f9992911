import { deepStrictEqual, ok } from "node:assert/strict";
import { PROGRAMS } from "./programs.ts";
import { compareRuns } from "./run_program.ts";

// The others run in `make real-programs`.
const NEEDS = ["ci", "cvs", "sqlite3", "nginx"];
for (const program of PROGRAMS.filter(({ needs }) => NEEDS.includes(needs))) {
  Deno.test(`${program.name}: the same on a tree that is evicted all the time`, async () => {
    const { differences, report } = await compareRuns(program);
    deepStrictEqual(differences, []);
    ok(report.evicted > 0 && report.restored > 0);
  });
}
