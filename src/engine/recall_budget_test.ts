import { deepStrictEqual, match, rejects, strictEqual } from "node:assert/strict";
import { openSimEngine, type SimEngine } from "../../tests/support/sim_engine.ts";
import { type DepotPath, parseDepotPath } from "../core/names.ts";
import { RecallBudget } from "./recall_budget.ts";

const MINUTE_MS = 60_000;
const EVENING = "2026-03-01T23:40:00.000Z";
const LIMITS = {
  maxCacheBytes: 1,
  recallMaxBytesPerDay: 10_000,
  recallUidSharePercent: 50,
};
const P4D = { uid: 100, pid: 1 };
const SCANNER = { uid: 200, pid: 2 };

async function evictedFiles(sim: SimEngine, count: number): Promise<DepotPath[]> {
  const names = Array.from({ length: count }, (_, i) => `f${i},v`);
  for (const name of names) await sim.write(name, 1_000);
  await sim.clock.advance(3 * MINUTE_MS);
  strictEqual(sim.manifest.counters().residentFiles, 0);
  return names.map(parseDepotPath);
}

async function metricOf(sim: SimEngine, name: string): Promise<number> {
  const text = await sim.context.metrics.render();
  return Number(text.match(new RegExp(`^${name} (\\d+)$`, "m"))?.[1] ?? 0);
}

Deno.test("a user gets his share of the day's recall and no more, others go on, and the next day begins anew", async () => {
  await using sim = await openSimEngine(LIMITS, { start: EVENING });
  const files = await evictedFiles(sim, 20);
  const scan = (i: number): Promise<unknown> =>
    sim.engine.restore(files[i]!, { client: SCANNER });
  const open = (i: number): Promise<unknown> =>
    sim.engine.restore(files[i]!, { client: P4D });
  for (let i = 0; i < 5; i++) await scan(i);
  await rejects(scan(5), { fault: "QUOTA", message: /user 200/ });
  for (let i = 5; i < 10; i++) await open(i);
  await rejects(open(10), { fault: "QUOTA" });
  // What is resident opens as ever.
  await open(9);
  strictEqual(await metricOf(sim, "p4cache_recall_refused_total"), 2);
  const said = sim.log.records.map(({ level, message }) => `${level} ${message}`).join(
    "\n",
  );
  match(said, /^warn 80 % of recall_max_bytes_per_day/m);
  match(said, /^error restores are refused/m);
  await sim.clock.advance(20 * MINUTE_MS);
  await scan(5);
  strictEqual(sim.engine.recalledBytes, 1_000);
});

Deno.test("refusals are told once a minute, and recorded once a day and user", async () => {
  await using sim = await openSimEngine(LIMITS, { start: EVENING });
  const files = await evictedFiles(sim, 8);
  for (let i = 0; i < 5; i++) await sim.engine.restore(files[i]!, { client: SCANNER });
  const records: Record<string, unknown>[] = [];
  sim.context.failedOps.append = (record) => void records.push({ ...record });
  const errors = (): unknown[] =>
    sim.log.records.filter(({ level }) => level === "error").map(({ fields }) => fields);
  const refuse = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) {
      const refused = sim.engine.restore(files[5 + i % 3]!, { client: SCANNER });
      await rejects(refused, { fault: "QUOTA" });
    }
  };
  await refuse(50);
  strictEqual(errors().length, 1);
  await sim.clock.advance(MINUTE_MS);
  await refuse(50);
  strictEqual(errors().length, 2);
  strictEqual((errors()[1] as { refused: number }).refused, 50);
  strictEqual(records.length, 1);
  const { op, uid, fault } = records[0]!;
  deepStrictEqual({ op, uid, fault }, { op: "restore", uid: 200, fault: "QUOTA" });
  strictEqual(await metricOf(sim, "p4cache_recall_refused_total"), 100);
});

Deno.test("a restart does not begin the day anew, and a failed restore is not counted", async () => {
  await using sim = await openSimEngine(LIMITS, { start: EVENING });
  const files = await evictedFiles(sim, 3);
  await sim.engine.restore(files[0]!, { client: P4D });
  const { download } = sim.context.primary;
  sim.context.primary.download = () => Promise.reject(new Error("down"));
  await rejects(sim.engine.restore(files[1]!, { client: P4D }));
  sim.context.primary.download = download;
  strictEqual(sim.engine.recalledBytes, 1_000);
  await sim.clock.advance(120_000);
  strictEqual(new RecallBudget(sim.context).usedBytes, 1_000);
  await sim.clock.advance(20 * MINUTE_MS);
  strictEqual(new RecallBudget(sim.context).usedBytes, 0);
});

Deno.test("without a limit nothing is refused, and the day is counted all the same", async () => {
  await using sim = await openSimEngine({ maxCacheBytes: 1 });
  for (const path of await evictedFiles(sim, 20)) await sim.engine.restore(path);
  strictEqual(sim.engine.recalledBytes, 20_000);
  strictEqual(await metricOf(sim, "p4cache_recall_refused_total"), 0);
});
