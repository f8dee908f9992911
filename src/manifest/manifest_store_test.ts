import { deepStrictEqual, rejects, strictEqual, throws } from "node:assert/strict";
import { InvariantError } from "../core/assert.ts";
import {
  type DepotPath,
  objectKeyOf,
  parseDepotPath,
  PATH_BYTES_MAX,
} from "../core/names.ts";
import type { LocalStat, Manifest, StoredVersion } from "./manifest.ts";
import { ManifestStore } from "./manifest_store.ts";
import { MemKeyValue } from "./mem_key_value.ts";
import { openMemManifest } from "./mem_manifest.ts";
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

function versionAt(key: string): StoredVersion {
  return {
    key: objectKeyOf(key),
    hash: "ab".repeat(32),
    sizeBytes: 100,
    mtimeNs: 1n,
    versionId: null,
  };
}

async function write(manifest: Manifest, path: DepotPath, nowS = 1000): Promise<void> {
  await manifest.apply(path, "any", { kind: "written", stat: STAT, nowS });
}

/** Writes and uploads `path` under `key`. */
async function store(manifest: Manifest, path: DepotPath, key: string): Promise<void> {
  await write(manifest, path);
  await manifest.apply(path, "any", { kind: "upload-started" });
  await manifest.apply(path, "any", {
    kind: "uploaded",
    stored: versionAt(key),
    stat: STAT,
    nowMs: 1_000_000,
  });
}

async function remove(
  manifest: Manifest,
  path: DepotPath,
  whiteout = false,
): Promise<void> {
  await manifest.apply(path, "any", { kind: "deleted", nowMs: 2_000_000, whiteout });
}

function dueKeys(manifest: Manifest): string[] {
  return manifest.tombstonesDue(9_000_000, 10).map(({ stored }) => stored.key);
}

Deno.test("a completion that began on a deleted row does not fit the next one", async () => {
  const manifest = await openMemManifest();
  await write(manifest, A);
  const started = await manifest.apply(A, 1, { kind: "upload-started" });
  await remove(manifest, A);
  await write(manifest, A);
  await manifest.apply(A, "any", { kind: "upload-started" });
  const late = await manifest.apply(A, started.entry!.generation, {
    kind: "uploaded",
    stored: versionAt("d/a,v"),
    stat: STAT,
    nowMs: 1,
  });
  strictEqual(late.outcome, "stale");
  strictEqual(manifest.get(A)!.state, "uploading");
});

Deno.test("an upload that ends after the file was written again changes nothing", async () => {
  const manifest = await openMemManifest();
  await write(manifest, A);
  const started = await manifest.apply(A, "any", { kind: "upload-started" });
  await write(manifest, A, 1001);
  const late = await manifest.apply(A, started.entry!.generation, {
    kind: "uploaded",
    stored: versionAt("d/a,v"),
    stat: STAT,
    nowMs: 1,
  });
  deepStrictEqual([late.outcome, manifest.get(A)!.state], ["stale", "dirty"]);
  strictEqual(manifest.dirtyDue(0, 10).length, 1);
});

Deno.test("a file that is pinned while it is uploaded is uploaded again, not forgotten", async () => {
  const manifest = await openMemManifest();
  await write(manifest, A);
  await write(manifest, B);
  const started = await manifest.apply(A, "any", { kind: "upload-started" });
  await manifest.apply(A, "any", { kind: "flagged", flags: { pinned: true } });
  const late = await manifest.apply(A, started.entry!.generation, {
    kind: "uploaded",
    stored: versionAt("d/a,v"),
    stat: STAT,
    nowMs: 1,
  });
  strictEqual(late.outcome, "stale");
  deepStrictEqual(manifest.dirtyDue(0, 10).map(({ path }) => path), [A, B]);
});

Deno.test("apply() rejects what is not legal, and the manifest goes on", async () => {
  const manifest = await openMemManifest();
  await rejects(manifest.apply(A, "any", { kind: "upload-started" }), InvariantError);
  await write(manifest, A);
  strictEqual(manifest.get(A)!.state, "dirty");
});

