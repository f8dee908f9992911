/**
 * Brings a manifest of an older schema to this one; the schema version changes last.
 *
 * From schema 1: rows of the systems before this one get an id and their place in the
 * indexes. A step is one commit, and says how far it came, so that a migration that was
 * stopped goes on there, also if a build that kept rows in `files_by_path` began it. Up to
 * schema 3: rows move out of `files_by_path`; up to schema 2: entries that rows and tombstones
 * lack are added. What is there is passed over, so that a migration that was stopped begins again.
 *
 * @module
 */

import { bytesOf, type DepotPath, isPlainPath, textOfBytes } from "../core/names.ts";
import { nextTurn } from "../core/turns.ts";
import { u64Key } from "./byte_keys.ts";
import { entryCrc32 } from "./crc32c.ts";
import { decodeRow, encodeRow } from "./file_entry_codec.ts";
import type { ByteKey, KeyValueStore, TableName, Write } from "./key_value.ts";
import {
  decodeLedger,
  decodeMeta,
  EMPTY_LEDGER,
  encodeLedger,
  type Ledger,
} from "./ledger.ts";
import { damaged, decoded, ManifestReader, tombstoneKey } from "./reader.ts";
import type { Row } from "./row.ts";
import { addRow, indexKeyOf, planIndexWrites, PRESENT } from "./row_index.ts";
import { objectEntry } from "./transaction.ts";
import { metaWrite, SCHEMA_VERSION } from "./schema.ts";
import { WriteList } from "./write_list.ts";

const ROWS_PER_STEP = 256;
const ROWS_PER_PROGRESS = 100_000;
/** Nothing is read of them but their length. */
const MOVED_PER_STEP = 1_024;

/** In `meta` while a migration is under way: the last path that was brought over. */
const PROGRESS = "migration_after";

type Numbers = { -readonly [K in keyof Ledger]: number };

/** Keys alone are read: most of them need no more. */
const KEYS_PER_STEP = 1_024;

type Progress = (rows: number) => void;

/**
 * `onProgress` is told now and then how many rows were brought over.
 *
 * @throws {ManifestError} `damaged` for a row that no version can read; nothing is lost.
 */
export async function migrate(
  store: KeyValueStore,
  from: number,
  onProgress: Progress = () => {},
): Promise<void> {
  const counted = everyStep(onProgress);
  if (from < 2) await migrateFromSchema1(store, counted);
  await moveRowsById(store, counted);
  if (from < 3) {
    await addRowsElsewhere(store);
    await addTombstonesByKey(store);
  }
  await store.commit([metaWrite("schema_version", String(SCHEMA_VERSION))]);
}

/** Told of every commit, tells of some. */
function everyStep(onProgress: Progress): Progress {
  let done = 0;
  return (rows) => {
    const before = done;
    done += rows;
    const told = Math.floor(done / ROWS_PER_PROGRESS) * ROWS_PER_PROGRESS;
    if (told > before) onProgress(told);
  };
}

async function migrateFromSchema1(
  store: KeyValueStore,
  counted: Progress,
): Promise<void> {
  let after = textOf(store, PROGRESS) ?? "";
  for (;;) {
    const from = after === "" ? "" : `${after}\0`;
    const rows = store.range("files_by_path", {
      from,
      before: null,
      limit: ROWS_PER_STEP,
    });
    const isLast = rows.length < ROWS_PER_STEP;
    const ledgerText = textOf(store, "counters");
    const numbers: Numbers = ledgerText === null
      ? { ...EMPTY_LEDGER }
      : { ...decodeLedger(ledgerText) };
    const writes = new WriteList(numbers.contentSum);
    for (const { key, value } of rows) takeRow(key as DepotPath, value, numbers, writes);
    after = rows.at(-1)?.key ?? after;
    numbers.contentSum = writes.contentSum;
    await store.commit([
      ...writes.all(),
      metaWrite("counters", encodeLedger(numbers)),
      ...progressWrites(after, isLast),
    ]);
    counted(rows.length);
    if (isLast) return;
  }
}

function textOf(store: KeyValueStore, name: string): string | null {
  const value = store.get("meta", name);
  if (value === null) return null;
  return decoded(() => `The manifest's ${name}`, () => decodeMeta(name, value));
}

function progressWrites(after: string, isLast: boolean): Write[] {
  if (!isLast) return [metaWrite(PROGRESS, after)];
  return [
    metaWrite("schema_version", "2"),
    { table: "meta", key: PROGRESS, value: null },
  ];
}

