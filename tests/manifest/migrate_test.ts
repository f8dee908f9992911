import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import {
  type DepotPath,
  type ObjectKey,
  objectKeyOf,
  parseDepotPath,
} from "../../src/core/names.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { encodeRow } from "../../src/manifest/file_entry_codec.ts";
import type { KeyValueStore, Write } from "../../src/manifest/key_value.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { decodeLedger, decodeMeta, encodeLedger } from "../../src/manifest/ledger.ts";
import type { FileState, Manifest } from "../../src/manifest/manifest.ts";
import { migrate } from "../../src/manifest/migrate.ts";
import { rangeOfPrefix } from "../../src/manifest/reader.ts";
import { NO_FLAGS, type Row } from "../../src/manifest/row.ts";
import { metaWrite } from "../../src/manifest/schema.ts";
import { WriteList } from "../../src/manifest/write_list.ts";
import { ALL_ENTRIES, asSchema3, dropTable } from "./older_manifests.ts";

const COUNT = 700;
const UNKNOWN = { mtimeNs: 0n, ctimeNs: 0n, mode: 0, uid: 0, gid: 0, ino: 0n, dev: 0n };

function pathAt(index: number): DepotPath {
  return parseDepotPath(`d/${String(index).padStart(5, "0")},v`);
}

function oldRow(index: number): Row {
  const state = (["clean", "clean", "dirty", "uploading"] as FileState[])[index % 4]!;
  const isClean = state === "clean";
  return {
    state,
    resident: !isClean,
    generation: 1,
    local: { ...UNKNOWN, sizeBytes: index },
    lastAccessS: 2_000 + index,
    createdAtS: 1_000 + index,
    settledAtS: 0,
    stored: {
      key: objectKeyOf(pathAt(index)),
      hash: index % 2 === 0 ? null : index.toString(16).padStart(64, "0"),
      sizeBytes: index,
      mtimeNs: 0n,
      versionId: null,
    },
    flags: NO_FLAGS,
    id: 0,
    queue: isClean
      ? null
      : { sequence: 0, dirtySinceMs: 0, queuedAtMs: 0, retryAtMs: null },
    tombstoned: false,
  };
}

/** Every third row without its version byte, as the oldest system wrote it. */
function oldBytes(index: number): Uint8Array {
  const bytes = encodeRow(pathAt(index), oldRow(index));
  if (index % 3 !== 0 || bytes[4] !== 0) return bytes;
  return Uint8Array.from([...bytes.subarray(0, 4), ...bytes.subarray(5)]);
}