Deno.test("operations of one group see each other in their order", async () => {
  const manifest = await openMemManifest();
  const outcomes = await Promise.all([
    manifest.apply(A, "absent", { kind: "written", stat: STAT, nowS: 1 }),
    manifest.apply(A, "absent", { kind: "written", stat: STAT, nowS: 2 }),
    manifest.apply(A, 1, { kind: "upload-started" }),
  ]);
  deepStrictEqual(outcomes.map(({ outcome }) => outcome), [
    "applied",
    "stale",
    "applied",
  ]);
  strictEqual(manifest.get(A)!.generation, 2);
});

Deno.test("dirtyDue() takes rows in the order of their arrival", async () => {
  const manifest = await openMemManifest();
  const paths = ["z,v", "a,v", "m,v"].map(parseDepotPath);
  for (const path of paths) await write(manifest, path);
  await write(manifest, paths[0]!, 2000); // a newer write keeps the place
  deepStrictEqual(manifest.dirtyDue(0, 10).map(({ path }) => path), paths);
  deepStrictEqual(manifest.dirtyDue(0, 2).map(({ path }) => path), paths.slice(0, 2));
});

Deno.test("a row that failed is due at its deadline, and retryNow() makes it due", async () => {
  const manifest = await openMemManifest();
  await write(manifest, A);
  await manifest.apply(A, "any", { kind: "upload-started" });
  await manifest.apply(A, "any", { kind: "upload-failed", retryAtMs: 5_000_000 });
  strictEqual(manifest.nextRetryAtMs(), 5_000_000);
  strictEqual(manifest.dirtyDue(4_999_999, 10).length, 0);
  strictEqual(manifest.dirtyDue(5_000_000, 10).length, 1);
  await manifest.retryNow();
  strictEqual(manifest.nextRetryAtMs(), null);
  strictEqual(manifest.dirtyDue(0, 10).length, 1);
  strictEqual(manifest.oldestDirtyAtMs(), 1_000_000);
});

Deno.test("a failing row does not hold up those behind it", async () => {
  let nowMs = 2_000_000;
  const manifest = await openMemManifest({
    clock: {
      nowMs: () => nowMs,
      monotonicMs: () => 0,
      sleep: () => Promise.resolve(),
    },
  });
  await write(manifest, A);
  await write(manifest, B);
  await manifest.apply(A, "any", { kind: "upload-started" });
  nowMs = 3_000_000;
  await manifest.apply(A, "any", { kind: "upload-failed", retryAtMs: null });
  deepStrictEqual(manifest.dirtyDue(nowMs, 10).map(({ path }) => path), [B, A]);
});

Deno.test("rows that somebody must decide about are listed and not due", async () => {
  const manifest = await openMemManifest();
  await write(manifest, A);
  await write(manifest, B);
  await manifest.apply(A, "any", { kind: "flagged", flags: { foreign: true } });
  await manifest.apply(B, "any", { kind: "flagged", flags: { conflict: true } });
  strictEqual(manifest.dirtyDue(0, 10).length, 0);
  const [first] = manifest.conflicts(null, 1);
  strictEqual(first!.path, A);
  deepStrictEqual(manifest.conflicts(first!, 10).map(({ path }) => path), [B]);
  strictEqual(manifest.counters().conflicts, 2);
  await manifest.apply(A, "any", { kind: "flagged", flags: { foreign: false } });
  deepStrictEqual(manifest.dirtyDue(0, 10).map(({ path }) => path), [A]);
});

Deno.test("leastRecentlyUsed() goes on after a row that has changed meanwhile", async () => {
  const manifest = await openMemManifest();
  const paths = ["1,v", "2,v", "3,v", "4,v"].map(parseDepotPath);
  for (const path of paths) await store(manifest, path, path);
  const page = manifest.leastRecentlyUsed(2);
  deepStrictEqual(page.map(({ path }) => path), paths.slice(0, 2));
  await manifest.apply(paths[1]!, "any", { kind: "evicted", marker: STAT });
  await manifest.accessed(new Map([[paths[0]!, 5000]]));
  const next = manifest.leastRecentlyUsed(10, page.at(-1)!);
  deepStrictEqual(next.map(({ path }) => path), [paths[2], paths[3], paths[0]]);
});

Deno.test("accessed() moves a row in the order of use, and keeps its generation", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, A);
  await store(manifest, B, B);
  const { generation } = manifest.get(A)!;
  await manifest.accessed(new Map([[A, 9000], [parseDepotPath("none,v"), 9000]]));
  await manifest.accessed(new Map([[A, 8000]]));
  strictEqual(manifest.get(A)!.lastAccessS, 9000);
  strictEqual(manifest.get(A)!.generation, generation);
  deepStrictEqual(manifest.leastRecentlyUsed(10).map(({ path }) => path), [B, A]);
});

