/**
 * The manifest's tombstones: which of them are due, and what becomes of them.
 *
 * @module
 */

import {
  type DepotPath,
  firstVersionOf,
  type ObjectKey,
  pathOfKey,
} from "../core/names.ts";
import { u64Key } from "./byte_keys.ts";
import { utf8Of } from "./codec_text.ts";
import type { FileEntry, PathAndEntry, Tombstone } from "./manifest.ts";
import {
  type ManifestReader,
  type PathAndRow,
  rangeOfPrefix,
  tombstoneKey,
} from "./reader.ts";
import { entryOf } from "./row.ts";
import { objectKeyPrefix } from "./row_index.ts";
import { isRemovable, timeKey, type Transaction } from "./transaction.ts";
import { planUndelete } from "./transitions.ts";

/** Changed in one operation at most, so that no group holds the event loop. */
const TOMBSTONES_PER_STEP = 64;

/** More tombstones than name one object. */
const ALL = Number.MAX_SAFE_INTEGER;
const VERSIONS_AT_ONCE = 16;

/** Runs an operation in some group, and resolves once that is durable. */
export type ChangeGroup = <T>(operate: (group: Transaction) => T) => Promise<T>;

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

  page(after: Pick<Tombstone, "path" | "id"> | null, limit: number): Tombstone[] {
    const from = after === null ? "" : `${tombstoneKey(after.path, after.id)}\0`;
    return this.#reader.tombstones({ from, before: null, limit });
  }

  due(beforeMs: number, limit: number, after?: Tombstone): Tombstone[] {
    const due: Tombstone[] = [];
    let from = after === undefined ? "" : keyAfter(after);
    while (due.length < limit) {
      const range = { from, before: u64Key(beforeMs + 1), limit };
      const page = this.#reader.tombstonesByTime(range);
      due.push(
        ...page.filter((one) => this.#isLast(one, beforeMs)),
      );
      if (page.length < limit) break;
      from = keyAfter(page.at(-1)!);
    }
    return due.slice(0, limit);
  }

  isDue(tombstone: Tombstone, beforeMs: number): boolean {
    if (tombstone.atMs > beforeMs) return false;
    const range = { from: timeKey(tombstone), before: keyAfter(tombstone), limit: 1 };
    return this.#reader.tombstonesByTime(range)
      .some((current) => this.#isLast(current, beforeMs));
  }

  /** Nothing else keeps the object. */
  #isLast(tombstone: Tombstone, beforeMs: number): boolean {
    return !this.isNamed(tombstone.stored.key) && !this.#hasYounger(tombstone, beforeMs);
  }

  /** The object was another file's, too, and that one's grace is not over. */
  #hasYounger({ id, stored }: Tombstone, beforeMs: number): boolean {
    return this.naming(stored.key).some((other) =>
      other.id !== id && other.atMs > beforeMs && isRemovable(other)
    );
  }

  isBuried(key: ObjectKey): boolean {
    const one = rangeOfPrefix(objectKeyPrefix(key), 1);
    return this.#reader.objectKeys("tombstones_by_key", one).length > 0;
  }

  hasVersionOf(first: ObjectKey): boolean {
    return this.isNamed(first) || this.isBuried(first) ||
      this.#hasLaterVersionOf(first, "keys_elsewhere") ||
      this.#hasLaterVersionOf(first, "tombstones_by_key");
  }

  #hasLaterVersionOf(
    first: ObjectKey,
    table: "keys_elsewhere" | "tombstones_by_key",
  ): boolean {
    let range = rangeOfPrefix(utf8Of(`${first}.p4cv-`), VERSIONS_AT_ONCE);
    for (;;) {
      const page = this.#reader.objectKeys(table, range);
      // Another path's may begin like a version of this one.
      if (page.some(({ key }) => firstVersionOf(key) === first)) return true;
      if (page.length < range.limit) return false;
      range = { ...range, from: `${page.at(-1)!.entry}\0` };
    }
  }

  isNamed(key: ObjectKey): boolean {
    const elsewhere = rangeOfPrefix(objectKeyPrefix(key), 1);
    if (this.#reader.indexEntries("keys_elsewhere", elsewhere).length > 0) return true;
    const owner = pathOfKey(key);
    return owner !== null && this.#reader.row(owner)?.stored?.key === key;
  }

  rowsNaming(key: ObjectKey): PathAndEntry[] {
    const elsewhere = rangeOfPrefix(objectKeyPrefix(key), ALL);
    const rows: PathAndRow[] = this.#reader.indexEntries("keys_elsewhere", elsewhere)
      .map((entry) => this.#reader.indexed("keys_elsewhere", entry));
    const owner = pathOfKey(key);
    const own = owner === null ? null : this.#reader.row(owner);
    if (own?.stored?.key === key) rows.unshift({ path: owner!, row: own });
    return rows.map(({ path, row }) => ({ path, entry: entryOf(row) }));
  }

  naming(key: ObjectKey): Tombstone[] {
    return this.#reader.tombstonesByKey(rangeOfPrefix(objectKeyPrefix(key), ALL));
  }

  async removed(tombstone: Tombstone): Promise<void> {
    await this.#change((group) => {
      const { path } = tombstone;
      const current = group.tombstone(path, tombstone.id);
      if (current === null) return;
      const first = firstVersionOf(current.stored.key);
      // One for each name that stores may have the object under.
      const isNeeded = current.whiteout &&
        !group.tombstonesOf(path).some(({ id, stored, whiteout, removed }) =>
          whiteout && removed && id !== current.id &&
          firstVersionOf(stored.key) === first
        );
      if (isNeeded) group.replaceTombstone({ ...current, removed: true });
      else group.removeTombstone(current);
    });
  }

  async postpone(nowMs: number): Promise<void> {
    for (let after: Tombstone | null = null;;) {
      const some: Tombstone[] = this.page(after, TOMBSTONES_PER_STEP);
      if (some.length === 0) return;
      after = some.at(-1)!;
      // Also what is not due yet for another reason than its age: that may end.
      const early = some.filter(({ removed, atMs }) => !removed && atMs < nowMs);
      if (early.length === 0) continue;
      await this.#change((group) => {
        for (const { path, id } of early) {
          // It may have been removed since it was read.
          const current = group.tombstone(path, id);
          if (current !== null) group.replaceTombstone({ ...current, atMs: nowMs });
        }
      });
    }
  }

  undelete(
    path: DepotPath,
    nowS: number,
    secondaryOnly: boolean,
  ): Promise<FileEntry | null> {
    return this.#change((group) => {
      if (group.row(path) !== null) return null;
      const newest = group.tombstonesOf(path)
        .findLast(({ reason, removed }) => reason === "deleted" && !removed);
      if (newest === undefined) return null;
      const flagged = { ...newest, secondaryOnly: secondaryOnly || newest.secondaryOnly };
      const row = group.change(path, null, planUndelete(flagged, nowS));
      // The row that it became drops the tombstone; one of another key would stay.
      return entryOf(row!);
    });
  }
}

/** In the table of tombstones by time, the first key behind that of `tombstone`. */
function keyAfter(tombstone: Tombstone): string {
  return `${timeKey(tombstone)}\0`;
}
