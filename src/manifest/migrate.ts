/**
 * Brings a manifest of schema 1 to schema 2: rows of the systems before this one get an
 * id and their place in the indexes. A step is one commit, and says how far it came, so
 * that a migration that was stopped goes on there; the schema version changes last.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import { decodeRow, encodeRow } from "./file_entry_codec.ts";
import type { KeyValueStore, Write } from "./key_value.ts";
import {
  decodeLedger,
  decodeMeta,
  EMPTY_LEDGER,
  encodeLedger,
  type Ledger,
} from "./ledger.ts";
import { decoded } from "./reader.ts";
import type { Row } from "./row.ts";
import { addRow, planIndexWrites } from "./row_index.ts";
import { metaWrite, SCHEMA_VERSION } from "./schema.ts";
import { WriteList } from "./write_list.ts";

const ROWS_PER_STEP = 256;

/** In `meta` while a migration is under way: the last path that was brought over. */
const PROGRESS = "migration_after";

type Numbers = { -readonly [K in keyof Ledger]: number };

/** @throws {ManifestError} `damaged` for a row that no version can read; nothing is lost. */
export async function migrateFromSchema1(store: KeyValueStore): Promise<void> {
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
    metaWrite("schema_version", String(SCHEMA_VERSION)),
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
