/**
 * Checks every table of a manifest against every other: each row readable and in exactly
 * the indexes that it belongs in, each index entry with its row, tombstones likewise, and
 * the counters against a recount.
 *
 * Holds one page of entries at a time, and yields often, so that it may run beside work.
 *
 * @module
 */

import { bytesOf, type DepotPath, displayPath, textOfBytes } from "../core/names.ts";
import { nextTurn } from "../core/turns.ts";
import { u64At, u64Key } from "./byte_keys.ts";
import { entryCrc32 } from "./crc32c.ts";
import { decodeRow } from "./file_entry_codec.ts";
import { FormatError } from "./format_error.ts";
import { type KeyAndValue, type KeyValueReads, type TableName } from "./key_value.ts";
import {
  decodeLedger,
  decodeMeta,
  EMPTY_LEDGER,
  type Ledger,
  replaceInSum,
  wholeSumOf,
} from "./ledger.ts";
import { type ManifestCounters, ManifestError } from "./manifest.ts";
import { damaged, decoded, ManifestReader, tombstoneKey } from "./reader.ts";
import type { Row } from "./row.ts";
import { addRow, INDEX_TABLES, indexKeyOf, indexValueOf } from "./row_index.ts";
import { decodeTombstone } from "./tombstone_codec.ts";
import { countersOf, isRemovable, objectEntry, timeKey } from "./transaction.ts";

/** One thing that is not as it was written. */
export interface Fault {
  /** The table, or the file itself. */
  readonly where: TableName | "pages";
  readonly what: string;
}

/** Looked at in one turn of the event loop. */
const PAGE_ENTRIES = 64;

/** Every fault of the tables in `reads`. Ends only when all was looked at. */
export async function* tableFaults(
  reads: KeyValueReads,
  signal?: AbortSignal,
): AsyncGenerator<Fault> {
  const tally = new Tally();
  yield* rowFaults(reads, tally, signal);
  for (const table of INDEX_TABLES) {
    for await (const entry of entriesOf(reads, table, signal)) {
      tally.addSum(entry);
      yield* lookup(table, () => void new ManifestReader(reads).indexed(table, entry));
    }
  }
  yield* tombstoneFaults(reads, tally, signal);
  yield* metaFaults(reads, tally, signal);
}

/** Counts all rows and tombstones again. @throws {ManifestError} `damaged` */
export async function recount(
  reads: KeyValueReads,
  signal?: AbortSignal,
): Promise<ManifestCounters> {
  const tally = new Tally();
  const reader = new ManifestReader(reads);
  for await (const { key, value } of entriesOf(reads, "rows_by_id", signal)) {
    const path = reader.pathOf(key);
    if (path === null) throw damaged("The manifest's table paths_by_id");
    tally.addRow(decoded(
      () => `The manifest's row of ${JSON.stringify(path)}`,
      () => decodeRow(path, value),
    ));
  }
  for await (const _ of entriesOf(reads, "tombstones", signal)) {
    tally.counters.tombstones++;
  }
  return countersOf({ ...EMPTY_LEDGER, ...tally.counters });
}

/** What was seen so far. */
class Tally {
  readonly counters: { -readonly [K in keyof ManifestCounters]: number } = {
    ...countersOf(EMPTY_LEDGER),
  };
  rowIdMax = 0;
  sequenceMax = 0;
  tombstoneIdMax = 0;
  wholeSum = 0;

  addSum({ key, value }: KeyAndValue): void {
    this.wholeSum = replaceInSum(this.wholeSum, 0, entryCrc32(key, value));
  }

  addRow(row: Row): void {
    addRow(this.counters, row, 1);
    this.rowIdMax = Math.max(this.rowIdMax, row.id);
    this.sequenceMax = Math.max(this.sequenceMax, row.queue?.sequence ?? 0);
  }
}

/** All entries in key order. A key out of order ends it: what follows is not reachable. */
async function* entriesOf(
  reads: KeyValueReads,
  table: TableName,
  signal: AbortSignal | undefined,
): AsyncGenerator<KeyAndValue> {
  let from = "";
  for (;;) {
    const page = reads.range(table, { from, before: null, limit: PAGE_ENTRIES });
    for (const entry of page) {
      if (entry.key < from) return;
      yield entry;
      from = `${entry.key}\0`;
    }
    if (page.length < PAGE_ENTRIES) return;
    await nextTurn();
    signal?.throwIfAborted();
  }
}

