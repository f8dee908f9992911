/**
 * The manifest's tombstones: which of them are due, and what becomes of them.
 *
 * @module
 */

import { type DepotPath, type ObjectKey, pathOfKey } from "../core/names.ts";
import { u64Key } from "./byte_keys.ts";
import type { FileEntry, Tombstone } from "./manifest.ts";
import { type ManifestReader, rangeOfPrefix } from "./reader.ts";
import { entryOf } from "./row.ts";
import { keyElsewherePrefix } from "./row_index.ts";
import { timeKey, type Transaction } from "./transaction.ts";
import { planUndelete } from "./transitions.ts";

/** Changed in one operation at most, so that no group holds the event loop. */
const TOMBSTONES_PER_STEP = 64;

/** Runs an operation in some group, and resolves once that is durable. */
type ChangeGroup = <T>(operate: (group: Transaction) => T) => Promise<T>;

export class Tombstones {
  readonly #reader: ManifestReader;
  readonly #change: ChangeGroup;

  constructor(reader: ManifestReader, change: ChangeGroup) {
    this.#reader = reader;
    this.#change = change;
  }

  of(path: DepotPath): Tombstone[] {
    return this.#reader.tombstones(rangeOfPrefix(`${path}\0`, Number.MAX_SAFE_INTEGER));
  }

  due(beforeMs: number, limit: number, after?: Tombstone): Tombstone[] {
    const due: Tombstone[] = [];
    let from = after === undefined ? "" : keyAfter(after);
    while (due.length < limit) {
      const range = { from, before: u64Key(beforeMs + 1), limit };
      const page = this.#reader.tombstonesByTime(range);
      due.push(...page.filter(({ stored }) => !this.isNamed(stored.key)));
      if (page.length < limit) break;
      from = keyAfter(page.at(-1)!);
    }
    return due.slice(0, limit);
  }

  isNamed(key: ObjectKey): boolean {
    const elsewhere = rangeOfPrefix(keyElsewherePrefix(key), 1);
    if (this.#reader.indexEntries("keys_elsewhere", elsewhere).length > 0) return true;
    const owner = pathOfKey(key);
    return owner !== null && this.#reader.row(owner)?.stored?.key === key;
  }

  async removed(tombstone: Tombstone): Promise<void> {
    await this.#change((group) => {
      const all = group.tombstonesOf(tombstone.path);
      const current = all.find(({ id }) => id === tombstone.id);
      if (current === undefined) return;
      const isNeeded = current.whiteout &&
        !all.some(({ id, whiteout, removed }) =>
          whiteout && removed && id !== current.id
        );
      if (isNeeded) group.replaceTombstone({ ...current, removed: true });
      else group.removeTombstone(current);
    });
  }

  async postpone(nowMs: number): Promise<void> {
    for (;;) {
      const some = this.#reader.tombstonesByTime({
        from: "",
        before: u64Key(nowMs),
        limit: TOMBSTONES_PER_STEP,
      });
      if (some.length === 0) return;
      await this.#change((group) => {
        for (const { path, id } of some) {
          // It may have been removed since it was read.
          const current = group.tombstonesOf(path).find((one) => one.id === id);
          if (current !== undefined) group.replaceTombstone({ ...current, atMs: nowMs });
        }
      });
    }
  }

  undelete(path: DepotPath, nowS: number): Promise<FileEntry | null> {
    return this.#change((group) => {
      if (group.row(path) !== null) return null;
      const newest = group.tombstonesOf(path)
        .findLast(({ reason, removed }) => reason === "deleted" && !removed);
      if (newest === undefined) return null;
      const row = group.change(path, null, planUndelete(newest, nowS));
      // The row that it became drops the tombstone; one of another key would stay.
      return entryOf(row!);
    });
  }
}

/** In the table of tombstones by time, the first key behind that of `tombstone`. */
function keyAfter(tombstone: Tombstone): string {
  return `${timeKey(tombstone)}\0`;
}
