/**
 * What a look at the disk means for a row. Pure: a table of row x what lies there.
 *
 * Every report (a close, a rename, a delete, a scan) is only a hint to look; this decides
 * from what the look showed. Nothing here makes a tombstone: a file that is gone without a
 * DELETE is evicted or lost, never deleted.
 *
 * @module
 */

import type { FileEntry, LocalStat } from "../manifest/manifest.ts";
import { NO_INODE } from "../manifest/transitions.ts";

/** What lies at the path. `marker`: a socket inode whose check is right. */
export type Look =
  | { readonly kind: "absent" }
  | { readonly kind: "file"; readonly stat: LocalStat }
  | { readonly kind: "marker"; readonly stat: LocalStat; readonly sizeBytes: number }
  /** A directory, a symbolic link, a socket or device of somebody else. */
  | { readonly kind: "other" }
  /** On another file system than the depot's root, or missing there: nothing follows. */
  | { readonly kind: "elsewhere" };

/**
 * Which difference between a file and its row is a write: each, because it was reported or somebody
 * watched; only a newer file, which may have been written while nobody did; or none, because the
 * machine was started again since, and a power cut may have damaged the file.
 */
export type Trust = "all" | "newer" | "none";

export interface LookReason {
  /**
   * event: the watcher reported a write or rename of this path. apart: it did, and the look
   * waited for what was reported until then. engine: an operation of our own met something
   * that it did not expect. scan: nobody reported anything.
   */
  readonly source: "event" | "apart" | "engine" | "scan";
  /** Until the first whole scan is over, less may be trusted: see {@linkcode EngineContext}. */
  readonly trusts: Trust;
  /** Of the file that an event is about, where the kernel tells. */
  readonly ino?: bigint | null;
  /** Asked before a file that may be unchanged is hashed for a scan; by default it hashes some GiB. */
  readonly mayHash?: (sizeBytes: number) => boolean;
}

/**
 * Who wrote a file: known; `other`: its owner, or one of the others who may; null: not told, the
 * owner counts.
 */
export type WriterUid = number | "other" | null;

export type ObservePlan =
  | { readonly action: "nothing" }
  /** New content: to be uploaded. */
  | { readonly action: "written"; readonly stat: LocalStat }
  /** Different bytes that nobody reported writing: both versions are kept. */
  | { readonly action: "conflict"; readonly stat: LocalStat }
  | { readonly action: "attributes"; readonly stat: LocalStat }
  /** The same but for its ctime, and nobody reported why: to be hashed before it may be evicted. */
  | { readonly action: "unproven"; readonly stat: LocalStat }
  /** Looks like the stored version (a restore that a crash cut short): hash, then decide. */
  | { readonly action: "compare"; readonly stat: LocalStat }
  /** `isEmpty`: and nothing else lies at the name. */
  | { readonly action: "vanished"; readonly isEmpty: boolean }
  /** The row is evicted and its name has no marker. */
  | { readonly action: "put-marker" }
  /** The row is evicted, and this is its marker, which it did not know by its inode. */
  | { readonly action: "know-marker"; readonly stat: LocalStat }
  /** A marker without a row: somebody moved or copied it. */
  | { readonly action: "orphan-marker" };

const NOTHING: ObservePlan = { action: "nothing" };

export function planObservation(
  entry: FileEntry | null,
  look: Look,
  reason: LookReason,
): ObservePlan {
  switch (look.kind) {
    case "absent":
      return planAbsent(entry);
    case "marker":
      return planMarker(entry, look.stat);
    case "elsewhere":
      return NOTHING;
    case "other":
      return entry === null || isEvicted(entry)
        ? NOTHING
        : { action: "vanished", isEmpty: false };
    case "file":
      return planFile(entry, look.stat, reason);
  }
}

function isEvicted(entry: FileEntry): boolean {
  return entry.state === "clean" && !entry.resident;
}

function planAbsent(entry: FileEntry | null): ObservePlan {
  if (entry === null) return NOTHING;
  return isEvicted(entry)
    ? { action: "put-marker" }
    : { action: "vanished", isEmpty: true };
}

function planMarker(entry: FileEntry | null, stat: LocalStat): ObservePlan {
  if (entry === null) return { action: "orphan-marker" };
  if (!isEvicted(entry)) return { action: "vanished", isEmpty: false };
  const { ino } = entry.local;
  // One that was put back is none that the row is to know: a DELETE may be on its way.
  const isUnknown = ino !== NO_INODE && stat.ino !== ino && isMarkerOf(entry, stat);
  return isUnknown ? { action: "know-marker", stat } : NOTHING;
}

/**
 * Whether an eviction of the row's file would have made such a marker. Of another size or time
 * it may be another file's, renamed while nobody watched.
 */
export function isMarkerOf({ state, local }: FileEntry, marker: LocalStat): boolean {
  return state === "clean" && marker.sizeBytes === local.sizeBytes &&
    marker.mtimeNs === local.mtimeNs;
}

function planFile(
  entry: FileEntry | null,
  stat: LocalStat,
  reason: LookReason,
): ObservePlan {
  if (entry === null) return { action: "written", stat };
  const { local } = entry;
  if (
    entry.resident && stat.ino === local.ino && stat.sizeBytes === local.sizeBytes &&
    stat.mtimeNs === local.mtimeNs
  ) {
    return stat.ctimeNs === local.ctimeNs ? NOTHING : planCtime(entry, stat, reason);
  }
  if (entry.state !== "clean") return { action: "written", stat };
  if (
    entry.stored !== null && stat.sizeBytes === entry.stored.sizeBytes &&
    entry.stored.hash !== null
  ) return { action: "compare", stat };
  return planDifference(entry, stat, reason);
}

/** A chmod or a link; or a write whose mtime was put back, which only a hash can tell. */
function planCtime(entry: FileEntry, stat: LocalStat, reason: LookReason): ObservePlan {
  // Its upload hashes it, or the row has nothing to compare it with, or is known to differ: such
  // are never evicted.
  const isToBeHashed = entry.state === "clean" && entry.stored!.hash !== null &&
    !entry.flags.conflict;
  if (!isToBeHashed) return { action: "attributes", stat };
  if (reason.source !== "scan") return { action: "compare", stat };
  return { action: "unproven", stat };
}

/** The file is not what the store has: written on purpose, or damaged? */
export function planDifference(
  entry: FileEntry,
  stat: LocalStat,
  reason: LookReason,
): ObservePlan {
  if (entry.flags.conflict) return NOTHING;
  if (reason.trusts === "all") return { action: "written", stat };
  const storedMtimeNs = entry.stored?.mtimeNs ?? 0n;
  const isNewer = stat.mtimeNs > entry.local.mtimeNs || stat.mtimeNs > storedMtimeNs;
  return reason.trusts === "newer" && isNewer
    ? { action: "written", stat }
    : { action: "conflict", stat };
}

/** What may be trusted of `reason` as long as only so much may be at all; null: all. */
export function within(reason: LookReason, limit: "newer" | "none" | null): LookReason {
  const isReported = reason.source === "event" || reason.source === "apart";
  if (limit === null || isReported) return reason;
  return { ...reason, trusts: reason.trusts === "none" ? "none" : limit };
}
