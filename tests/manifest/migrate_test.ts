import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { type DepotPath, objectKeyOf, parseDepotPath } from "../../src/core/names.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { encodeRow } from "../../src/manifest/file_entry_codec.ts";
import type { KeyValueStore, Write } from "../../src/manifest/key_value.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { FileState } from "../../src/manifest/manifest.ts";
import { migrateFromSchema1 } from "../../src/manifest/migrate.ts";
import { NO_FLAGS, type Row } from "../../src/manifest/row.ts";
import { metaWrite } from "../../src/manifest/schema.ts";

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
  const faults = [];
  for await (const fault of checkManifest(directory)) faults.push(fault);
  deepStrictEqual(faults, []);
}

Deno.test("a manifest of schema 1, with rows of every older version, is brought over", () =>
  inDirectory(checkMigrated));

Deno.test("a migration that stops after any step goes on where it was", () =>
  inDirectory(async (directory) => {
    for (let commits = 1; commits <= 2; commits++) {
      const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
      let left = commits;
      const failing: KeyValueStore = {
        get: (table, key) => store.get(table, key),
        keys: (table, range) => store.keys(table, range),
        read: (table, key, decode) => store.read(table, key, decode),
        range: (table, range) => store.range(table, range),
        snapshot: () => store.snapshot(),
        close: () => store.close(),
        commit: (writes) =>
          left-- > 0 ? store.commit(writes) : Promise.reject(new Error("stopped")),
      };
      if (commits === 1) await rejects(migrateFromSchema1(failing), /stopped/);
      else await migrateFromSchema1(failing);
      await store.close();
    }
    await checkMigrated(directory);
  }));

Deno.test("a reader refuses schema 1 and says who brings it over", () =>
  inDirectory(async (directory) => {
    await rejects(openManifest({ directory, readOnly: true }), {
      fault: "unavailable",
      message: /start it first/,
    });
  }));
