/**
 * The manifest at one moment, over a snapshot of its tables, and the pass over all its rows that
 * those share who tell of the whole.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import { nextTurn } from "../core/turns.ts";
import type { KeyValueSnapshot } from "./key_value.ts";
import type {
  ManifestCounters,
  ManifestSnapshot,
  MetaName,
  PathAndEntry,
  Retry,
} from "./manifest.ts";
import { ManifestReader } from "./reader.ts";
import { RecentRows } from "./recent_rows.ts";
import { RowLists } from "./row_lists.ts";
import { countersOf } from "./transaction.ts";

export class StoreSnapshot implements ManifestSnapshot {
  readonly #reads: KeyValueSnapshot;
  readonly #reader: ManifestReader;
  readonly #lists: RowLists;

  constructor(reads: KeyValueSnapshot) {
    this.#reads = reads;
    this.#reader = new ManifestReader(reads);
    // Of its own: rows of this moment are not those that the next change finds.
    this.#lists = new RowLists(this.#reader, new RecentRows());
  }

  entries(prefix: string, after: DepotPath | null, limit: number): PathAndEntry[] {
    return this.#lists.entries(prefix, after, limit);
  }

  retries(limit: number, after?: Retry): Retry[] {
    return this.#lists.retries(limit, after);
  }

  oldestDirtyAtMs(): number | null {
    return this.#lists.firstNumber("dirty_since");
  }

  counters(): ManifestCounters {
    return countersOf(this.#reader.ledger());
  }

  format(): { schemaVersion: number; rowVersion: string } {
    return this.#reader.format();
  }

  meta(name: MetaName): string | null {
    return this.#reader.meta(name);
  }

  done(): void {
    this.#reads.done();
  }
}

/** Looked at in one turn of the event loop: a millisecond or two. */
const PAGE_ROWS = 64;

/** All rows in byte order of their paths, some at a time; other work goes on in between. */
export function allRows(snapshot: ManifestSnapshot): AsyncGenerator<PathAndEntry[]> {
  return pages((last: PathAndEntry | undefined, limit) =>
    snapshot.entries("", last?.path ?? null, limit)
  );
}

/** All retries in the same way, the earliest first. */
export function allRetries(snapshot: ManifestSnapshot): AsyncGenerator<Retry[]> {
  return pages((last: Retry | undefined, limit) => snapshot.retries(limit, last));
}

async function* pages<T>(
  next: (last: T | undefined, limit: number) => T[],
): AsyncGenerator<T[]> {
  let last: T | undefined;
  for (;;) {
    const page = next(last, PAGE_ROWS);
    if (page.length > 0) yield page;
    if (page.length < PAGE_ROWS) return;
    last = page.at(-1);
    await nextTurn();
  }
}
