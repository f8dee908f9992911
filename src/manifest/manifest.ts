/**
 * What the manifest holds and what may be asked of it. The only durable state of p4-cache.
 *
 * A row changes only by an event through transitions.ts; each event is compare-and-set on
 * the row's generation, so that a completion which comes late (an upload that ended after
 * the file was written again) changes nothing. A promise returned here resolves after the
 * fsync that made the change durable, and never before.
 *
 * @module
 */

import type { DepotPath, ObjectKey } from "../core/names.ts";

/** clean: the store has exactly these bytes. dirty: newer than the store. */
export type FileState = "clean" | "dirty" | "uploading";

/** One version in the store. Its bytes are never overwritten. */
export interface StoredVersion {
  readonly key: ObjectKey;
  /** Lower-case hex BLAKE3-256; null only in rows that older systems wrote. */
  readonly hash: string | null;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  /** The store's name of the version, where it keeps versions. */
  readonly versionId: string | null;
}

/** What the local disk said of a file. */
export interface LocalStat {
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly dev: bigint;
}

/** Reasons to treat a row in another way than its state alone says. */
export interface FileFlags {
  /** Written by a UID that is not allowed: never evicted, never uploaded, until accepted. */
  readonly foreign: boolean;
  /** A scan found a difference that nobody reported: both versions are kept. */
  readonly conflict: boolean;
  /** The object is under another instance's prefix: checked by head at each restore. */
  readonly borrowed: boolean;
  /** Only the secondary has the object: to be copied to the primary before it may be evicted. */
  readonly secondaryOnly: boolean;
  /** Never evicted, by the operator's wish. */
  readonly pinned: boolean;
  /** Restored after a long rest, and not read again since: evicted before all others. */
  readonly readOnce: boolean;
}

/** A row. */
export interface FileEntry {
  readonly state: FileState;
  /** The bytes are on the local disk. */
  readonly resident: boolean;
  /**
   * Grows with each event but `accessed`. Starts above every generation that a row of this
   * path ever had, so that what began on a deleted row never fits the next one. Uploads
   * carry it: of the versions of a path in the store, the greatest is the newest.
   */
  readonly generation: number;
  /** Of the newest content, resident or not. */
  readonly local: LocalStat;
  /** Whole seconds since the epoch. */
  readonly lastAccessS: number;
  readonly createdAtS: number;
  /** Last write, upload or restore: eviction waits `evict_min_age_secs` from here. */
  readonly settledAtS: number;
  /**
   * The newest version in the store. Of a clean row: the current content. Of a dirty or
   * uploading one: the version before, to which a lost local file falls back; or null.
   */
  readonly stored: StoredVersion | null;
  readonly flags: FileFlags;
}

/** A version that is no longer current, or whose file was deleted. */
export interface Tombstone {
  /** Names it; never used twice. Grows with time. */
  readonly id: number;
  readonly path: DepotPath;
  /** Without a hash: an object that may be there, and then is of an upload of this file. */
  readonly stored: StoredVersion;
  /** deleted: `p4d` unlinked the file. replaced: a newer version took its place. */
  readonly reason: "deleted" | "replaced";
  readonly atMs: number;
  /** The row's own facts at the delete, for `undelete`. Of one that named no object: `uploadedSince` it. */
  readonly local: LocalStat;
  /** Kept after the object is gone while a secondary or a read prefix may hold the path. */
  readonly whiteout: boolean;
  /** The object is gone from the store: only the whiteout is left. */
  readonly removed: boolean;
  /** The flags of the row: an object that is not ours is never due for removal. */
  readonly borrowed: boolean;
  readonly secondaryOnly: boolean;
}

/**
 * What happens to a row. `transitions.ts` has the table of which event is legal in which
 * state; one that is not is a bug and throws InvariantError.
 */
