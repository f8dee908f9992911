import { ok, rejects, strictEqual } from "node:assert/strict";
import { openSimEngine, type SimEngine } from "../../tests/support/sim_engine.ts";
import { type DepotPath, parseDepotPath } from "../core/names.ts";
import { MIB } from "../core/units.ts";
import { evict } from "./evict.ts";
import { SpaceLedger } from "./space.ts";

const KB = 1_000;
const DISK = { capacityBytes: 10 * KB };
const LIMITS = { minFreeBytes: 2 * KB, evictMinAgeSecs: 5 };

/** `a,v` is evicted, the others fill the disk up to `min_free_bytes`. */
async function full(sim: SimEngine): Promise<void> {
  for (const name of ["a,v", "b,v", "c,v", "d,v"]) await sim.write(name, 2 * KB);
  await sim.clock.advance(60_000);
  strictEqual(await evict(sim.context, parseDepotPath("a,v")), "evicted");
  await sim.write("e,v", 2 * KB);
  await sim.clock.advance(60_000);
  strictEqual(sim.context.posix.statvfs("/depot").freeBytes, 2 * KB);
}

Deno.test("a restore onto a full disk waits until eviction has made room for it", async () => {
  await using sim = await openSimEngine(LIMITS, DISK);
  await full(sim);
  const restored = sim.engine.restore(parseDepotPath("a,v"));
  await sim.clock.advance(10_000);
  strictEqual((await restored).wasEvicted, true);
  ok(sim.context.posix.statvfs("/depot").freeBytes >= LIMITS.minFreeBytes);
  ok(!sim.isResident("b,v"), "the least recently used file made room");
});

Deno.test("a restore is FULL after a minute when nothing may go, and the marker stays", async () => {
  await using sim = await openSimEngine(LIMITS, DISK);
  await full(sim);
  const pinned = sim.engine.pinSelected({
    selection: "",
    pinned: true,
    dryRun: false,
    signal: new AbortController().signal,
  });
  await sim.clock.advance(1_000);
  await pinned;
  const restored = sim.engine.restore(parseDepotPath("a,v"));
  const refused = rejects(restored, { fault: "FULL" });
  await sim.clock.advance(59_000);
  strictEqual(sim.isResident("a,v"), false);
  await sim.clock.advance(5_000);
  await refused;
  strictEqual(sim.context.posix.lstat("/depot/a,v")?.kind, "socket");
  strictEqual(sim.manifest.counters().residentFiles, 4);
});

Deno.test("what a restore has written is not kept free for it a second time", async () => {
  const sizeBytes = 4 * MIB;
  await using sim = await openSimEngine({}, { capacityBytes: 10 * MIB });
  const [first, second] = ["a,v", "b,v"].map(parseDepotPath) as [DepotPath, DepotPath];
  for (const path of [first, second]) {
    await sim.write(path, sizeBytes);
    await sim.clock.advance(60_000);
    strictEqual(await evict(sim.context, path, { evictMinAgeSecs: 0 }), "evicted");
  }
  const { primary, posix } = sim.context;
  const download = primary.download.bind(primary);
  const goOn = Promise.withResolvers<void>();
  const isWritten = Promise.withResolvers<void>();
  primary.download = async (request) => {
    const result = await download(request);
    if (request.key as string !== first) return result;
    isWritten.resolve();
    await goOn.promise;
    return result;
  };
  const slow = sim.engine.restore(first);
  await isWritten.promise;
  strictEqual(posix.statvfs("/depot").freeBytes, 6 * MIB);
  const other = sim.engine.restore(second);
  await sim.clock.advance(1_000);
  ok(sim.isResident(second), "the six that are free are enough for it");
  goOn.resolve();
  await sim.clock.advance(1_000);
  await Promise.all([slow, other]);
});

Deno.test("what is written anew is kept free again, and nothing once it is done", async () => {
  await using sim = await openSimEngine();
  const space = new SpaceLedger(sim.context, () => {});
  await space.reserve(60, (onWritten) => {
    strictEqual(space.reservedBytes, 60);
    for (const [written, reserved] of [[50, 10], [70, 0], [0, 60], [20, 40]] as const) {
      onWritten(written);
      strictEqual(space.reservedBytes, reserved);
    }
    return Promise.resolve();
  });
  strictEqual(space.reservedBytes, 0);
});

Deno.test("a file that can never fit is refused at once and evicts nobody", async () => {
  await using sim = await openSimEngine(LIMITS, DISK);
  await full(sim);
  const path = parseDepotPath("a,v");
  const { stored } = sim.manifest.get(path)!;
  await sim.manifest.apply(path, "any", {
    kind: "adopted",
    stored: { ...stored!, sizeBytes: 9 * KB },
    stat: sim.manifest.get(path)!.local,
    resident: false,
    flags: {},
    nowS: 0,
  });
  await rejects(sim.engine.restore(path), { fault: "FULL" });
  await sim.clock.advance(60_000);
  strictEqual(sim.manifest.counters().residentFiles, 4);
});
