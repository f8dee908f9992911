import { ok, rejects, strictEqual } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { type DepotPath, parseDepotPath } from "../core/names.ts";
import { rowLabelOf } from "./file_entry_codec.ts";
import { type LocalStat, ManifestError } from "./manifest.ts";
import { ManifestStore } from "./manifest_store.ts";
import { MemKeyValue } from "./mem_key_value.ts";
import { RecentRows } from "./recent_rows.ts";
import { type KnownRow, NO_FLAGS } from "./row.ts";
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

function knownRow(path: DepotPath, id: number): KnownRow {
  const row = {
    state: "dirty",
    resident: true,
    generation: 1,
    local: STAT,
    lastAccessS: 1,
    createdAtS: 1,
    settledAtS: 1,
    stored: null,
    flags: NO_FLAGS,
    id,
    queue: { sequence: id, dirtySinceMs: 1, queuedAtMs: 1, retryAtMs: null },
    tombstoned: false,
  } as const;
  return { row, sum: id, label: rowLabelOf(path, row) };
}

Deno.test("RecentRows keeps what was set last, and not without bound", () => {
  const recent = new RecentRows();
  const paths = Array.from({ length: 10_000 }, (_, i) => parseDepotPath(`d/${i},v`));
  for (const [i, path] of paths.entries()) {
    recent.set(path, knownRow(path, i));
    strictEqual(recent.get(path)!.row.id, i);
    const before = paths[Math.max(0, i - 1_000)]!;
    ok(recent.get(before) !== null, `${before} is forgotten at ${i}`);
  }
  const kept = paths.filter((path) => recent.get(path) !== null);
  ok(kept.length <= 2_048, `${kept.length} are kept`);
});

Deno.test("RecentRows forgets a row that went, wherever it kept it", () => {
  const recent = new RecentRows();
  recent.set(A, knownRow(A, 1));
  for (let i = 0; i < 1_500; i++) {
    recent.set(parseDepotPath(`d/${i},v`), knownRow(A, i));
    recent.set(A, knownRow(A, i));
  }
  recent.set(A, null);
  strictEqual(recent.get(A), null);
  recent.set(A, knownRow(A, 2));
  recent.clear();
  strictEqual(recent.get(A), null);
});

/** Counts how often a row is read, and fails commits while told to. */
class WatchedStore extends MemKeyValue {
  rowReads = 0;
  isBroken = false;

  override read<T>(...args: Parameters<MemKeyValue["read"]>): T | null {
    if (args[0] === "files_by_path") this.rowReads++;
    return super.read(...args) as T | null;
  }

  override commit(...args: Parameters<MemKeyValue["commit"]>): Promise<void> {
    if (!this.isBroken) return super.commit(...args);
    return Promise.reject(new ManifestError("unavailable", "no disk"));
  }
}

async function watchedStore(): Promise<WatchedStore> {
  const store = new WatchedStore();
  await store.commit(firstWrites());
  return store;
}

function openWatched(store: WatchedStore): ManifestStore {
  const backup = (): Promise<void> => Promise.reject(new Error("not in this test"));
  return new ManifestStore({ store, clock: SYSTEM_CLOCK, readOnly: false, backup });
}

Deno.test("a row that was changed lately is changed without being read", async () => {
  const store = await watchedStore();
  const manifest = openWatched(store);
  await manifest.apply(A, "any", { kind: "written", stat: STAT, nowS: 1 });
  strictEqual(store.rowReads, 1); // that there was none
  await manifest.apply(A, 1, { kind: "upload-started" });
  strictEqual(store.rowReads, 1);
});

Deno.test("a row that was listed to be uploaded is changed without being read", async () => {
  const store = await watchedStore();
  const before = openWatched(store);
  await before.apply(A, "any", { kind: "written", stat: STAT, nowS: 1 });
  const manifest = openWatched(store);
  const [due] = manifest.dirtyDue(1, 1);
  strictEqual(due!.path, A);
  const reads = store.rowReads;
  await manifest.apply(A, 1, { kind: "upload-started" });
  strictEqual(store.rowReads, reads);
});

Deno.test("after a commit that failed, what is on the disk is read again", async () => {
  const store = await watchedStore();
  const manifest = openWatched(store);
  await manifest.apply(A, "any", { kind: "written", stat: STAT, nowS: 1 });
  store.isBroken = true;
  await rejects(manifest.apply(A, 1, { kind: "upload-started" }), ManifestError);
  store.isBroken = false;
  const reads = store.rowReads;
  const { entry } = await manifest.apply(A, 1, { kind: "upload-started" });
  strictEqual(store.rowReads, reads + 1);
  strictEqual(entry!.generation, 2);
});