Deno.test("a long list of accesses is held back: no commit has all of it", async () => {
  const tables = new MemKeyValue();
  await tables.commit(firstWrites());
  let largest = 0;
  const manifest = new ManifestStore({
    store: {
      get: (table, key) => tables.get(table, key),
      read: (table, key, decode) => tables.read(table, key, decode),
      keys: (table, range) => tables.keys(table, range),
      range: (table, range) => tables.range(table, range),
      sealedRow: () => null,
      snapshot: () => tables.snapshot(),
      count: (table) => tables.count(table),
      close: () => tables.close(),
      commit: (writes) => {
        const rows = writes.filter(({ table }) => table === "rows_by_id").length;
        largest = Math.max(largest, rows);
        return tables.commit(writes);
      },
    },
    // Composing takes no time, so that nothing else limits a group.
    clock: { nowMs: () => 1, monotonicMs: () => 1, sleep: () => Promise.resolve() },
    readOnly: false,
    backup: () => Promise.resolve(),
  });
  const batch = new Map<DepotPath, number>();
  for (let i = 0; i < 2_000; i++) {
    const path = parseDepotPath(`d/${i},v`);
    batch.set(path, 1_000 + i);
    await manifest.apply(path, "absent", { kind: "written", stat: STAT, nowS: 1 });
  }
  await manifest.accessed(batch);
  strictEqual(manifest.get(parseDepotPath("d/1999,v"))!.lastAccessS, 2_999);
  strictEqual(largest, 512);
});

Deno.test("move() keeps the stored version, and what stood at the target is a tombstone", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await store(manifest, B, "d/b,v");
  const { generation } = manifest.get(B)!;
  await manifest.move(A, B, 2_000_000);
  strictEqual(manifest.get(A), null);
  strictEqual(manifest.get(B)!.stored!.key, "d/a,v");
  strictEqual(manifest.get(B)!.generation > generation, true);
  deepStrictEqual(manifest.tombstonesOf(B).map(({ stored }) => stored.key), ["d/b,v"]);
  const absent = await manifest.move(A, B, 3_000_000);
  deepStrictEqual(absent, { outcome: "stale", entry: null });
  strictEqual(manifest.get(B)!.stored!.key, "d/a,v");
});

Deno.test("move() takes an upload that runs back into the queue", async () => {
  const manifest = await openMemManifest();
  await write(manifest, A);
  await manifest.apply(A, "any", { kind: "upload-started" });
  await manifest.move(A, B, 2_000_000);
  deepStrictEqual(manifest.dirtyDue(0, 10).map(({ path }) => path), [B]);
});

Deno.test("moveTree() moves what was changed just before, in the same commit", async () => {
  const manifest = await openMemManifest();
  const written = manifest.apply(parseDepotPath("d/a"), "absent", {
    kind: "written",
    stat: STAT,
    nowS: 1,
  });
  const moved = manifest.moveTree(parseDepotPath("d"), parseDepotPath("e"), 1);
  await written;
  strictEqual((await moved).movedCount, 1);
  strictEqual(manifest.get(parseDepotPath("d/a")), null);
  strictEqual(manifest.get(parseDepotPath("e/a"))?.state, "dirty");
  await manifest.close();
});

Deno.test("moveTree() moves each row below the directory, and no other", async () => {
  const manifest = await openMemManifest();
  const names = Array.from({ length: 600 }, (_, i) => `d/sub/${i},v`);
  const others = ["d/sub,v", "d/sub2/a,v"].map(parseDepotPath);
  await Promise.all(
    [...names.map(parseDepotPath), ...others].map((path) => write(manifest, path)),
  );
  const from = parseDepotPath("d/sub");
  const moved = await manifest.moveTree(from, parseDepotPath("e/new"), 1);
  deepStrictEqual(moved, { movedCount: 600, left: [] });
  strictEqual(manifest.entries("d/sub/", null, 10).length, 0);
  strictEqual(manifest.entries("e/new/", null, 1000).length, 600);
  for (const path of others) strictEqual(manifest.get(path)!.state, "dirty");
  deepStrictEqual(manifest.counters(), (await manifest.recount()).counted);
});

