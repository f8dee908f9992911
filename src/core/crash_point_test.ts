import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import {
  armCrashPoint,
  CRASH_POINTS,
  crashPoint,
  disarmCrashPoint,
} from "./crash_point.ts";

Deno.test("crashPoint() does nothing at any place while none is armed", () => {
  disarmCrashPoint();
  for (const name of CRASH_POINTS) crashPoint(name);
});

Deno.test("crashPoint() dies at the armed place only, at the visit that was asked for", () => {
  const visits: number[] = [];
  let visit = 0;
  armCrashPoint("upload/stored:3", () => visits.push(visit));
  try {
    for (visit = 1; visit <= 5; visit++) {
      crashPoint("upload/hashed");
      crashPoint("upload/stored");
    }
  } finally {
    disarmCrashPoint();
  }
  deepStrictEqual(visits, [3]);
});

Deno.test("armCrashPoint() takes the first visit by default", () => {
  let deaths = 0;
  armCrashPoint("evict/confirmed", () => deaths++);
  try {
    crashPoint("evict/confirmed");
  } finally {
    disarmCrashPoint();
  }
  strictEqual(deaths, 1);
});

Deno.test("armCrashPoint() refuses a place that does not exist, and a visit that cannot be", () => {
  for (const spec of ["", "upload", "upload/stored:0", "upload/stored:x", "a/b:1"]) {
    throws(() => armCrashPoint(spec, () => {}), RangeError, spec);
  }
});

Deno.test("the places have at least 25 names, each once", () => {
  strictEqual(new Set(CRASH_POINTS).size, CRASH_POINTS.length);
  strictEqual(CRASH_POINTS.length >= 25, true);
});

Deno.test("every place is somewhere in the code", async () => {
  const sources: string[] = [];
  for (const folder of ["engine", "daemon"]) {
    const directory = new URL(`../${folder}/`, import.meta.url);
    for await (const { name } of Deno.readDir(directory)) {
      if (name.endsWith("_test.ts") || !name.endsWith(".ts")) continue;
      sources.push(await Deno.readTextFile(new URL(name, directory)));
    }
  }
  const code = sources.join("\n");
  const missing = CRASH_POINTS.filter((name) => !code.includes(`crashPoint("${name}")`));
  deepStrictEqual(missing, []);
});
