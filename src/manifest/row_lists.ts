/**
 * The manifest's rows in the orders of its indexes, page by page.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import type { DepotPath } from "../core/names.ts";
import { u64At, u64Key, u64PairKey } from "./byte_keys.ts";
import type { KeyRange } from "./key_value.ts";
import type { FileEntry, PathAndEntry, Retry, Waiting } from "./manifest.ts";
import { type ManifestReader, type PathAndRow, rangeOfPrefix } from "./reader.ts";
import type { RecentRows } from "./recent_rows.ts";
import { entryOf, type Row } from "./row.ts";
import { indexKeyOf, type IndexTable } from "./row_index.ts";

const FROM_START = "";
/** Read at a time. */
const PAGE_ROWS = 256;

/** A row as it was handed out, to find its place in an index again. */
class HandedOut implements PathAndEntry {
  readonly path: DepotPath;
  readonly entry: FileEntry;
  readonly #row: Row;

  constructor(path: DepotPath, row: Row) {
    this.path = path;
    this.entry = entryOf(row);
    this.#row = row;
  }

  get row(): Row {
    return this.#row;
  }
}

/** The row that was given to the caller. */
function handedOut(after: PathAndEntry): Row {
  assert(
    after instanceof HandedOut,
    "Only what this manifest returned can be continued from",
  );
  return after.row;
}

export class RowLists {
  readonly #reader: ManifestReader;
  readonly #recent: RecentRows;

  /** What is listed by an index becomes `recent`: it is listed to be changed. */
  constructor(reader: ManifestReader, recent: RecentRows) {
    this.#reader = reader;
    this.#recent = recent;
  }

  dirtyDue(nowMs: number, limit: number): PathAndEntry[] {
    return this.#due(nowMs, limit).take(limit).toArray();
  }

  due(nowMs: number): Generator<PathAndEntry> {
    return this.#due(nowMs, PAGE_ROWS);
  }

  *#due(nowMs: number, pageRows: number): Generator<PathAndEntry> {
    const queued = this.#each("dirty_queue", { before: null, limit: pageRows });
    const retries = this.#each("retry_deadlines", {
      before: u64Key(nowMs + 1),
      limit: pageRows,
    });
    let fresh = queued.next().value;
    let retry = retries.next().value;
    while (fresh !== undefined || retry !== undefined) {
      if (retry === undefined || (fresh !== undefined && waitsLonger(fresh, retry))) {
        yield new HandedOut(fresh!.path, fresh!.row);
        fresh = queued.next().value;
      } else {
        yield new HandedOut(retry.path, retry.row);
        retry = retries.next().value;
      }
    }
  }

  /** Page by page, each with the rows that are there when its first is asked for. */
  *#each(
    table: IndexTable,
    { before, limit }: { before: string | null; limit: number },
  ): Generator<PathAndRow, undefined> {
    for (let from = FROM_START;;) {
      const page = this.#indexed(table, { from, before, limit });
      yield* page;
      if (page.length < limit) return;
      const { path, row } = page.at(-1)!;
      from = `${indexKeyOf(table, path, row)}\0`;
    }
  }

  #indexed(table: IndexTable, range: KeyRange): PathAndRow[] {
    return this.#reader.indexEntries(table, range).map((entry) => {
      const found = this.#reader.indexed(table, entry);
      this.#recent.set(found.path, found);
      return found;
    });
  }

  #handOut(rows: readonly PathAndRow[]): PathAndEntry[] {
    return rows.map(({ path, row }) => new HandedOut(path, row));
  }

  retries(limit: number, after?: Retry): Retry[] {
    const from = after === undefined
      ? FROM_START
      : `${u64PairKey(after.atMs, after.rowId)}\0`;
    return this.#indexed("retry_deadlines", { from, before: null, limit })
      .map(({ path, row }) => ({ path, atMs: row.queue!.retryAtMs!, rowId: row.id }));
  }

  hasRetryAfter(atMs: number): boolean {
    const later = { from: u64Key(atMs + 1), before: null, limit: 1 };
    return this.#reader.indexEntries("retry_deadlines", later).length > 0;
  }

  waiting(after: Waiting | null, limit: number): Waiting[] {
    const from = after === null
      ? FROM_START
      : `${u64PairKey(after.dirtySinceMs, after.rowId)}\0`;
    const entries = this.#reader.indexEntries("dirty_since", {
      from,
      before: null,
      limit,
    });
    return entries.map((entry) => {
      const { row } = this.#reader.indexed("dirty_since", entry);
      const { dirtySinceMs, sequence } = row.queue!;
      return { dirtySinceMs, sequence, rowId: row.id };
    });
  }

  firstNumber(table: IndexTable): number | null {
    const [first] = this.#reader.indexEntries(table, {
      from: FROM_START,
      before: null,
      limit: 1,
    });
    return first === undefined ? null : u64At(first.key, 0);
  }

  /** Up to `limit` rows of an index in its order, behind the place of `after`. */
  page(table: IndexTable, after: PathAndEntry | null, limit: number): PathAndEntry[] {
    const from = after === null ? FROM_START : this.#placeAfter(table, after);
    return this.#handOut(this.#indexed(table, { from, before: null, limit }));
  }

  byArrival(after: PathAndEntry | null, limit: number): PathAndEntry[] {
    const from = after === null ? FROM_START : `${u64Key(handedOut(after).id)}\0`;
    return this.#handOut(this.#reader.rowsById({ from, before: null, limit }));
  }

  /** The first key behind the place that `after` had when it was handed out. */
  #placeAfter(table: IndexTable, after: PathAndEntry): string {
    const row = handedOut(after);
    const key = indexKeyOf(table, after.path, row);
    assert(key !== null, `${after.path} was not listed in ${table}`);
    return `${key}\0`;
  }

  entries(prefix: string, after: DepotPath | null, limit: number): PathAndEntry[] {
    const range = rangeOfPrefix(prefix, limit);
    const from = after === null || after < prefix ? range.from : `${after}\0`;
    return this.#handOut(this.#reader.rows({ ...range, from }));
  }
}

/** Rows of the queue wait since they took their place, retries since they became due. */
function waitsLonger(queued: PathAndRow, retry: PathAndRow): boolean {
  return queued.row.queue!.queuedAtMs <= retry.row.queue!.retryAtMs!;
}