Deno.test("moveTree() leaves the rows whose paths would be too long, and moves all others", async () => {
  const manifest = await openMemManifest();
  const long = `d/${"x".repeat(PATH_BYTES_MAX - 100)}`;
  // More than one step has, first, last and in between.
  const stay = Array.from({ length: 300 }, (_, i) => parseDepotPath(`${long}${i},v`));
  const move = Array.from({ length: 300 }, (_, i) => `d/${"axz"[i % 3]}${i},v`)
    .map(parseDepotPath);
  await Promise.all([...stay, ...move].map((path) => write(manifest, path)));
  const to = parseDepotPath("e".repeat(100));
  const moved = await manifest.moveTree(parseDepotPath("d"), to, 1);
  deepStrictEqual(moved, { movedCount: 300, left: stay.toSorted() });
  deepStrictEqual(
    manifest.paths(null, 1_000),
    [
      ...stay,
      ...move.map((path) => parseDepotPath(`${to}${path.slice(1)}`)),
    ].sort(),
  );
  deepStrictEqual(manifest.counters(), (await manifest.recount()).counted);
});

Deno.test("the object of a moved file is not due while its row is there", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await manifest.move(A, B, 1_500_000);
  await store(manifest, A, "d/a,v"); // the same content again: the same object
  await remove(manifest, A);
  deepStrictEqual(dueKeys(manifest), []);
  await remove(manifest, B);
  deepStrictEqual([...new Set(dueKeys(manifest))], ["d/a,v"]);
});

for (
  const { what, first, then, key } of [
    {
      what: "in UTF-8 and latin-1",
      first: "d/\xc3\xa9,v",
      then: "d/\xe9,v",
      key: "d/é,v",
    },
    {
      what: "that look like a later version's key",
      first: "d/a,v",
      then: "d/a,v.p4cv-0123456789abcdef",
      key: "d/a,v.p4cv-0123456789abcdef",
    },
    {
      what: "that look like a percent-encoded key",
      first: "d/\xe9,v",
      then: ".p4cache-bytes/d/%E9,v",
      key: ".p4cache-bytes/d/%E9,v",
    },
  ]
) {
  Deno.test(`a row names its object whatever its path looks like: names ${what}`, async () => {
    const manifest = await openMemManifest();
    const [from, to] = [parseDepotPath(first), parseDepotPath(then)];
    await store(manifest, from, key);
    await manifest.move(from, to, 1_500_000);
    strictEqual(manifest.isNamed(objectKeyOf(key)), true);
    await store(manifest, from, key);
    const named = manifest.rowsNaming(objectKeyOf(key)).map(({ path }) => path);
    deepStrictEqual(named.sort(), [from, to].sort());
    await remove(manifest, from);
    deepStrictEqual(manifest.rowsNaming(objectKeyOf(key)), [
      { path: to, entry: manifest.get(to) },
    ]);
    deepStrictEqual(dueKeys(manifest), []);
    await remove(manifest, to);
    strictEqual(manifest.isNamed(objectKeyOf(key)), false);
    deepStrictEqual(dueKeys(manifest), [key, key]);
    deepStrictEqual(manifest.rowsNaming(objectKeyOf(key)), []);
    const buried = manifest.tombstonesNaming(objectKeyOf(key));
    deepStrictEqual(buried.map(({ path }) => path), [from, to]);
  });
}

Deno.test("an object that became current again is not due", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await store(manifest, A, "d/a,v.p4cv-0011223344556677");
  deepStrictEqual(dueKeys(manifest), ["d/a,v"]);
  await store(manifest, A, "d/a,v");
  deepStrictEqual(dueKeys(manifest), ["d/a,v.p4cv-0011223344556677"]);
  await remove(manifest, A);
  await store(manifest, A, "d/a,v");
  deepStrictEqual(dueKeys(manifest), ["d/a,v.p4cv-0011223344556677"]);
});

Deno.test("tombstonesDue() leaves out those that are too young", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await remove(manifest, A);
  strictEqual(manifest.tombstonesDue(1_999_999, 10).length, 0);
  strictEqual(manifest.tombstonesDue(2_000_000, 10).length, 1);
});