/** What stood there was in no index and in no sum. */
function takeRow(
  path: DepotPath,
  value: Uint8Array,
  numbers: Numbers,
  writes: WriteList,
): void {
  const old = decoded(
    () => `The manifest's row of ${JSON.stringify(path)}`,
    () => decodeRow(path, value, "any"),
  );
  const row = migrated(old, numbers);
  writes.put("rows_by_id", u64Key(row.id), encodeRow(path, row));
  planIndexWrites(path, { before: null, now: row }, writes);
  addRow(numbers, row, 1);
}

function migrated(old: Row, numbers: Numbers): Row {
  const isClean = old.state === "clean";
  return {
    ...old,
    // An upload that was under way in the old system is done again.
    state: isClean ? "clean" : "dirty",
    settledAtS: old.createdAtS,
    id: numbers.nextRowId++,
    queue: isClean ? null : {
      sequence: numbers.nextSequence++,
      dirtySinceMs: old.createdAtS * 1000,
      queuedAtMs: old.createdAtS * 1000,
      retryAtMs: null,
    },
  };
}

/**
 * In the order of their ids: those that came together are together in either table. The
 * bytes of a row stay what they are.
 */
async function moveRowsById(store: KeyValueStore, counted: Progress): Promise<void> {
  for (let from = "";;) {
    const range = { from, before: null, limit: MOVED_PER_STEP };
    const rows = store.range("paths_by_id", range);
    await commitSummed(store, (writes) => {
      for (const { key, value } of rows) moveRow(store, key, textOfBytes(value), writes);
    });
    counted(rows.length);
    if (rows.length < MOVED_PER_STEP) return;
    from = `${rows.at(-1)!.key}\0`;
    await nextTurn();
  }
}

function moveRow(
  store: KeyValueStore,
  id: ByteKey,
  path: string,
  writes: WriteList,
): void {
  const value = store.get("files_by_path", path);
  if (value === null) throw damaged("The manifest's table paths_by_id");
  const idBytes = bytesOf(id);
  if (value.length === idBytes.length) return;
  const before = entryCrc32(path, value);
  const now = { bytes: idBytes, sum: entryCrc32(path, idBytes) };
  writes.replace("files_by_path", path, { before, now });
  writes.put("rows_by_id", id, value);
}

async function addRowsElsewhere(store: KeyValueStore): Promise<void> {
  const reader = new ManifestReader(store);
  for (let from = "";;) {
    const paths = reader.paths({ from, before: null, limit: KEYS_PER_STEP });
    const missing: Addition[] = [];
    for (const path of paths) {
      // Of a plain path, schema 2 had told its own key from others.
      if (isPlainPath(path)) continue;
      const key = indexKeyOf("keys_elsewhere", path, reader.row(path)!);
      if (key !== null) missing.push({ table: "keys_elsewhere", key, value: PRESENT });
    }
    await addMissing(store, missing);
    if (paths.length < KEYS_PER_STEP) return;
    from = `${paths.at(-1)!}\0`;
    await nextTurn();
  }
}

async function addTombstonesByKey(store: KeyValueStore): Promise<void> {
  const reader = new ManifestReader(store);
  for (let from = "";;) {
    const some = reader.tombstones({ from, before: null, limit: ROWS_PER_STEP });
    await addMissing(
      store,
      some.map((tombstone) => ({
        table: "tombstones_by_key",
        key: objectEntry(tombstone),
        value: bytesOf(tombstone.path),
      })),
    );
    if (some.length < ROWS_PER_STEP) return;
    const { path, id } = some.at(-1)!;
    from = `${tombstoneKey(path, id)}\0`;
    await nextTurn();
  }
}

interface Addition {
  readonly table: TableName;
  readonly key: ByteKey;
  readonly value: Uint8Array;
}

/** Those of `additions` that are not there. */
async function addMissing(
  store: KeyValueStore,
  additions: readonly Addition[],
): Promise<void> {
  const missing = additions.filter(({ table, key }) => store.get(table, key) === null);
  await commitSummed(store, (writes) => {
    for (const { table, key, value } of missing) writes.put(table, key, value);
  });
}

/** What `plan` writes, and what it does to the sum of all contents, in one commit. */
async function commitSummed(
  store: KeyValueStore,
  plan: (writes: WriteList) => void,
): Promise<void> {
  const ledgerText = textOf(store, "counters");
  if (ledgerText === null) throw damaged("The manifest's table meta");
  const ledger = decoded(() => "The manifest's counters", () => decodeLedger(ledgerText));
  const writes = new WriteList(ledger.contentSum);
  plan(writes);
  if (writes.all().length === 0) return;
  const counters = encodeLedger({ ...ledger, contentSum: writes.contentSum });
  await store.commit([...writes.all(), metaWrite("counters", counters)]);
}
