/**
 * The manifest's rows in the orders of its indexes, page by page.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import type { DepotPath } from "../core/names.ts";
import { u64At, u64Key, u64PairKey } from "./byte_keys.ts";
import type { FileEntry, PathAndEntry, Waiting } from "./manifest.ts";
import { type ManifestReader, type PathAndRow, rangeOfPrefix } from "./reader.ts";
import type { RecentRows } from "./recent_rows.ts";
import { entryOf, type Row } from "./row.ts";
import { indexKeyOf, type IndexTable } from "./row_index.ts";

const FROM_START = "";

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

export class RowLists {
  readonly #reader: ManifestReader;
  readonly #recent: RecentRows;

  /** What is listed by an index becomes `recent`: it is listed to be changed. */
  constructor(reader: ManifestReader, recent: RecentRows) {
    this.#reader = reader;
    this.#recent = recent;
  }

  dirtyDue(nowMs: number, limit: number): PathAndEntry[] {
    const queued = this.#indexed("dirty_queue", { from: FROM_START, limit });
    const retries = this.#indexed("retry_deadlines", {
      from: FROM_START,
      before: u64Key(nowMs + 1),
      limit,
    });
    const due: PathAndRow[] = [];
    let nextQueued = 0;
    let nextRetry = 0;
    while (due.length < limit) {
      const fresh = queued[nextQueued];
      const retry = retries[nextRetry];
      if (fresh === undefined && retry === undefined) break;
      if (retry === undefined || (fresh !== undefined && waitsLonger(fresh, retry))) {
        due.push(fresh!);
        nextQueued++;
      } else {
        due.push(retry);
        nextRetry++;
      }
    }
    return this.#handOut(due);
  }

  #indexed(
    table: IndexTable,
    range: { from: string; before?: string; limit: number },
  ): PathAndRow[] {
    return this.#reader.indexEntries(table, { before: null, ...range }).map((entry) => {
      const found = this.#reader.indexed(table, entry);
      this.#recent.set(found.path, found);
      return found;
    });
  }

  #handOut(rows: readonly PathAndRow[]): PathAndEntry[] {
    return rows.map(({ path, row }) => new HandedOut(path, row));
  }

  retries(limit: number): { path: DepotPath; atMs: number }[] {
    return this.#indexed("retry_deadlines", { from: FROM_START, limit })
      .map(({ path, row }) => ({ path, atMs: row.queue!.retryAtMs! }));
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
    return this.#handOut(this.#indexed(table, { from, limit }));
  }

  /** The first key behind the place that `after` had when it was handed out. */
  #placeAfter(table: IndexTable, after: PathAndEntry): string {
    assert(
      after instanceof HandedOut,
      "Only what this manifest returned can be continued from",
    );
    const { row } = after;
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