Deno.test("an object goes when the last of its tombstones is old enough, whatever their paths", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await manifest.move(A, B, 1_500_000);
  await remove(manifest, B);
  await store(manifest, A, "d/a,v");
  await manifest.apply(A, "any", { kind: "deleted", nowMs: 5_000_000, whiteout: false });
  deepStrictEqual(manifest.tombstonesDue(2_000_000, 10), []);
  deepStrictEqual(manifest.tombstonesDue(4_999_999, 10), []);
  const due = manifest.tombstonesDue(5_000_000, 10);
  deepStrictEqual(due.map(({ path }) => path), [B, A]);
  for (const tombstone of due) await manifest.tombstoneRemoved(tombstone);
  strictEqual(manifest.isBuried(objectKeyOf("d/a,v")), false);
  strictEqual(manifest.counters().tombstones, 0);
});

Deno.test("a younger tombstone whose object is not in the primary holds nothing back", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await remove(manifest, A);
  await manifest.apply(B, "absent", {
    kind: "adopted",
    stored: versionAt("d/a,v"),
    stat: STAT,
    resident: false,
    flags: { borrowed: true },
    nowS: 1,
  });
  await manifest.apply(B, "any", { kind: "deleted", nowMs: 5_000_000, whiteout: false });
  deepStrictEqual(manifest.tombstonesDue(2_000_000, 10).map(({ path }) => path), [A]);
});

for (const key of ["d/a,v", "d/a,v.p4cv-0123456789abcdef"]) {
  Deno.test(`hasVersionOf() knows a renamed file, and a deleted one, by the name before: ${key}`, async () => {
    const manifest = await openMemManifest();
    const [first, other] = [objectKeyOf("d/a,v"), objectKeyOf("d/b,v")];
    // Its key begins as a version of the first one does.
    await store(manifest, B, "d/a,v.p4cv-other,v");
    strictEqual(manifest.hasVersionOf(first), false);
    const path = parseDepotPath("d/c,v");
    await store(manifest, A, key);
    await manifest.move(A, path, 1_500_000);
    deepStrictEqual([first, other].map((one) => manifest.hasVersionOf(one)), [
      true,
      false,
    ]);
    await remove(manifest, path);
    strictEqual(manifest.isNamed(first), false);
    deepStrictEqual([first, other].map((one) => manifest.hasVersionOf(one)), [
      true,
      false,
    ]);
    deepStrictEqual([first, objectKeyOf(key)].map((one) => manifest.isBuried(one)), [
      key === first,
      true,
    ]);
    await manifest.undelete(path, 3_000);
    deepStrictEqual([manifest.isBuried(objectKeyOf(key)), manifest.hasVersionOf(first)], [
      false,
      true,
    ]);
    await remove(manifest, path);
    for (const due of manifest.tombstonesDue(9_000_000, 10)) {
      await manifest.tombstoneRemoved(due);
    }
    strictEqual(manifest.hasVersionOf(first), false);
    deepStrictEqual(manifest.counters(), (await manifest.recount()).counted);
  });
}

Deno.test("tombstonesDue() looks past those that a row names", async () => {
  const manifest = await openMemManifest();
  for (let i = 0; i < 5; i++) {
    const from = parseDepotPath(`m/${i},v`);
    await store(manifest, from, from);
    await manifest.move(from, parseDepotPath(`n/${i},v`), 1_500_000);
    await store(manifest, from, from);
    await remove(manifest, from);
  }
  await store(manifest, A, "d/a,v");
  await remove(manifest, A);
  deepStrictEqual(manifest.tombstonesDue(9_000_000, 1).map(({ path }) => path), [A]);
});

Deno.test("isDue() is what tombstonesDue() says, wherever in the order it is", async () => {
  const manifest = await openMemManifest();
  for (let i = 0; i < 9; i++) {
    const path = parseDepotPath(`m/${i},v`);
    await store(manifest, path, path);
    await remove(manifest, path);
  }
  const due = manifest.tombstonesDue(9_000_000, 10);
  const areDue = (beforeMs: number): boolean[] =>
    due.map((one) => manifest.isDue(one, beforeMs));
  strictEqual(due.length, 9);
  deepStrictEqual(areDue(9_000_000), due.map(() => true));
  deepStrictEqual(areDue(due[0]!.atMs - 1), due.map(() => false));
  await manifest.tombstoneRemoved(due[3]!);
  await manifest.undelete(due[5]!.path, 9);
  deepStrictEqual(areDue(9_000_000), due.map((_, i) => i !== 3 && i !== 5));
  await manifest.postponeTombstones(8_000_000);
  deepStrictEqual(areDue(9_000_000), due.map(() => false));
});

