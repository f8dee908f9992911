/**
 * Manifests as older schemas left them, made from one of this schema.
 *
 * @module
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { open } from "lmdb";
import {
  type DepotPath,
  type ObjectKey,
  objectKeyOf,
  parseDepotPath,
  textOfBytes,
} from "../../src/core/names.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { entryCrc32 } from "../../src/manifest/crc32c.ts";
import { encodeRow } from "../../src/manifest/file_entry_codec.ts";
import type { KeyValueStore, TableName, Write } from "../../src/manifest/key_value.ts";
import { decodeLedger, decodeMeta, encodeLedger } from "../../src/manifest/ledger.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { FileState, Manifest } from "../../src/manifest/manifest.ts";
import { PAGE_BYTES } from "../../src/manifest/page_file.ts";
import { rangeOfPrefix } from "../../src/manifest/reader.ts";
import { NO_FLAGS, type Row } from "../../src/manifest/row.ts";
import { metaWrite } from "../../src/manifest/schema.ts";
import { WriteList } from "../../src/manifest/write_list.ts";

export const ALL_ENTRIES = { from: "", before: null, limit: 10_000 };

/** As schema 3 left it: with each row under its path, and without the table of rows. */
export async function asSchema3(directory: string, version = "3"): Promise<void> {
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
  const ledger = decodeLedger(decodeMeta("counters", store.get("meta", "counters")!));
  const writes = new WriteList(ledger);
  for (const { key, value } of store.range("files_by_path", ALL_ENTRIES)) {
    const id = textOfBytes(value);
    const row = store.get("rows_by_id", id)!;
    writes.replace("files_by_path", key, {
      before: entryCrc32(key, value),
      now: { bytes: row, sum: entryCrc32(key, row) },
    });
    writes.remove("rows_by_id", id, row);
  }
  await store.commit([
    ...writes.all(),
    metaWrite("counters", encodeLedger({ ...ledger, ...writes.sums })),
    metaWrite("schema_version", version),
  ]);
  await store.close();
  await dropTable(directory, "rows_by_id");
}

export async function dropTable(directory: string, name: TableName): Promise<void> {
  const root = open({
    path: directory,
    noSubdir: false,
    pageSize: PAGE_BYTES,
    maxDbs: 20,
    // It is written down in the file, and no manifest has it.
    overlappingSync: false,
  });
  await root.openDB(name, { encoding: "binary" }).drop();
  await root.close();
}

export const COUNT = 700;
export const UNKNOWN = {
  mtimeNs: 0n,
  ctimeNs: 0n,
  mode: 0,
  uid: 0,
  gid: 0,
  ino: 0n,
  dev: 0n,
};

export function pathAt(index: number): DepotPath {
  return parseDepotPath(`d/${String(index).padStart(5, "0")},v`);
}

export function oldRow(index: number): Row {
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

/** Of {@linkcode COUNT} rows of schema 1. */
export async function makeSchema1(directory: string): Promise<void> {
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

/** `store`, whose commits fail after so many. */
export function stoppingAfter(store: KeyValueStore, commits: number): KeyValueStore {
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

export function adopt(
  manifest: Manifest,
  path: DepotPath,
  key: ObjectKey,
): Promise<unknown> {
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
export async function asSchema2(directory: string, prefix: string): Promise<void> {
  await removeEntries(directory, prefix);
  await asSchema3(directory, "2");
  await dropTable(directory, "tombstones_by_key");
}

/** Takes away the entry of `keys_elsewhere` with the prefix, and all of `tombstones_by_key`. */
export async function removeEntries(directory: string, prefix: string): Promise<void> {
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
  const ledger = decodeLedger(decodeMeta("counters", store.get("meta", "counters")!));
  const writes = new WriteList(ledger);
  const elsewhere = store.range("keys_elsewhere", rangeOfPrefix(prefix, 10));
  strictEqual(elsewhere.length, 1);
  for (const { key, value } of elsewhere) writes.remove("keys_elsewhere", key, value);
  for (const { key, value } of store.range("tombstones_by_key", ALL_ENTRIES)) {
    writes.remove("tombstones_by_key", key, value);
  }
  await store.commit([
    ...writes.all(),
    metaWrite("counters", encodeLedger({ ...ledger, ...writes.sums })),
  ]);
  await store.close();
}

export async function expectNoFaults(directory: string): Promise<void> {
  const faults = [];
  for await (const fault of checkManifest(directory)) faults.push(fault);
  deepStrictEqual(faults, []);
}

/** What {@linkcode makeSchema1} made, brought over. */
export async function expectSchema1(directory: string): Promise<void> {
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