async function makeOldManifest(directory: string): Promise<void> {
  await (await openManifest({ directory })).close();
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
  const rows: Write[] = Array.from({ length: COUNT }, (_, index) => ({
    table: "files_by_path",
    key: pathAt(index),
    value: oldBytes(index),
  }));
  await store.commit([
    ...rows,
    metaWrite("schema_version", "1"),
    { table: "meta", key: "counters", value: null },
  ]);
  await store.close();
}

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-migrate-" });
  try {
    await makeOldManifest(`${root}/manifest`);
    await run(`${root}/manifest`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function checkMigrated(directory: string): Promise<void> {
  const manifest = await openManifest({ directory });
  for (let index = 0; index < COUNT; index++) {
    const entry = manifest.get(pathAt(index))!;
    const old = oldRow(index);
    strictEqual(entry.state, old.state === "clean" ? "clean" : "dirty");
    strictEqual(entry.resident, old.resident);
    deepStrictEqual(entry.stored, old.stored);
    deepStrictEqual([entry.lastAccessS, entry.createdAtS], [
      old.lastAccessS,
      old.createdAtS,
    ]);
  }
  strictEqual(manifest.dirtyDue(0, 10_000).length, COUNT / 2);
  const { kept, counted } = await manifest.recount();
  deepStrictEqual(kept, counted);
  await manifest.close();
  await expectNoFaults(directory);
}

Deno.test("a manifest of schema 1, with rows of every older version, is brought over", () =>
  inDirectory(checkMigrated));

Deno.test("a migration that stops after any step goes on where it was", () =>
  inDirectory(async (directory) => {
    for (let step = 1; step <= 2; step++) {
      const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
      await rejects(migrate(stoppingAfter(store, 1), 1), /stopped/);
      await store.close();
    }
    await checkMigrated(directory);
  }));

function stoppingAfter(store: KeyValueStore, commits: number): KeyValueStore {
  let left = commits;
  return {
    get: (table, key) => store.get(table, key),
    keys: (table, range) => store.keys(table, range),
    read: (table, key, decode) => store.read(table, key, decode),
    sealedRow: (path) => store.sealedRow(path),
    range: (table, range) => store.range(table, range),
    snapshot: () => store.snapshot(),
    count: (table) => store.count(table),
    close: () => store.close(),
    commit: (writes) =>
      left-- > 0 ? store.commit(writes) : Promise.reject(new Error("stopped")),
  };
}

Deno.test("a reader refuses schema 1 and says who brings it over", () =>
  inDirectory(async (directory) => {
    await rejects(openManifest({ directory, readOnly: true }), {
      fault: "unavailable",
      message: /start it first/,
    });
  }));

Deno.test("of schema 2, rows whose path only looks like their key get their entry, and tombstones theirs", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-migrate-" });
  const directory = `${root}/manifest`;
  const [utf8, latin1] = [parseDepotPath("d/\xc3\xa9,v"), parseDepotPath("d/\xe9,v")];
  const key = objectKeyOf("d/é,v");
  try {
    const manifest = await openManifest({ directory });
    const all = Array.from({ length: COUNT }, (_, index) => index);
    await Promise.all(all.map(async (index) => {
      const path = parseDepotPath(`e/${index}\xe9,v`);
      await adopt(manifest, path, objectKeyOf(`.p4cache-bytes/e/${index}%E9,v`));
      await adopt(manifest, pathAt(index), objectKeyOf(`e/${index}é,v`));
      const deleted = { kind: "deleted", nowMs: 1, whiteout: false } as const;
      await manifest.apply(pathAt(index), "any", deleted);
    }));
    await adopt(manifest, utf8, key);
    await manifest.move(utf8, latin1, 1);
    await manifest.close();
    await asSchema2(directory, "d/\xc3\xa9,v\0");
    await rejects(openManifest({ directory, readOnly: true }), {
      fault: "unavailable",
      message: /its schema is 2, .*start it first/,
    });

    // One step further each time.
    for (let commits = 1; commits <= 3; commits++) {
      const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
      await rejects(migrate(stoppingAfter(store, 1), 2), /stopped/);
      await store.close();
    }
    const again = await openManifest({ directory });
    deepStrictEqual([again.isNamed(key), again.format().schemaVersion], [true, 4]);
    for (let index = 0; index < COUNT; index++) {
      strictEqual(again.isBuried(objectKeyOf(`e/${index}é,v`)), true);
    }
    await again.close();
    await expectNoFaults(directory);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

function adopt(manifest: Manifest, path: DepotPath, key: ObjectKey): Promise<unknown> {
  return manifest.apply(path, "absent", {
    kind: "adopted",
    stored: { key, hash: "ab".repeat(32), sizeBytes: 1, mtimeNs: 1n, versionId: null },
    stat: { ...UNKNOWN, sizeBytes: 1 },
    resident: false,
    flags: {},
    nowS: 1,
  });
}

/** As schema 2 left it: without these entries, and without the table. */
async function asSchema2(directory: string, prefix: string): Promise<void> {
  await removeEntries(directory, prefix);
  await asSchema3(directory, "2");
  await dropTable(directory, "tombstones_by_key");
}

Deno.test("rows of schema 3 are brought to a table of their own, in steps", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-migrate-" });
  const directory = `${root}/manifest`;
  const indexes = Array.from({ length: 2_500 }, (_, index) => index);
  try {
    const manifest = await openManifest({ directory });
    await Promise.all(indexes.map((index) => {
      return adopt(manifest, pathAt(index), objectKeyOf(pathAt(index)));
    }));
    const stat = { ...UNKNOWN, sizeBytes: 7 };
    await manifest.apply(pathAt(5), 1, { kind: "written", stat, nowS: 9 });
    const expected = manifest.entries("", null, 10_000).map(({ entry }) => entry);
    await manifest.close();
    await asSchema3(directory);
    await rejects(openManifest({ directory, readOnly: true }), {
      fault: "unavailable",
      message: /its schema is 3, .*start it first/,
    });

    // One step further each time; the third has moved all and not yet said so.
    for (let commits = 1; commits <= 3; commits++) {
      const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
      await rejects(migrate(stoppingAfter(store, 1), 3), /stopped/);
      const moved = store.keys("rows_by_id", ALL_ENTRIES).length;
      strictEqual(moved, Math.min(commits * 1_024, indexes.length));
      await store.close();
    }
    const again = await openManifest({ directory });
    strictEqual(again.format().schemaVersion, 4);
    const entries = again.entries("", null, 10_000);
    deepStrictEqual(entries.map(({ path }) => path), indexes.map(pathAt));
    deepStrictEqual(entries.map(({ entry }) => entry), expected);
    const { kept, counted } = await again.recount();
    deepStrictEqual(kept, counted);
    await again.close();
    await expectNoFaults(directory);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

/** Takes away the entry of `keys_elsewhere` with the prefix, and all of `tombstones_by_key`. */
async function removeEntries(directory: string, prefix: string): Promise<void> {
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
  const ledger = decodeLedger(decodeMeta("counters", store.get("meta", "counters")!));
  const writes = new WriteList(ledger.contentSum);
  const elsewhere = store.range("keys_elsewhere", rangeOfPrefix(prefix, 10));
  strictEqual(elsewhere.length, 1);
  for (const { key, value } of elsewhere) writes.remove("keys_elsewhere", key, value);
  for (const { key, value } of store.range("tombstones_by_key", ALL_ENTRIES)) {
    writes.remove("tombstones_by_key", key, value);
  }
  await store.commit([
    ...writes.all(),
    metaWrite("counters", encodeLedger({ ...ledger, contentSum: writes.contentSum })),
  ]);
  await store.close();
}

async function expectNoFaults(directory: string): Promise<void> {
  const faults = [];
  for await (const fault of checkManifest(directory)) faults.push(fault);
  deepStrictEqual(faults, []);
}

Deno.test("check-manifest tells entries by key that are missing", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-by-key-" });
  const directory = `${root}/manifest`;
  const [utf8, latin1] = [parseDepotPath("d/\xc3\xa9,v"), parseDepotPath("d/\xe9,v")];
  try {
    const manifest = await openManifest({ directory });
    await adopt(manifest, utf8, objectKeyOf("d/é,v"));
    await manifest.move(utf8, latin1, 1);
    await adopt(manifest, pathAt(1), objectKeyOf(pathAt(1)));
    const deleted = { kind: "deleted", nowMs: 1, whiteout: false } as const;
    await manifest.apply(pathAt(1), "any", deleted);
    await manifest.close();
    await expectNoFaults(directory);
    await removeEntries(directory, "d/\xc3\xa9,v\0");
    const places = [];
    for await (const { where } of checkManifest(directory)) places.push(where);
    deepStrictEqual(places, ["keys_elsewhere", "tombstones_by_key"]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
