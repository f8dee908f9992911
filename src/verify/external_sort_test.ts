import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { ExternalSorter } from "./external_sort.ts";
import { Scratch } from "./scratch.ts";

/** Sorts `records` in runs of `runBytesMax`, and gives the result. */
function sorted(records: readonly string[], runBytesMax: number): string[] {
  const parent = Deno.makeTempDirSync();
  const scratch = Scratch.open(parent);
  const sorter = new ExternalSorter(scratch, runBytesMax);
  try {
    for (const record of records) sorter.add(record);
    strictEqual(sorter.count, records.length);
    const once = [...sorter.sorted()];
    deepStrictEqual([...sorter.sorted()], once, "a second pass gives the same");
    return once;
  } finally {
    sorter.close();
    scratch.close();
    deepStrictEqual([...Deno.readDirSync(parent)], [], "nothing is left behind");
    Deno.removeSync(parent);
  }
}

Deno.test("ExternalSorter orders by bytes, in memory and through any number of runs", () => {
  const records = Array.from(
    { length: 3_000 },
    (_, i) => `${(i * 7919) % 3000}\0\xff${"x".repeat(i % 50)}`,
  );
  const expected = records.toSorted((a, b) => a < b ? -1 : a > b ? 1 : 0);
  // One record a run makes 3,000 runs: more than are merged at once.
  for (const runBytesMax of [1 << 20, 20_000, 0]) {
    deepStrictEqual(sorted(records, runBytesMax), expected, `runs of ${runBytesMax}`);
  }
});

Deno.test("ExternalSorter keeps equal records, empty ones, and ones longer than a buffer", () => {
  const long = "l".repeat(300_000);
  deepStrictEqual(sorted(["b", "", "b", long, "a", ""], 40), [
    "",
    "",
    "a",
    "b",
    "b",
    long,
  ]);
  deepStrictEqual(sorted([], 40), []);
});