export type ManifestEvent =
  /** `p4d` wrote the file (new or again). Any state; the row becomes dirty and resident. */
  | {
    readonly kind: "written";
    readonly stat: LocalStat;
    readonly nowS: number;
    /** Set in the same step: a foreign file is never due for an upload, not for a moment. */
    readonly flags?: Partial<FileFlags>;
  }
  /** dirty to uploading. */
  | { readonly kind: "upload-started" }
  /** uploading to clean; a version that it replaces becomes a tombstone. */
  | {
    readonly kind: "uploaded";
    readonly stored: StoredVersion;
    readonly stat: LocalStat;
    readonly nowMs: number;
  }
  /** uploading to dirty; not due again before `retryAtMs` (null: at once, last in the queue). */
  | { readonly kind: "upload-failed"; readonly retryAtMs: number | null }
  /** A clean resident row loses its bytes to a marker. */
  | { readonly kind: "evicted"; readonly marker: LocalStat }
  /**
   * A clean row gets its bytes back. `hash`: of what came, kept where nobody had one.
   * `toUpload`: they came from elsewhere than the object that the row names, in the primary
   * or not, and are to be uploaded before they may be evicted: the row becomes dirty. So it
   * does, whatever this says, if only the secondary has the object.
   */
  | {
    readonly kind: "restored";
    readonly stat: LocalStat;
    readonly nowS: number;
    readonly hash?: string;
    readonly toUpload?: "elsewhere" | "secondary" | null;
  }
  /** A row for an object that the store has; `stat` of the local file if it is resident. */
  | {
    readonly kind: "adopted";
    readonly stored: StoredVersion;
    readonly stat: LocalStat;
    readonly resident: boolean;
    readonly flags: Partial<FileFlags>;
    readonly nowS: number;
  }
  /**
   * `p4d` unlinked the file: the row goes, its stored version becomes a tombstone. With none
   * it is one of `firstKey` without a hash, if that is given: an upload that was cut short,
   * or is under way, may have left its object there.
   */
  | {
    readonly kind: "deleted";
    readonly nowMs: number;
    readonly whiteout: boolean;
    readonly firstKey?: ObjectKey;
  }
  /**
   * The file is gone from the disk and nobody asked for it. Clean: evicted. Dirty or
   * uploading: back to the stored version, or with none the row goes (outcome "lost").
   */
  | { readonly kind: "vanished"; readonly nowS: number }
  /**
   * Same content, other mode, owner, times or inode. The state stays, but for uploading,
   * which becomes dirty: that upload will end stale.
   */
  | { readonly kind: "attributes"; readonly stat: LocalStat }
  /** As `attributes`. Nothing if there is no row. */
  | { readonly kind: "flagged"; readonly flags: Partial<FileFlags> };

/** Which generation an event expects: a number, no row at all, or whatever there is. */
export type Expectation = number | "absent" | "any";

/** applied: durable. stale: the row was another; nothing changed; `entry` is what there is. */
export type ApplyOutcome =
  | { readonly outcome: "applied"; readonly entry: FileEntry | null }
  | { readonly outcome: "lost"; readonly entry: null }
  | { readonly outcome: "stale"; readonly entry: FileEntry | null };

export interface PathAndEntry {
  readonly path: DepotPath;
  readonly entry: FileEntry;
}

/** Kept with the rows, in their transactions. Bytes are sums of sizes. */
export interface ManifestCounters {
  readonly cleanFiles: number;
  readonly dirtyFiles: number;
  readonly uploadingFiles: number;
  readonly residentFiles: number;
  readonly residentBytes: number;
  /** Of resident clean rows with the flag `readOnce`. */
  readonly readOnceBytes: number;
  /** Of dirty and uploading rows. */
  readonly dirtyBytes: number;
  readonly totalBytes: number;
  readonly tombstones: number;
  /** Rows with the flag `conflict` or `foreign`: somebody has to decide. */
  readonly conflicts: number;
}

/** A row that is not clean. */
export interface Waiting {
  readonly dirtySinceMs: number;
  /** Its place in the queue of uploads. */
  readonly sequence: number;
  readonly rowId: number;
}

/** A dirty row that waits for a retry. */
export interface Retry {
  readonly path: DepotPath;
  /** When it is due. */
  readonly atMs: number;
  readonly rowId: number;
}

