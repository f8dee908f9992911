/**
 * Brings a manifest of an older schema to this one. The first commit says so in `meta`: the schema
 * version is the new one from there on, which every build of before refuses, and where it goes on
 * from stands beside it until the last commit. Builds of before changed the version last; what one
 * of them began is half brought over under its old version, and goes on like the rest.
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
  replaceInSum,
} from "./ledger.ts";
import { damaged, decoded, ManifestReader, tombstoneKey } from "./reader.ts";
import type { Row } from "./row.ts";
import { addRow, indexKeyOf, planIndexWrites, PRESENT } from "./row_index.ts";
import { metaWrite, MIGRATION_FROM, SCHEMA_VERSION } from "./schema.ts";
import { objectEntry } from "./transaction.ts";
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
 * `from` is what `olderSchemaOf` says. `onProgress` is told now and then how many rows were brought
 * over.
 *
 * @throws {ManifestError} `damaged` for a row that no version can read, `full`: nothing is lost,
 * and it goes on where it was.
 */
export async function migrate(
  store: KeyValueStore,
  from: number,
  onProgress: Progress = () => {},
): Promise<void> {
  const counted = everyStep(onProgress);
  await begin(store, from);
  if (from < 2) await migrateFromSchema1(store, counted);
  await moveRowsById(store, counted);
  if (from < 3) {
    await addRowsElsewhere(store);
    await addTombstonesByKey(store);
  }
  await store.commit([{ table: "meta", key: MIGRATION_FROM, value: null }]);
}

/**
 * A build with a schema between the two may have begun it, too. The entries of schema 1 were in no
 * sum: they are from here on, so that whoever looks at the pages finds what their schema has.
 */
async function begin(store: KeyValueStore, from: number): Promise<void> {
  const isBegun = store.get("meta", MIGRATION_FROM) !== null;
  if (isBegun && textOf(store, "schema_version") === String(SCHEMA_VERSION)) return;
  await store.commit([
    ...(from < 2 && !isBegun ? [await sumOfSchema1(store)] : []),
    metaWrite("schema_version", String(SCHEMA_VERSION)),
    metaWrite(MIGRATION_FROM, String(from)),
  ]);
}

/** What an older build brought over already is in the sum. */
async function sumOfSchema1(store: KeyValueStore): Promise<Write> {
  const ledger = ledgerOf(store);
  let { contentSum } = ledger;
  for (let from = nextOf(textOf(store, PROGRESS) ?? "");;) {
    const range = { from, before: null, limit: KEYS_PER_STEP };
    const entries = store.range("files_by_path", range);
    for (const { key, value } of entries) {
      contentSum = replaceInSum(contentSum, 0, entryCrc32(key, value));
    }
    if (entries.length < KEYS_PER_STEP) break;
    from = nextOf(entries.at(-1)!.key);
    await nextTurn();
  }
  return metaWrite("counters", encodeLedger({ ...ledger, contentSum }));
}

function ledgerOf(store: KeyValueStore): Ledger {
  const text = textOf(store, "counters");
  if (text === null) return EMPTY_LEDGER;
  return decoded(() => "The manifest's counters", () => decodeLedger(text));
}

/** The smallest key after this one. */
function nextOf(key: ByteKey): ByteKey {
  return key === "" ? "" : `${key}\0`;
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
    const rows = store.range("files_by_path", {
      from: nextOf(after),
      before: null,
      limit: ROWS_PER_STEP,
    });
    const isLast = rows.length < ROWS_PER_STEP;
    const numbers: Numbers = { ...ledgerOf(store) };
    const writes = new WriteList(numbers);
    for (const { key, value } of rows) takeRow(key as DepotPath, value, numbers, writes);
    after = rows.at(-1)?.key ?? after;
    Object.assign(numbers, writes.sums);
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
    metaWrite(MIGRATION_FROM, "2"),
    { table: "meta", key: PROGRESS, value: null },
  ];
}

/** What stood there was in no index. */
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
  writes.remove("files_by_path", path, value);
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
    from = nextOf(rows.at(-1)!.key);
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
    from = nextOf(paths.at(-1)!);
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
    from = nextOf(tombstoneKey(path, id));
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

/** What `plan` writes, and what it does to the sums of all contents, in one commit. */
async function commitSummed(
  store: KeyValueStore,
  plan: (writes: WriteList) => void,
): Promise<void> {
  const ledgerText = textOf(store, "counters");
  if (ledgerText === null) throw damaged("The manifest's table meta");
  const ledger = decoded(() => "The manifest's counters", () => decodeLedger(ledgerText));
  const writes = new WriteList(ledger);
  plan(writes);
  if (writes.all().length === 0) return;
  const counters = encodeLedger({ ...ledger, ...writes.sums });
  await store.commit([...writes.all(), metaWrite("counters", counters)]);
}
