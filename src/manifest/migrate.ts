/**
 * Brings a manifest of an older schema to this one; the schema version changes last.
 *
 * From schema 1: rows of the systems before this one get an id and their place in the
 * indexes. A step is one commit, and says how far it came, so that a migration that was
 * stopped goes on there. From schema 2: entries that rows and tombstones lack are added. What
 * is there is passed over, so that one that was stopped begins again.
 *
 * @module
 */

import { bytesOf, type DepotPath, isPlainPath } from "../core/names.ts";
import { nextTurn } from "../core/turns.ts";
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

/** In `meta` while a migration is under way: the last path that was brought over. */
const PROGRESS = "migration_after";

type Numbers = { -readonly [K in keyof Ledger]: number };

/** Keys alone are read: most of them need no more. */
const KEYS_PER_STEP = 1_024;

/** @throws {ManifestError} `damaged` for a row that no version can read; nothing is lost. */
export async function migrate(store: KeyValueStore, from: number): Promise<void> {
  if (from < 2) await migrateFromSchema1(store);
  await migrateFromSchema2(store);
}

async function migrateFromSchema1(store: KeyValueStore): Promise<void> {
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
  writes.put("files_by_path", path, encodeRow(path, row));
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

async function migrateFromSchema2(store: KeyValueStore): Promise<void> {
  await addRowsElsewhere(store);
  await addTombstonesByKey(store);
  await store.commit([metaWrite("schema_version", String(SCHEMA_VERSION))]);
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

/** Those of `additions` that are not there, and what they add to the sum, in one commit. */
async function addMissing(
  store: KeyValueStore,
  additions: readonly Addition[],
): Promise<void> {
  const missing = additions.filter(({ table, key }) => store.get(table, key) === null);
  if (missing.length === 0) return;
  const ledgerText = textOf(store, "counters");
  if (ledgerText === null) throw damaged("The manifest's table meta");
  const ledger = decoded(() => "The manifest's counters", () => decodeLedger(ledgerText));
  const writes = new WriteList(ledger.contentSum);
  for (const { table, key, value } of missing) writes.put(table, key, value);
  const counters = encodeLedger({ ...ledger, contentSum: writes.contentSum });
  await store.commit([...writes.all(), metaWrite("counters", counters)]);
}
