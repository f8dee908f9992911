import { deepStrictEqual, ok } from "node:assert/strict";
import type { Manifest, PathAndEntry } from "../manifest/manifest.ts";
import { EvictOrder } from "./evict_order.ts";

/** `r` rows were read once; the letter after is what a pass makes of it: `s` it stays. */
function rowsOf(names: readonly string[]): Pick<Manifest, "leastRecentlyUsed"> & {
  names: string[];
  asked: number;
} {
  const rows = {
    names: [...names],
    asked: 0,
    leastRecentlyUsed(limit: number, after?: PathAndEntry): PathAndEntry[] {
      rows.asked += 1;
      const from = after === undefined ? 0 : rows.names.indexOf(after.path) + 1;
      return rows.names.slice(from, from + limit).map((path) => ({
        path,
        entry: { flags: { readOnce: path.startsWith("r") } },
      })) as unknown as PathAndEntry[];
    },
  };
  return rows;
}

/** The names that a walk meets. */
function walked(order: EvictOrder, nowMs: number): string[] {
  const names: string[] = [];
  const walk = order.walk(nowMs);
  for (let batch = walk.next(); batch.length > 0; batch = walk.next()) {
    names.push(...batch.map(({ path }) => path as string));
    walk.note(batch.map(({ path }) => path[1] === "s"));
  }
  return names;
}

Deno.test("a walk begins behind the rows that stay, of those that were read once and of the others", () => {
  const rows = rowsOf(["rs1", "rs2", "rg1", "rs3", "os1", "og1", "os2"]);
  const order = new EvictOrder(rows);
  deepStrictEqual(walked(order, 0), rows.names);
  deepStrictEqual(walked(order, 1_000), ["rg1", "rs3", "og1", "os2"]);
  rows.names = ["rs1", "rs2", "rs3", "rg2", "os1", "os2", "og3"];
  deepStrictEqual(walked(order, 2_000), ["rs3", "rg2", "os2", "og3"]);
  deepStrictEqual(walked(order, 3_000), ["rg2", "og3"]);
  rows.names = ["os1", "os2", "og3"];
  deepStrictEqual(walked(order, 29_000), ["og3"]);
  deepStrictEqual(walked(order, 30_000), rows.names);
  order.forget();
  deepStrictEqual(walked(order, 30_001), rows.names);
});

Deno.test("the more rows stay, the rarer are looks at all of them", () => {
  const rows = rowsOf(Array.from({ length: 300_000 }, (_, i) => `os${i}`));
  // By position: a search for each of them would take longer than the walk.
  const names = rows.names;
  names.indexOf = (name) => Number(name.slice(2));
  const order = new EvictOrder(rows);
  const askedAt = (nowMs: number): number => {
    rows.asked = 0;
    const walk = order.walk(nowMs);
    for (let batch = walk.next(); batch.length > 0; batch = walk.next()) {
      walk.note(batch.map(() => true));
    }
    return rows.asked;
  };
  ok(askedAt(0) > 4_000);
  ok(askedAt(59_000) <= 2);
  ok(askedAt(60_000) > 4_000);
});