Deno.test("a whiteout stays after its object is removed, everything else goes", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await store(manifest, B, "d/b,v");
  await remove(manifest, A, true);
  await remove(manifest, B);
  for (const tombstone of manifest.tombstonesDue(9_000_000, 10)) {
    await manifest.tombstoneRemoved(tombstone);
  }
  strictEqual(manifest.tombstonesDue(9_000_000, 10).length, 0);
  deepStrictEqual(manifest.tombstonesOf(B), []);
  const [whiteout] = manifest.tombstonesOf(A);
  deepStrictEqual([whiteout!.whiteout, whiteout!.removed], [true, true]);
  strictEqual(await manifest.undelete(A, 3000), null);
});

Deno.test("whiteouts of one path do not pile up", async () => {
  const manifest = await openMemManifest();
  for (let i = 0; i < 3; i++) {
    await store(manifest, A, `d/a,v.p4cv-000000000000000${i}`);
    await remove(manifest, A, true);
    const [due] = manifest.tombstonesDue(9_000_000, 10);
    await manifest.tombstoneRemoved(due!);
  }
  strictEqual(manifest.tombstonesOf(A).length, 1);
  strictEqual(manifest.counters().tombstones, 1);
});

Deno.test("a whiteout stays for each name that stores may have the object under", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await manifest.move(A, B, 1_500_000);
  await remove(manifest, B, true);
  await store(manifest, B, "d/b,v");
  await remove(manifest, B, true);
  for (const due of manifest.tombstonesDue(9_000_000, 10)) {
    await manifest.tombstoneRemoved(due);
  }
  strictEqual(manifest.tombstonesOf(B).length, 2);
  strictEqual(manifest.hasVersionOf(objectKeyOf("d/a,v")), true);
});

Deno.test("undelete() makes the newest deleted version the row again, evicted", async () => {
  const manifest = await openMemManifest();
  await store(manifest, A, "d/a,v");
  await remove(manifest, A);
  await store(manifest, A, "d/a,v.p4cv-0011223344556677");
  strictEqual(await manifest.undelete(A, 3000), null); // the path has a row
  await remove(manifest, A);
  const entry = await manifest.undelete(A, 3000);
  strictEqual(entry!.stored!.key, "d/a,v.p4cv-0011223344556677");
  deepStrictEqual([entry!.state, entry!.resident], ["clean", false]);
  deepStrictEqual(dueKeys(manifest), ["d/a,v"]);
});

Deno.test("entries() pages through a prefix in byte order", async () => {
  const manifest = await openMemManifest();
  const paths = ["d", "d/\xff,v", "d/a,v", "d0,v", "e/x,v"].map(parseDepotPath);
  for (const path of paths) await write(manifest, path);
  const first = manifest.entries("d/", null, 1);
  deepStrictEqual(first.map(({ path }) => path), ["d/a,v"]);
  const rest = manifest.entries("d/", first[0]!.path, 10);
  deepStrictEqual(rest.map(({ path }) => path), ["d/\xff,v"]);
  strictEqual(manifest.entries("", null, 10).length, 5);
});

Deno.test("a path of 3,900 bytes has a row and a tombstone", async () => {
  const manifest = await openMemManifest();
  const path = parseDepotPath("x".repeat(3_900));
  await store(manifest, path, ".p4cache-long/00");
  await remove(manifest, path);
  strictEqual(manifest.tombstonesOf(path).length, 1);
});

Deno.test("meta values come back, and others do not change them", async () => {
  const manifest = await openMemManifest();
  strictEqual(manifest.meta("instance_id"), null);
  await manifest.setMeta("instance_id", "é-1");
  await write(manifest, A);
  strictEqual(manifest.meta("instance_id"), "é-1");
});

Deno.test("nothing may be asked of a closed manifest", async () => {
  const manifest = await openMemManifest();
  const under = write(manifest, A);
  await manifest.close();
  await under;
  throws(() => manifest.setMeta("instance_id", "x"), InvariantError);
  await manifest.close();
});
