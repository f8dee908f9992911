import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { openEngineFixture } from "../../tests/support/engine_fixture.ts";
import { evictableFromS, planEviction } from "./evict_plan.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

const LIMITS = {
  maxCacheBytes: 1_000,
  lowWatermarkBytes: 800,
  minFreeBytes: 100,
  evictMinAgeSecs: 60,
};

const CASES: readonly (readonly [
  what: string,
  sizes: { residentBytes: number; readOnceBytes: number; freeBytes: number },
  bytes: number,
  ofOthersBytes: number,
])[] = [
  [
    "a cache at its limit is left alone",
    { residentBytes: 1_000, readOnceBytes: 0, freeBytes: 500 },
    0,
    0,
  ],
  [
    "one byte over it goes down to 90 % of the low watermark",
    { residentBytes: 1_001, readOnceBytes: 0, freeBytes: 500 },
    281,
    281,
  ],
  [
    "too little free space asks for the difference",
    { residentBytes: 10, readOnceBytes: 0, freeBytes: 40 },
    60,
    60,
  ],
  [
    "the larger of the two wins",
    { residentBytes: 2_000, readOnceBytes: 0, freeBytes: 40 },
    1_280,
    1_280,
  ],
  [
    "files that were read once go alone while the others fit",
    { residentBytes: 1_001, readOnceBytes: 600, freeBytes: 500 },
    281,
    0,
  ],
  [
    "they keep nearly a tenth, which the others make room for",
    { residentBytes: 1_050, readOnceBytes: 90, freeBytes: 500 },
    60,
    60,
  ],
  [
    "others that are over the limit by themselves go down as ever, after the rest",
    { residentBytes: 1_200, readOnceBytes: 100, freeBytes: 500 },
    480,
    480,
  ],
];

for (const [what, { freeBytes, ...sizes }, bytes, ofOthersBytes] of CASES) {
  Deno.test(`planEviction(): ${what}`, () => {
    deepStrictEqual(planEviction(LIMITS, sizes, freeBytes), { bytes, ofOthersBytes });
  });
}

Deno.test("planEviction() with a limit of 1 byte keeps a target of 1", () => {
  const limits = { ...LIMITS, maxCacheBytes: 1, lowWatermarkBytes: 0 };
  for (const readOnceBytes of [0, 5_000]) {
    const { bytes } = planEviction(
      limits,
      { residentBytes: 5_000, readOnceBytes },
      500,
    );
    deepStrictEqual(bytes, 4_999);
  }
});

Deno.test("planEviction() without a limit looks at free space only", () => {
  const limits = { ...LIMITS, maxCacheBytes: 0 };
  const sizes = { residentBytes: 10 ** 12, readOnceBytes: 10 ** 11 };
  deepStrictEqual(planEviction(limits, sizes, 500), { bytes: 0, ofOthersBytes: 0 });
});

Deno.test("evictableFromS() does not wait for the time of a clock that was set back", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await fixture.write("a,v", "content");
  await observe(fixture.context, path, REPORTED);
  await upload(fixture.context, path);
  const entry = fixture.manifest.get(path)!;
  const { settledAtS } = entry;
  const limits = { evictMinAgeSecs: 60 };
  const cases = [
    [settledAtS + 10, settledAtS + 60],
    [settledAtS, settledAtS + 60],
    [settledAtS - 5, settledAtS + 60],
    [settledAtS - 86_400, settledAtS - 86_400],
  ] as const;
  for (const [nowS, wanted] of cases) {
    strictEqual(evictableFromS(entry, limits, nowS), wanted);
  }
});
