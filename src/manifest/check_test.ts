import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { bytesOf, parseDepotPath } from "../core/names.ts";
import { u64Key } from "./byte_keys.ts";
import { tableFaults } from "./check.ts";
import type { LocalStat } from "./manifest.ts";
import { ManifestStore } from "./manifest_store.ts";
import { MemKeyValue } from "./mem_key_value.ts";
import { firstWrites } from "./schema.ts";

const STAT: LocalStat = {
  sizeBytes: 100,
  mtimeNs: 1n,
  ctimeNs: 2n,
  mode: 0o444,
  uid: 1,
  gid: 2,
  ino: 3n,
  dev: 4n,
};

const A = parseDepotPath("d/a,v");
const B = parseDepotPath("d/b,v");
const ID_A = u64Key(1);
const ID_B = u64Key(2);

/** Two files that wait to be uploaded. */
async function twoFiles(): Promise<{ tables: MemKeyValue; manifest: ManifestStore }> {
  const tables = new MemKeyValue();
  await tables.commit(firstWrites());
  const manifest = new ManifestStore({
    store: tables,
    clock: SYSTEM_CLOCK,
    readOnly: false,
    backup: () => Promise.reject(new Error("not in this test")),
  });
  for (const path of [A, B]) {
    await manifest.apply(path, "absent", { kind: "written", stat: STAT, nowS: 1 });
  }
  return { tables, manifest };
}

/** The tables that have faults, but for the sums and counters in `meta`. */
async function faultyTables(tables: MemKeyValue): Promise<string[]> {
  const found = new Set<string>();
  for await (const { where } of tableFaults(tables)) found.add(where);
  found.delete("meta");
  return [...found].sort();
}

Deno.test("tables that nobody touched have no faults", async () => {
  const { tables } = await twoFiles();
  for await (const fault of tableFaults(tables)) throw new Error(fault.what);
});

Deno.test("a path whose row is not there is damage, and not a file that nobody knows", async () => {
  const { tables, manifest } = await twoFiles();
  await tables.commit([{ table: "rows_by_id", key: ID_A, value: null }]);
  const damage = { fault: "damaged", message: /rows_by_id.*d\/a,v/ };
  throws(() => manifest.get(A), damage);
  throws(() => manifest.entries("", null, 10), damage);
  strictEqual(manifest.glance(A, STAT), "other");
  deepStrictEqual(await faultyTables(tables), [
    "dirty_queue",
    "dirty_since",
    "files_by_path",
    "paths_by_id",
  ]);
});

Deno.test("a path that leads to another file's row is damage", async () => {
  const { tables, manifest } = await twoFiles();
  await tables.commit([{ table: "files_by_path", key: A, value: bytesOf(ID_B) }]);
  throws(() => manifest.get(A), { fault: "damaged", message: /row of "d\/a,v"/ });
  strictEqual(manifest.get(B)!.state, "dirty");
  deepStrictEqual(await faultyTables(tables), ["files_by_path"]);
});

Deno.test("a path that leads nowhere is damage", async () => {
  const { tables, manifest } = await twoFiles();
  await tables.commit([{ table: "files_by_path", key: A, value: Uint8Array.of(1) }]);
  throws(() => manifest.get(A), { fault: "damaged", message: /files_by_path/ });
  deepStrictEqual(await faultyTables(tables), ["files_by_path"]);
});

Deno.test("a row that no path leads to, and one under another id, are told", async () => {
  const { tables } = await twoFiles();
  await tables.commit([{ table: "files_by_path", key: A, value: null }]);
  deepStrictEqual(await faultyTables(tables), ["files_by_path"]);
  await tables.commit([
    { table: "files_by_path", key: A, value: bytesOf(ID_A) },
    { table: "paths_by_id", key: u64Key(9), value: bytesOf(A) },
    { table: "rows_by_id", key: u64Key(9), value: tables.get("rows_by_id", ID_A)! },
  ]);
  deepStrictEqual(await faultyTables(tables), ["paths_by_id", "rows_by_id"]);
});

Deno.test("a row whose path is not kept is told", async () => {
  const { tables } = await twoFiles();
  await tables.commit([{ table: "paths_by_id", key: ID_A, value: null }]);
  deepStrictEqual(await faultyTables(tables), [
    "dirty_queue",
    "dirty_since",
    "files_by_path",
    "rows_by_id",
  ]);
});