/** Names in the `meta` table that others than the manifest itself read and write. */
export type MetaName =
  | "instance_id" //        also in the store, at .p4cache-meta/instance
  | "depot_device" //       st_dev of the depot root
  | "depot_identity" //     inode and birth time of .p4cache, in ms
  | "scan_finished_ms" //   the last whole scan
  | "boot_id" //            of the machine, at the last session
  | "written_again_ms" //  the last time that the manifest could be written after it could not
  | "recalls" //          bytes that users had restored today
  | "moving" //           a directory's rename that has begun (moving.ts)
  | "failed_deletes_drained"; // position in shim-failed-deletes.log

export interface ManifestTrouble {
  readonly error: ManifestError;
  readonly sinceMs: number;
}

/** What is to stay of a name whose row goes to another one. */
export interface Leaving {
  /** What other stores may have under the name is not to fill it again. */
  readonly whiteout?: boolean;
  /**
   * As in `deleted`: where a row that moves, or that another one is moved onto, names no object, one
   * may be there under the first key of its path, and is a tombstone from then on.
   */
  readonly firstKey?: (path: DepotPath) => ObjectKey;
}

/** What became of the rows below a directory that was renamed, or traded places. */
export interface MovedTree {
  readonly movedCount: number;
  /** Rows that stay, whose files have names that are too long for one. */
  readonly left: readonly DepotPath[];
}

/** A move that had begun. */
export interface FinishedMove extends MovedTree {
  readonly from: DepotPath;
  readonly to: DepotPath;
}

/**
 * known: the row says that exactly this file is resident, by inode, size, mtime and ctime, or that
 * it is evicted and the marker is its own, by size, and by mtime or inode. unproven: a scan saw it so, but nobody has hashed it since its ctime changed
 * (unproven.ts). other: whatever else, a missing row included.
 */
export type Glance = "known" | "unproven" | "other";

export interface Manifest {
  /** The row, or null. @throws {ManifestError} `damaged` if its checksum fails. */
  get(path: DepotPath): FileEntry | null;

  /** Changes one row, durably. Concurrent calls share an fsync. */
  apply(
    path: DepotPath,
    expected: Expectation,
    event: ManifestEvent,
  ): Promise<ApplyOutcome>;

  /**
   * The row of `from` becomes that of `to` (a rename in the depot), keeping its stored
   * version; a row that stood at `to` leaves a tombstone. A `from` without a row: nothing.
   */
  move(
    from: DepotPath,
    to: DepotPath,
    nowMs: number,
    leaving?: Leaving,
  ): Promise<ApplyOutcome>;

  /**
   * The rows of `a` and `b` trade places, and leave nothing but tombstones of what the first keys
   * may hold. Without one of them: nothing.
   */
  exchange(a: DepotPath, b: DepotPath, leaving?: Leaving): Promise<ApplyOutcome>;

  /**
   * As `move`, of each row below the directory `from`; but a row whose new path would be longer
   * than any may be stays where it is.
   */
  moveTree(
    from: DepotPath,
    to: DepotPath,
    nowMs: number,
    leaving?: Leaving,
  ): Promise<MovedTree>;

  /**
   * The rows below two directories trade places, each as by `exchange`, or as by `move` where only one
   * of the two paths has one; but both stay where one of the new paths would be too long.
   */
  exchangeTrees(
    from: DepotPath,
    to: DepotPath,
    nowMs: number,
    leaving?: Leaving,
  ): Promise<MovedTree>;

  /**
   * Finishes a `moveTree` or `exchangeTrees` that a stop, a death or a failure cut short; null: there
   * is none. To be called at each start before anything else asks where a file's row is. Both do it
   * first by themselves.
   *
   * @throws The signal's reason, between two steps.
   */
  finishMove(
    leaving: Pick<Leaving, "firstKey">,
    signal?: AbortSignal,
  ): Promise<FinishedMove | null>;

