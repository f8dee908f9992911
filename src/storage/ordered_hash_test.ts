import { rejects } from "node:assert/strict";
import fc from "fast-check";
import {
  hashOf,
  MemoryTarget,
  patternBytes,
} from "../../tests/conformance/test_bytes.ts";
import { OrderedHash } from "./ordered_hash.ts";
import { planRanges } from "./plan_ranges.ts";

Deno.test("the hash is right in whatever order ranges grow", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5_000 }),
      fc.integer({ min: 1, max: 2_000 }),
      fc.infiniteStream(fc.nat(1_000_000)),
      async (total, rangeBytes, choices) => {
        const bytes = patternBytes(total, 1);
        const target = new MemoryTarget();
        const ranges = planRanges(total, rangeBytes);
        const hash = new OrderedHash(target, ranges);
        const open = ranges.map((range, index) => ({ ...range, index }));
        while (open.length > 0) {
          const range = open[choices.next().value! % open.length]!;
          const step = 1 + choices.next().value! % 700;
          const end = Math.min(range.end, range.start + step);
          const part = bytes.slice(range.start, end);
          await target.write(part, range.start);
          hash.wrote(range.index, part, range.start);
          // Whoever wrote may use the memory again.
          part.fill(0);
          range.start = end;
          if (end === range.end) open.splice(open.indexOf(range), 1);
          if (choices.next().value! % 3 === 0) await Promise.resolve();
        }
        return await hash.finish(total, "k") === hashOf(bytes);
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("a range that was never written fails as corrupt", async () => {
  const target = new MemoryTarget();
  const hash = new OrderedHash(target, planRanges(20, 10));
  const bytes = patternBytes(10, 2);
  await target.write(bytes, 10);
  hash.wrote(1, bytes, 10);
  await rejects(() => hash.finish(20, "k"), { fault: "corrupt" });
});

Deno.test("a target that cannot be read back fails with its own error", async () => {
  const trouble = new Error("EIO");
  const target = {
    write: (): Promise<void> => Promise.resolve(),
    read: (): Promise<number> => Promise.reject(trouble),
  };
  const hash = new OrderedHash(target, planRanges(20, 10));
  hash.wrote(1, patternBytes(10, 3), 10);
  hash.wrote(0, patternBytes(10, 3), 0);
  await rejects(() => hash.finish(20, "k"), (error) => error === trouble);
});
