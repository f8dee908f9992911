/**
 * A row as it is kept: the FileEntry that everybody sees, and what the manifest itself
 * needs to find the row again in its indexes.
 *
 * @module
 */

import type { LabelSums } from "./crc32c.ts";
import type { FileEntry, FileFlags, LocalStat } from "./manifest.ts";

/** Where a row that is not clean stands in the dirty queue. */
export interface QueuePlace {
  /** Order of the FIFO. A row keeps its number while it is uploaded. */
  readonly sequence: number;
  /** Since when the store lacks the content; survives failed uploads and newer writes. */
  readonly dirtySinceMs: number;
  /** When it took this place. */
  readonly queuedAtMs: number;
  /** Not due before; null: due. */
  readonly retryAtMs: number | null;
}

export interface Row extends FileEntry {
  /** Names the row in the indexes; never used twice. */
  readonly id: number;
  /** Null exactly when the row is clean. */
  readonly queue: QueuePlace | null;
  /** This path may have tombstones. False only if it certainly has none. */
  readonly tombstoned: boolean;
}

/** A row as it is committed, with the checksums that its next change is made from. */
export interface KnownRow {
  readonly row: Row;
  /** Of its entry in `rows_by_id`. */
  readonly sum: number;
  /** Of its path, and of its key there. */
  readonly label: LabelSums;
}

export const NO_FLAGS: FileFlags = {
  foreign: false,
  conflict: false,
  borrowed: false,
  secondaryOnly: false,
  pinned: false,
  readOnce: false,
};

/** What others than the manifest get to see of `row`. */
export function entryOf(row: Row): FileEntry {
  return {
    state: row.state,
    resident: row.resident,
    generation: row.generation,
    local: row.local,
    lastAccessS: row.lastAccessS,
    createdAtS: row.createdAtS,
    settledAtS: row.settledAtS,
    stored: row.stored,
    flags: row.flags,
  };
}

/**
 * What a tombstone keeps of a file whose row named no object: one is of an upload of it only
 * if it was stored since the row is there. The file's own mtime may be of any time.
 */
export function uploadedSince(entry: Omit<FileEntry, "generation">): LocalStat {
  return { ...entry.local, mtimeNs: BigInt(entry.createdAtS) * 1_000_000_000n };
}

/**
 * Somebody has to decide first (`accept`, `restore`): the row is listed under conflicts
 * and is neither due for upload nor evictable.
 */
export function isParked(row: FileEntry): boolean {
  return row.flags.conflict || row.flags.foreign;
}
