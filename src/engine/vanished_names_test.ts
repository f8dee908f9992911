import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { openSimEngine } from "../../tests/support/sim_engine.ts";
import { parseDepotPath } from "../core/names.ts";
import { PosixError } from "../posix/posix.ts";

const ENOSPC = 28;

Deno.test("a missing marker that the disk refuses is put back as soon as it takes it, and its looks are ever rarer", async () => {
  await using sim = await openSimEngine();
  await sim.write("a,v", 100);
  await sim.clock.advance(60_000);
  const { posix } = sim.context;
  const makeMarker = posix.makeMarker.bind(posix);
  let isFull = true;
  const triedAtMs: number[] = [];
  posix.makeMarker = (at, attributes): void => {
    triedAtMs.push(sim.clock.nowMs());
    if (isFull) throw new PosixError("mknod", at, ENOSPC);
    makeMarker(at, attributes);
  };
  posix.unlink("/depot/a,v");
  sim.engine.gone(parseDepotPath("a,v"));
  await sim.clock.advance(300_000);
  strictEqual(posix.lstat("/depot/a,v"), null);
  const distances = triedAtMs.slice(1).map((it, i) => it - triedAtMs[i]!);
  deepStrictEqual(distances.slice(0, 4).map((it) => Math.floor(it / 7_000)), [
    1,
    2,
    4,
    8,
  ]);
  const said = (level: string): number =>
    sim.log.records.filter((it) =>
      it.level === level && it.message.includes("disappearance")
    ).length;
  deepStrictEqual([said("error"), said("info")], [1, 0]);
  isFull = false;
  await sim.clock.advance(70_000);
  strictEqual(posix.lstat("/depot/a,v")?.kind, "socket");
  deepStrictEqual([said("error"), said("info")], [1, 1]);
  strictEqual((await sim.engine.restore(parseDepotPath("a,v"))).wasEvicted, true);
});
