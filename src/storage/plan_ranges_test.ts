import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { planPartBytes, planRanges } from "./plan_ranges.ts";

const MIB = 1_048_576;
const S3 = { partBytesMin: 5 * MIB, partBytesMax: 5_120 * MIB, partsMax: 10_000 };

Deno.test("planRanges() covers everything once, at each edge", () => {
  deepStrictEqual(planRanges(0, 10), []);
  deepStrictEqual(planRanges(1, 10), [{ start: 0, end: 1 }]);
  deepStrictEqual(planRanges(10, 10), [{ start: 0, end: 10 }]);
  deepStrictEqual(planRanges(11, 10), [{ start: 0, end: 10 }, { start: 10, end: 11 }]);
});

Deno.test("planRanges() leaves no gap and no overlap", () => {
  fc.assert(
    fc.property(fc.nat(100_000), fc.integer({ min: 1, max: 5_000 }), (total, size) => {
      let expected = 0;
      for (const { start, end } of planRanges(total, size)) {
        if (start !== expected || end <= start || end - start > size) return false;
        expected = end;
      }
      return expected === total;
    }),
  );
});

Deno.test("planPartBytes() keeps the preferred size while the parts suffice", () => {
  strictEqual(planPartBytes(1, 8 * MIB, S3), 8 * MIB);
  strictEqual(planPartBytes(80_000 * MIB, 8 * MIB, S3), 8 * MIB);
  strictEqual(planPartBytes(80_000 * MIB + 1, 8 * MIB, S3), 9 * MIB);
  strictEqual(planPartBytes(1, MIB, S3), 5 * MIB);
});

Deno.test("planPartBytes() reaches 5 TiB, and refuses what no parts can hold", () => {
  const largest = 5 * 1_024 ** 4;
  const partBytes = planPartBytes(largest, 8 * MIB, S3);
  ok(partBytes !== null && Math.ceil(largest / partBytes) <= S3.partsMax);
  strictEqual(partBytes % MIB, 0);
  strictEqual(planPartBytes(S3.partBytesMax * S3.partsMax + 1, 8 * MIB, S3), null);
});