async function* rowFaults(
  reads: KeyValueReads,
  tally: Tally,
  signal: AbortSignal | undefined,
): AsyncGenerator<Fault> {
  const reader = new ManifestReader(reads);
  for await (const { key, value } of entriesOf(reads, "rows_by_id", signal)) {
    tally.addSum({ key, value });
    const fault = (what: string): Fault => ({ where: "rows_by_id", what });
    const path = reader.pathOf(key);
    if (path === null) {
      yield fault(`row ${u64At(key, 0)}: its path is missing`);
      continue;
    }
    const name = displayPath(path);
    // The cursor came along the leaves; a lookup comes down from the root.
    if (!isSame(reads.get("rows_by_id", key), value)) {
      yield fault(`${name}: a lookup does not find the row`);
    }
    try {
      const row = decodeRow(path, value);
      if (u64Key(row.id) !== key) yield fault(`${name}: it stands under another id`);
      tally.addRow(row);
      yield* missingEntries(reads, path, row);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      yield fault(`${name}: ${error.message}`);
    }
  }
}

function* missingEntries(
  reads: KeyValueReads,
  path: DepotPath,
  row: Row,
): Generator<Fault> {
  for (const table of INDEX_TABLES) {
    const key = indexKeyOf(table, path, row);
    if (key === null) continue;
    if (!isSame(reads.get(table, key), indexValueOf(table, path, row))) {
      yield {
        where: table,
        what: `${displayPath(path)}: its entry is missing or wrong`,
      };
    }
  }
}

async function* tombstoneFaults(
  reads: KeyValueReads,
  tally: Tally,
  signal: AbortSignal | undefined,
): AsyncGenerator<Fault> {
  for await (const { key, value } of entriesOf(reads, "tombstones", signal)) {
    tally.counters.tombstones++;
    tally.addSum({ key, value });
    const path = key.slice(0, -9) as DepotPath;
    const name = displayPath(path);
    try {
      const tombstone = decodeTombstone(path, value);
      tally.tombstoneIdMax = Math.max(tally.tombstoneIdMax, tombstone.id);
      if (tombstoneKey(path, tombstone.id) !== key) {
        yield { where: "tombstones", what: `${name}: it stands under another key` };
      }
      const hasEntry = reads.get("tombstones_by_time", timeKey(tombstone)) !== null;
      if (hasEntry !== isRemovable(tombstone)) {
        yield { where: "tombstones_by_time", what: `${name}: entry missing or too many` };
      }
      if (
        !isSame(reads.get("tombstones_by_key", objectEntry(tombstone)), bytesOf(path))
      ) {
        yield {
          where: "tombstones_by_key",
          what: `${name}: its entry is missing or wrong`,
        };
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      yield { where: "tombstones", what: `${name}: ${error.message}` };
    }
  }
  for (const table of ["tombstones_by_time", "tombstones_by_key"] as const) {
    for await (const { key, value } of entriesOf(reads, table, signal)) {
      tally.addSum({ key, value });
      const path = textOfBytes(value) as DepotPath;
      const bytes = reads.get(
        "tombstones",
        tombstoneKey(path, u64At(key, key.length - 8)),
      );
      if (bytes === null) {
        yield { where: table, what: `${displayPath(path)}: its tombstone is missing` };
      } else if (table === "tombstones_by_key") {
        yield* lookup(table, () => {
          if (objectEntry(decodeTombstone(path, bytes)) === key) return;
          throw new FormatError("damaged", `${displayPath(path)}: it has another key`);
        });
      }
    }
  }
}

async function* metaFaults(
  reads: KeyValueReads,
  tally: Tally,
  signal: AbortSignal | undefined,
): AsyncGenerator<Fault> {
  for await (const { key, value } of entriesOf(reads, "meta", signal)) {
    yield* lookup("meta", () => void decodeMeta(key, value));
  }
  const reader = new ManifestReader(reads);
  let ledger: Ledger;
  try {
    ledger = decodeLedger(reader.meta("counters") ?? "null");
  } catch (error) {
    yield { where: "meta", what: `counters: ${messageOf(error)}` };
    return;
  }
  for (const name of Object.keys(tally.counters) as (keyof ManifestCounters)[]) {
    if (ledger[name] === tally.counters[name]) continue;
    yield {
      where: "meta",
      what: `counter ${name} is ${ledger[name]}, counted ${tally.counters[name]}`,
    };
  }
  if (wholeSumOf(ledger) !== tally.wholeSum) {
    yield {
      where: "meta",
      what: "rows or tombstones are not the newest that were written",
    };
  }
  const isAhead = ledger.nextRowId > tally.rowIdMax &&
    ledger.nextSequence > tally.sequenceMax &&
    ledger.nextTombstoneId > tally.tombstoneIdMax;
  if (!isAhead) yield { where: "meta", what: "a sequence is behind what is in use" };
}

function* lookup(where: TableName, look: () => void): Generator<Fault> {
  try {
    look();
  } catch (error) {
    const isKnown = error instanceof ManifestError || error instanceof FormatError;
    if (!isKnown) throw error;
    yield { where, what: messageOf(error) };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isSame(a: Uint8Array | null, b: Uint8Array): boolean {
  return a !== null && a.length === b.length && a.every((byte, i) => byte === b[i]);
}
