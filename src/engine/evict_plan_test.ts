import { strictEqual } from "node:assert/strict";
import { planEvictBytes } from "./evict_plan.ts";

const LIMITS = {
  maxCacheBytes: 1_000,
  lowWatermarkBytes: 800,
  minFreeBytes: 100,
  evictMinAgeSecs: 60,
};

const CASES = [
  ["a cache at its limit is left alone", 1_000, 500, 0],
  ["one byte over it goes down to 90 % of the low watermark", 1_001, 500, 281],
  ["too little free space asks for the difference", 10, 40, 60],
  ["the larger of the two wins", 2_000, 40, 1_280],
] as const;

for (const [what, residentBytes, freeBytes, wanted] of CASES) {
  Deno.test(`planEvictBytes(): ${what}`, () => {
    strictEqual(planEvictBytes(LIMITS, { residentBytes }, freeBytes), wanted);
  });
}

Deno.test("planEvictBytes() with a limit of 1 byte keeps a target of 1", () => {
  const limits = { ...LIMITS, maxCacheBytes: 1, lowWatermarkBytes: 0 };
  strictEqual(planEvictBytes(limits, { residentBytes: 5_000 }, 500), 4_999);
});

Deno.test("planEvictBytes() without a limit looks at free space only", () => {
  const limits = { ...LIMITS, maxCacheBytes: 0 };
  strictEqual(planEvictBytes(limits, { residentBytes: 10 ** 12 }, 500), 0);
});