  /**
   * Latest access per path, in seconds. Paths without a row are skipped. One that comes well
   * after the restore of a row is its second read: the flag `readOnce` goes.
   */
  accessed(batch: ReadonlyMap<DepotPath, number>): Promise<void>;

  /**
   * Up to `limit` dirty rows that are due at `nowMs`, the longest waiting first. Rows with
   * the flag `conflict` or `foreign` are not due until the flag goes.
   */
  dirtyDue(nowMs: number, limit: number): PathAndEntry[];

  /** All of them, in that order, read some at a time; they may change in between. */
  due(nowMs: number): Generator<PathAndEntry>;

  /** When the next row that waits for a retry is due; null if none waits. */
  nextRetryAtMs(): number | null;

  /** How many wait for a retry. */
  retryCount(): number;

  /** Whether some are due after `atMs` only. */
  hasRetryAfter(atMs: number): boolean;

  /** Every waiting retry becomes due now. */
  retryNow(): Promise<void>;

  /** When the oldest dirty row was queued, in milliseconds since the epoch; null if none. */
  oldestDirtyAtMs(): number | null;

  /** Up to `limit` rows that are not clean, by the time since which they are, after `after`. */
  waiting(after: Waiting | null, limit: number): Waiting[];

  /** The next place in the queue of uploads; all that were taken are smaller. */
  nextSequence(): number;

  /**
   * Up to `limit` resident clean rows, after `after` if given: first those with the flag
   * `readOnce`, the longest restored first; then the others, least recently used first.
   */
  leastRecentlyUsed(limit: number, after?: PathAndEntry): PathAndEntry[];

  /** Up to `limit` rows in byte order of their paths, with the prefix, after `after`. */
  entries(prefix: string, after: DepotPath | null, limit: number): PathAndEntry[];

  /**
   * Up to `limit` rows in the order in which they came, after `after`. No rename changes a row's
   * place: who goes through all of them passes over none that is there all the while.
   */
  byArrival(after: PathAndEntry | null, limit: number): PathAndEntry[];

  /**
   * What a scan asks of each file or marker (`isMarker`; with the size that it says): cheaper than
   * `get`, because nothing but these bytes of the row is looked at.
   */
  glance(path: DepotPath, stat: LocalStat, isMarker?: boolean): Glance;

  /** Up to `limit` paths that have a row, in byte order, after `after`. */
  paths(after: DepotPath | null, limit: number): DepotPath[];

  /** Up to `limit` rows with the flag `conflict` or `foreign`, oldest row first. */
  conflicts(after: PathAndEntry | null, limit: number): PathAndEntry[];

  /** Whether some row has the object as its stored version. */
  isNamed(key: ObjectKey): boolean;

  /** The rows that have an object of this key as their stored version, under whatever path. */
  rowsNaming(key: ObjectKey): PathAndEntry[];

  /** The tombstones of objects of this key, of whatever path. */
  tombstonesNaming(key: ObjectKey): Tombstone[];

  /** Whether some tombstone, of whatever path, is of the object. */
  isBuried(key: ObjectKey): boolean;

  /**
   * Whether some row or tombstone, of whatever path, has the first version of a path or a later
   * one: what stores hold under its keys is of a file that is known, deleted or renamed.
   */
  hasVersionOf(first: ObjectKey): boolean;

