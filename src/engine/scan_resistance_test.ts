import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { openSimEngine, type SimEngine } from "../../tests/support/sim_engine.ts";

const FILE_BYTES = 1_000;
const CACHE_FILES = 400;
const MINUTE_MS = 60_000;

const LIMITS = {
  maxCacheBytes: CACHE_FILES * FILE_BYTES,
  lowWatermarkBytes: CACHE_FILES * FILE_BYTES * 0.8,
};

function names(kind: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${kind}${i},v`);
}

function residentOf(sim: SimEngine, paths: readonly string[]): number {
  return paths.filter((path) => sim.isResident(path)).length;
}

/** Everything is written and uploaded, then more than an hour passes. */
async function filled(sim: SimEngine, paths: readonly string[]): Promise<void> {
  for (const [i, path] of paths.entries()) {
    await sim.write(path, FILE_BYTES);
    if (i % 20 === 19) await sim.clock.advance(10_000);
  }
  await sim.clock.advance(70 * MINUTE_MS);
  strictEqual(sim.manifest.counters().dirtyFiles, 0);
  ok(sim.manifest.counters().residentBytes <= LIMITS.maxCacheBytes);
}

async function readEach(sim: SimEngine, paths: readonly string[]): Promise<void> {
  for (const [i, path] of paths.entries()) {
    await sim.read(path);
    if (i % 10 === 9) await sim.clock.advance(3_000);
  }
  await sim.clock.advance(6_000);
}

async function hourOfReads(sim: SimEngine, paths: readonly string[]): Promise<void> {
  for (let minutes = 0; minutes < 60; minutes += 10) {
    await readEach(sim, paths);
    await sim.clock.advance(10 * MINUTE_MS);
  }
}

Deno.test("a hot set that is read for an hour stays, the cold files go, and a read of everything leaves it", async () => {
  await using sim = await openSimEngine(LIMITS);
  const hot = names("hot", 250);
  const cold = names("cold", 1_000);
  // The hot files are the oldest: without access times they would be the first to go.
  await filled(sim, [...hot, ...cold]);
  await hourOfReads(sim, hot);
  strictEqual(residentOf(sim, hot), hot.length);

  await readEach(sim, [...cold, ...hot].sort());
  await sim.clock.advance(5 * MINUTE_MS);
  const kept = residentOf(sim, hot);
  ok(kept >= 0.9 * hot.length, `${kept} of ${hot.length} are left`);
  ok(sim.manifest.counters().residentBytes <= LIMITS.maxCacheBytes);
});

Deno.test("a cache that is full of files in use gives a scan a tenth at most", async () => {
  await using sim = await openSimEngine(LIMITS);
  const hot = names("hot", 390);
  const cold = names("cold", 800);
  await filled(sim, [...cold, ...hot]);
  await hourOfReads(sim, hot);
  strictEqual(residentOf(sim, hot), hot.length);
  await readEach(sim, cold);
  await sim.clock.advance(5 * MINUTE_MS);
  ok(residentOf(sim, hot) >= 0.9 * CACHE_FILES, `${residentOf(sim, hot)} are left`);
  ok(residentOf(sim, cold) <= 0.1 * CACHE_FILES);
});

Deno.test("a file that is read again after its restore is one of those that stay", async () => {
  await using sim = await openSimEngine(LIMITS);
  const old = names("old", 600);
  const chosen = names("chosen", 30);
  await filled(sim, [...chosen, ...old]);
  strictEqual(residentOf(sim, chosen), 0);
  await readEach(sim, chosen);
  const flags = (): boolean[] => [
    ...new Set(
      chosen.map((path) =>
        sim.manifest.get(path as Parameters<typeof sim.manifest.get>[0])!.flags.readOnce
      ),
    ),
  ];
  // The opens that belong to the same read say nothing.
  await readEach(sim, chosen);
  deepStrictEqual(flags(), [true]);
  await sim.clock.advance(10 * MINUTE_MS);
  await readEach(sim, chosen);
  deepStrictEqual(flags(), [false]);
  await sim.clock.advance(70 * MINUTE_MS);
  await readEach(sim, names("old", 560));
  strictEqual(residentOf(sim, chosen), chosen.length);
});
