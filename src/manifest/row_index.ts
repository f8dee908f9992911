/**
 * Which entries of which tables a row has. Pure: the entries follow from the path and the
 * row alone, so that writing, checking and rebuilding share one definition.
 *
 * @module
 */

import { type DepotPath, isPlainPath, type ObjectKey, pathOfKey } from "../core/names.ts";
import { sharedBytesOf } from "./byte_cursor.ts";
import { u64Key, u64PairKey } from "./byte_keys.ts";
import { utf8Of } from "./codec_text.ts";
import type { ByteKey, TableName } from "./key_value.ts";
import type { ManifestCounters } from "./manifest.ts";
import { isParked, type Row } from "./row.ts";
import type { WriteList } from "./write_list.ts";

/** Tables that list the rows of `rows_by_id`. */
export const INDEX_TABLES = [
  "files_by_path",
  "paths_by_id",
  "dirty_queue",
  "dirty_since",
  "retry_deadlines",
  "lru_by_timestamp",
  "conflicts",
  "keys_elsewhere",
] as const satisfies readonly TableName[];

export type IndexTable = typeof INDEX_TABLES[number];

/** Value of the entries that say all in their key. */
export const PRESENT = Uint8Array.of(1);

/** Whether the entries of `table` have other values than {@linkcode PRESENT}. */
export function hasValues(table: IndexTable): boolean {
  return table === "paths_by_id" || namesRowInValue(table);
}

/** Whether the entries of `table` have the row's id as their value, and not at their key's end. */
export function namesRowInValue(table: IndexTable): boolean {
  return table === "files_by_path" || table === "dirty_queue";
}

/** The key of the row in `table`, or null if it does not stand there. */
export function indexKeyOf(
  table: IndexTable,
  path: DepotPath,
  row: Row,
): ByteKey | null {
  const { queue } = row;
  switch (table) {
    case "files_by_path":
      return path;
    case "paths_by_id":
      return u64Key(row.id);
    case "dirty_queue":
      return isWaiting(row) && queue!.retryAtMs === null ? u64Key(queue!.sequence) : null;
    case "dirty_since":
      return queue === null ? null : u64PairKey(queue.dirtySinceMs, row.id);
    case "retry_deadlines":
      return isWaiting(row) && queue!.retryAtMs !== null
        ? u64PairKey(queue!.retryAtMs, row.id)
        : null;
    case "lru_by_timestamp":
      return row.state === "clean" && row.resident
        ? u64PairKey(evictionRank(row), row.id)
        : null;
    case "conflicts":
      return isParked(row) ? u64Key(row.id) : null;
    case "keys_elsewhere":
      return row.stored === null || isOwnKey(path, row.stored.key)
        ? null
        : objectKeyPrefix(row.stored.key) + u64Key(row.id);
  }
}

/**
 * Rows that were read once stand before all others, by the time of their restore: a 16th of
 * a time of this century is smaller than any such time.
 */
function evictionRank(row: Row): number {
  return row.flags.readOnce ? Math.floor(row.settledAtS / 16) : row.lastAccessS;
}

/** In the queue, or waiting for a retry: dirty, and nobody has to decide first. */
function isWaiting(row: Row): boolean {
  return row.state === "dirty" && !isParked(row);
}

/** What stands under the key of {@linkcode indexKeyOf}. */
export function indexValueOf(table: IndexTable, path: DepotPath, row: Row): Uint8Array {
  if (!hasValues(table)) return PRESENT;
  return sharedBytesOf(table === "paths_by_id" ? path : u64Key(row.id));
}

/**
 * Whether only `path` can have named this object. The key of a long path tells nothing of
 * the path, so it counts as another's.
 */
export function isOwnKey(path: DepotPath, key: ObjectKey): boolean {
  if ((key as string) === path && isPlainPath(path)) return true;
  return pathOfKey(key) === path;
}

/** All entries of `keys_elsewhere` and `tombstones_by_key` for `key` begin with this. */
export function objectKeyPrefix(key: ObjectKey): ByteKey {
  return `${utf8Of(key)}\0`;
}

/** Writes what turns the index entries of `before` into those of `now`. */
export function planIndexWrites(
  path: DepotPath,
  { before, now }: { readonly before: Row | null; readonly now: Row | null },
  writes: WriteList,
): void {
  const isSameRow = before !== null && before.id === now?.id;
  // Whose key it is takes longer to tell than all else here.
  const isSameKey = isSameRow && before.stored?.key === now?.stored?.key;
  for (const table of INDEX_TABLES) {
    if (isSameRow && (table === "files_by_path" || table === "paths_by_id")) continue;
    if (isSameKey && table === "keys_elsewhere") continue;
    const oldKey = before === null ? null : indexKeyOf(table, path, before);
    const newKey = now === null ? null : indexKeyOf(table, path, now);
    if (oldKey === newKey && isSameRow) continue;
    if (oldKey !== null) {
      writes.remove(table, oldKey, indexValueOf(table, path, before!));
    }
    if (newKey !== null) writes.put(table, newKey, indexValueOf(table, path, now!));
  }
}

/** Adds `times` (1 or -1) the row to the counters; tombstones are others' to count. */
export function addRow(
  counters: { -readonly [K in keyof ManifestCounters]: number },
  row: Row,
  times: 1 | -1,
): void {
  const size = times * row.local.sizeBytes;
  if (row.state === "clean") {
    counters.cleanFiles += times;
    if (row.resident && row.flags.readOnce) counters.readOnceBytes += size;
  } else {
    if (row.state === "dirty") counters.dirtyFiles += times;
    else counters.uploadingFiles += times;
    counters.dirtyBytes += size;
  }
  if (row.resident) {
    counters.residentFiles += times;
    counters.residentBytes += size;
  }
  counters.totalBytes += size;
  if (isParked(row)) counters.conflicts += times;
}