  /** Oldest first. */
  tombstonesOf(path: DepotPath): Tombstone[];
  /** Up to `limit` of all of them, in byte order of their paths, then oldest first, after `after`. */
  tombstones(
    after: Pick<Tombstone, "path" | "id"> | null,
    limit: number,
  ): Tombstone[];
  /** The next one's; all that can be seen now have smaller ones. */
  nextTombstoneId(): number;
  /**
   * The primary has the object: no row and no tombstone says any longer that only the secondary has
   * it, whatever becomes of them meanwhile. A tombstone's grace counts from when it was made.
   */
  inPrimary(stored: StoredVersion): Promise<void>;
  /**
   * Up to `limit` tombstones made at or before `beforeMs` whose object may be removed: it
   * is ours, not yet removed, and no row names it (a file that was moved or that got its
   * old content back may: such a tombstone is never due while that lasts), and neither does
   * a younger tombstone, of whatever path. Oldest first, after `after` if given.
   */
  tombstonesDue(beforeMs: number, limit: number, after?: Tombstone): Tombstone[];
  /** Whether `tombstonesDue()` would give it now; one that has changed since is another. */
  isDue(tombstone: Tombstone, beforeMs: number): boolean;
  /** The object is gone from the store. A whiteout stays, everything else of it goes. */
  tombstoneRemoved(tombstone: Tombstone): Promise<void>;
  /**
   * An upload put `stored`, and its row had changed meanwhile: a tombstone like that of a
   * version that was replaced, unless the row names the object all the same.
   */
  orphaned(
    path: DepotPath,
    stored: StoredVersion,
    local: LocalStat,
    whiteout?: boolean,
  ): Promise<void>;
  /**
   * Each tombstone counts as made at `nowMs`: after a rebuild from a copy, what was true
   * of the copy may not be true any more, and nothing is removed on its word alone.
   */
  postponeTombstones(nowMs: number): Promise<void>;
  /**
   * The newest deleted version becomes the row again, evicted. Null if there is none, or
   * if the path has a row.
   */
  undelete(
    path: DepotPath,
    nowS: number,
    secondaryOnly?: boolean,
  ): Promise<FileEntry | null>;

  /** @throws {ManifestError} `unavailable` if no more can read at once. */
  snapshot(): ManifestSnapshot;

  counters(): ManifestCounters;
  /**
   * Counts every row again at one moment, beside other work. Where `counted` and `kept`
   * differ, the counters have drifted. @throws {ManifestError} `damaged`
   */
  recount(
    signal?: AbortSignal,
  ): Promise<{ kept: ManifestCounters; counted: ManifestCounters }>;
  /** Which layout the tables have, and which one every row. */
  format(): { readonly schemaVersion: number; readonly rowVersion: string };
  meta(name: MetaName): string | null;
  setMeta(name: MetaName, value: string): Promise<void>;

  /**
   * Why the last change could not be written, and since when none could; null when all is
   * well. Reads go on; each change is tried, and fails by itself.
   */
  trouble(): ManifestTrouble | null;

  /** How many groups of changes could not be written since it was opened. */
  failedChanges(): number;

  /**
   * No row gets a generation of `floor` or less from here on: what the store has may be of
   * generations that a manifest which was lost had come to.
   */
  raiseGenerations(floor: number): Promise<void>;

  /** A consistent copy into the new directory `directory`, while everything goes on. */
  backup(directory: string): Promise<void>;

  /**
   * Waits for what is under way, but for no {@linkcode backup}: that goes on until it or the process
   * ends. Nothing may be called afterwards.
   */
  close(): Promise<void>;
}

/**
 * What the manifest said at one moment, whatever is written meanwhile: all answers are of one commit.
 * Space that commits free is not used again while it is held, and the file grows.
 */
export interface ManifestSnapshot extends
  Pick<
    Manifest,
    "entries" | "oldestDirtyAtMs" | "counters" | "format" | "meta"
  > {
  /** Up to `limit` retries, the earliest first, after `after` if given. */
  retries(limit: number, after?: Retry): Retry[];

  /** Ends it. Nothing may be asked afterwards. */
  done(): void;
}

/**
 * damaged: a row or page is not what was written (exit 74). full: the disk is full, the
 * operation did not happen. newer: written by a newer p4-cache. older: of an older schema, or on
 * the way from one; only a start of the daemon brings it over. unavailable: it cannot be opened.
 * stuck: a write that the disk refused leaves nothing to be read or written until it is opened anew.
 */
export type ManifestFault =
  | "damaged"
  | "full"
  | "newer"
  | "older"
  | "unavailable"
  | "stuck";

/** The manifest could not do what was asked. Nothing is half done. */
export class ManifestError extends Error {
  override readonly name = "ManifestError";
  readonly fault: ManifestFault;

  constructor(fault: ManifestFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}
