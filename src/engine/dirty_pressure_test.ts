import { match, ok, strictEqual } from "node:assert/strict";
import { openSimEngine } from "../../tests/support/sim_engine.ts";

Deno.test("dirty bytes over the cache limit are told at once and every ten minutes, and stay", async () => {
  await using sim = await openSimEngine({
    maxCacheBytes: 2_000,
    lowWatermarkBytes: 1_600,
  });
  const { upload } = sim.context.primary;
  sim.context.primary.upload = () => Promise.reject(new Error("it stands still"));
  for (const name of ["a,v", "b,v", "c,v"]) await sim.write(name, 1_000);
  await sim.clock.advance(30_000);
  const told = (): number =>
    sim.log.records.filter(({ message }) => message.includes("larger than")).length;
  const gauge = async (): Promise<string> =>
    (await sim.context.metrics.render()).match(
      /^p4cache_dirty_over_limit_bytes (\d+)$/m,
    )![1]!;
  strictEqual(told(), 1);
  strictEqual(await gauge(), "1000");
  await sim.clock.advance(600_000);
  strictEqual(told(), 2);
  strictEqual(sim.manifest.counters().residentBytes, 3_000);

  // Nobody is throttled: the next write and a read of it go on.
  await sim.write("d,v", 1_000);
  strictEqual(await sim.read("d,v"), "hot");
  sim.context.primary.upload = upload;
  await sim.clock.advance(1_000_000);
  match(sim.log.records.map(({ message }) => message).join("\n"), /fit into the cache/);
  strictEqual(await gauge(), "0");
  ok(sim.manifest.counters().residentBytes <= 2_000);
});
