/**
 * Directories that are renamed so that paths in them are longer than a row's may be.
 */

import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { openSimEngine, type SimEngine } from "../../tests/support/sim_engine.ts";
import { type DepotPath, parseDepotPath } from "../core/names.ts";
import { evict } from "./evict.ts";

const DEEP = Array(15).fill("x".repeat(250)).join("/");
const LONG = parseDepotPath(`d/${DEEP}/${"y".repeat(100)},v`);
const SHORT = parseDepotPath("d/a,v");

/** Both files are uploaded; then `d` is `to`. */
async function renamed(sim: SimEngine, to: DepotPath, isEvicted: boolean): Promise<void> {
  const { posix } = sim.context;
  posix.makeDirs(`/depot/d/${DEEP}`, 0o755);
  await sim.write(LONG, 10);
  await sim.write(SHORT, 10);
  await sim.clock.advance(120_000);
  if (isEvicted) strictEqual(await evict(sim.context, LONG), "evicted");
  const { ino } = posix.lstat("/depot/d")!;
  posix.rename("/depot/d", `/depot/${to}`);
  await sim.engine.renamed({
    from: parseDepotPath("d"),
    to,
    what: "directory",
    ino,
    writerUid: 0,
  });
}

for (const isEvicted of [true, false]) {
  Deno.test(`a${isEvicted ? "n evicted" : ""} file whose path gets too long keeps its object under the name of before`, async () => {
    await using sim = await openSimEngine();
    const to = parseDepotPath("e".repeat(200));
    await renamed(sim, to, isEvicted);
    const { manifest, clock, context } = sim;
    deepStrictEqual(manifest.paths(null, 10), [LONG, `${to}/a,v`]);
    match(
      await context.metrics.render(),
      /p4cache_unmanaged_long_paths_total 1\n/,
    );
    await clock.advance(20_000);
    strictEqual(context.posix.lstat(`/depot/${LONG}`)?.kind, "socket");
    const { stored } = manifest.get(LONG)!;
    deepStrictEqual(manifest.tombstonesOf(LONG), []);
    ok(await context.primary.head(stored!.key) !== null);
    strictEqual(await sim.read(LONG), "cold");
    ok(sim.isResident(LONG));
  });
}

Deno.test("an archive that can have no row is told, also where it is only written", async () => {
  await using sim = await openSimEngine();
  const { context, engine } = sim;
  const long = `d/${DEEP}/${"y".repeat(200)},v`;
  context.posix.makeDirs(`/depot/d/${DEEP}`, 0o755);
  engine.wroteUnmanageable(long);
  engine.wroteUnmanageable("d/a\nb,v");
  engine.wroteUnmanageable("d/a\nb,v.lck"); // a lock's
  match(await context.metrics.render(), /p4cache_unmanaged_long_paths_total 2\n/);
});

Deno.test("two directories that trade places leave the row whose path gets too long", async () => {
  await using sim = await openSimEngine();
  const { posix } = sim.context;
  const other = parseDepotPath("e".repeat(200));
  posix.makeDirs(`/depot/d/${DEEP}`, 0o755);
  posix.makeDirs(`/depot/${other}`, 0o755);
  await sim.write(LONG, 10);
  await sim.write(SHORT, 10);
  await sim.write(`${other}/b,v`, 20);
  await sim.clock.advance(120_000);
  const { ino } = posix.lstat("/depot/d")!;
  const { ino: otherIno } = posix.lstat(`/depot/${other}`)!;
  posix.rename("/depot/d", "/depot/between");
  posix.rename(`/depot/${other}`, "/depot/d");
  posix.rename("/depot/between", `/depot/${other}`);
  const d = parseDepotPath("d");
  const told = { what: "directory", writerUid: 0 } as const;
  await sim.engine.renamed({ ...told, from: d, to: other, ino });
  await sim.engine.renamed({ ...told, from: other, to: d, ino: otherIno });
  deepStrictEqual(
    sim.manifest.paths(null, 10),
    ["d/b,v", LONG, `${other}/a,v`].sort(),
  );
  await sim.clock.advance(20_000);
  strictEqual(await sim.read(LONG), "cold");
});
