/**
 * What each event does to a row: the closed table of legal transitions. Pure.
 *
 * The table says which events a row may meet in each phase, and nothing else decides it:
 * an event that is not in it is a bug of the caller (a completion that came late is
 * stopped before, by its generation). What the event then does is one function per kind.
 *
 * @module
 */

import { assert, InvariantError } from "../core/assert.ts";
import type { ObjectKey } from "../core/names.ts";
import type {
  FileEntry,
  FileFlags,
  ManifestEvent,
  StoredVersion,
  Tombstone,
} from "./manifest.ts";
import { isParked, NO_FLAGS, uploadedSince } from "./row.ts";

/** Where a path stands: its state, with clean rows told apart by residence. */
export type Phase = "absent" | "dirty" | "uploading" | "resident" | "evicted";

export type EventKind = ManifestEvent["kind"];

/** The events that are legal in each phase. */
export const LEGAL: Readonly<Record<Phase, readonly EventKind[]>> = {
  absent: ["written", "adopted", "deleted", "vanished", "flagged"],
  dirty: ["written", "upload-started", "deleted", "vanished", "attributes", "flagged"],
  uploading: [
    "written",
    "uploaded",
    "upload-failed",
    "deleted",
    "vanished",
    "attributes",
    "flagged",
  ],
  resident: [
    "written",
    "evicted",
    "restored",
    "adopted",
    "deleted",
    "vanished",
    "attributes",
    "flagged",
  ],
  evicted: [
    "written",
    "restored",
    "adopted",
    "deleted",
    "vanished",
    "attributes",
    "flagged",
  ],
};

/**
 * keep: where it was, uploading rows come back to it. due: the same, and no deadline any
 * more. last: due now, at the end. none: not in the queue. retry: not due before then.
 */
export type QueueChange =
  | { readonly kind: "keep" | "due" | "none" }
  | { readonly kind: "last"; readonly sinceMs: number | null }
  | { readonly kind: "retry"; readonly retryAtMs: number };

/** What an event makes of a row. */
export interface Change {
  /** Null: the path has no row any more. */
  readonly entry: Omit<FileEntry, "generation"> | null;
  readonly queue: QueueChange;
  /** A stored version that is no longer the row's, and why. */
  readonly tombstone: Omit<Tombstone, "id" | "path"> | null;
  /** The file's only content is gone, and there is nothing to fall back to. */
  readonly lost: boolean;
}

type Entry = Omit<FileEntry, "generation">;

export function phaseOf(entry: FileEntry | null): Phase {
  if (entry === null) return "absent";
  if (entry.state !== "clean") return entry.state;
  return entry.resident ? "resident" : "evicted";
}

/**
 * The change that `event` makes.
 *
 * @throws {InvariantError} If the event is not legal for this row.
 */
export function planChange(current: FileEntry | null, event: ManifestEvent): Change {
  const phase = phaseOf(current);
  if (!LEGAL[phase].includes(event.kind)) {
    throw new InvariantError(`Event "${event.kind}" is not legal for a row ${phase}`);
  }
  if (current === null) return planForAbsent(event);
  switch (event.kind) {
    case "written":
      return planWritten(current, event);
    case "upload-started":
      assert(!isParked(current), "A foreign or conflicting file is not uploaded");
      return changed({ ...current, state: "uploading" }, { kind: "keep" });
    case "uploaded":
      return planUploaded(current, event);
    case "upload-failed":
      return changed(
        { ...current, state: "dirty" },
        event.retryAtMs === null
          ? { kind: "last", sinceMs: null }
          : { kind: "retry", retryAtMs: event.retryAtMs },
      );
    case "evicted":
      assert(isEvictable(current), "Only a clean, hashed, free row is evicted");
      return unqueued({ ...current, resident: false, local: event.marker });
    case "restored":
      return planRestored(current, event);
    case "adopted":
      return planAdopted(current, event);
    case "deleted":
      return planDeleted(current, event);
    case "vanished":
      return planVanished(current);
    case "attributes":
      return remarked(current, { local: event.stat });
    case "flagged":
      return remarked(current, { flags: { ...current.flags, ...event.flags } });
  }
}

/**
 * Whether the row, by itself, lets its local bytes go: the store has exactly them, by
 * hash, in the primary, and nobody keeps or disputes the file.
 */
export function isEvictable(entry: FileEntry): boolean {
  return entry.state === "clean" && entry.resident && entry.stored !== null &&
    entry.stored.hash !== null && !isParked(entry) && !entry.flags.secondaryOnly &&
    !entry.flags.pinned;
}

function changed(entry: Entry, queue: QueueChange): Change {
  return { entry, queue, tombstone: null, lost: false };
}

/**
 * The content stays. An upload that is under way ends stale, because the generation grows,
 * so its row goes back to its place in the queue: nobody else would take it from there.
 */
function remarked(
  current: FileEntry,
  what: Partial<Pick<FileEntry, "local" | "flags">>,
): Change {
  const state = current.state === "uploading" ? "dirty" : current.state;
  return changed({ ...current, ...what, state }, { kind: "keep" });
}

function unqueued(entry: Entry): Change {
  return changed(entry, { kind: "none" });
}

const NOTHING: Change = {
  entry: null,
  queue: { kind: "none" },
  tombstone: null,
  lost: false,
};

function planForAbsent(event: ManifestEvent): Change {
  switch (event.kind) {
    case "written":
      return changed({
        state: "dirty",
        resident: true,
        local: event.stat,
        lastAccessS: event.nowS,
        createdAtS: event.nowS,
        settledAtS: event.nowS,
        stored: null,
        flags: { ...NO_FLAGS, ...event.flags },
      }, { kind: "last", sinceMs: event.nowS * 1000 });
    case "adopted":
      return unqueued({
        state: "clean",
        resident: event.resident,
        local: event.stat,
        lastAccessS: event.nowS,
        createdAtS: event.nowS,
        settledAtS: event.nowS,
        stored: event.stored,
        flags: { ...NO_FLAGS, ...event.flags },
      });
    default: // a delete, a disappearance or a wish about what the manifest does not know
      return NOTHING;
  }
}

type EventOf<K extends EventKind> = Extract<ManifestEvent, { kind: K }>;

function planWritten(current: FileEntry, event: EventOf<"written">): Change {
  const isNewlyDirty = current.state === "clean";
  return changed(
    {
      ...current,
      state: "dirty",
      resident: true,
      local: event.stat,
      lastAccessS: Math.max(current.lastAccessS, event.nowS),
      settledAtS: event.nowS,
      flags: { ...current.flags, readOnce: false, ...event.flags },
    },
    // What made the upload of the content before fail may not hold for this one.
    current.state === "dirty"
      ? { kind: "due" }
      : { kind: "last", sinceMs: isNewlyDirty ? event.nowS * 1000 : null },
  );
}

/** Whether anybody read or wrote it within the last hour says whether this is one read. */
function planRestored(current: FileEntry, event: EventOf<"restored">): Change {
  const usedAtS = Math.max(current.lastAccessS, current.settledAtS);
  const { stored, flags } = current;
  const isFromSecondary = flags.secondaryOnly || event.toUpload === "secondary";
  const entry: Entry = {
    ...current,
    resident: true,
    local: event.stat,
    settledAtS: event.nowS,
    lastAccessS: Math.max(current.lastAccessS, event.nowS),
    stored: stored!.hash === null && event.hash !== undefined
      ? { ...stored!, hash: event.hash }
      : stored,
    flags: {
      ...flags,
      secondaryOnly: isFromSecondary,
      readOnce: !current.resident && event.nowS - usedAtS > REUSE_SECS,
    },
  };
  if (!isFromSecondary && (event.toUpload ?? null) === null) return unqueued(entry);
  return changed(
    { ...entry, state: "dirty" },
    { kind: "last", sinceMs: event.nowS * 1000 },
  );
}

/** A file that is used again within this time is no file of a scan, even if it was evicted. */
const REUSE_SECS = 3_600;

/** Opens within this time of a restore belong to the read that asked for it. */
const SAME_READ_SECS = 120;

/** The row after an access at `atS`; the same object if that changes nothing. */
export function planTouch<R extends FileEntry>(row: R, atS: number): R {
  const isSecondRead = row.flags.readOnce && atS - row.settledAtS > SAME_READ_SECS;
  if (row.lastAccessS >= atS && !isSecondRead) return row;
  return {
    ...row,
    lastAccessS: Math.max(row.lastAccessS, atS),
    flags: isSecondRead ? { ...row.flags, readOnce: false } : row.flags,
  };
}

function planUploaded(current: FileEntry, event: EventOf<"uploaded">): Change {
  const { stored } = current;
  const nowS = Math.floor(event.nowMs / 1000);
  const isReplaced = stored !== null && stored.key !== event.stored.key;
  return {
    entry: {
      ...current,
      state: "clean",
      resident: true,
      local: event.stat,
      stored: event.stored,
      settledAtS: Math.max(current.settledAtS, nowS),
      // Both speak of the version before; this one is ours, and in the primary.
      flags: { ...current.flags, borrowed: false, secondaryOnly: false },
    },
    queue: { kind: "none" },
    tombstone: isReplaced && isKept(current.flags, stored, event.stored.hash)
      ? tombstoneOf(current, stored, { reason: "replaced", atMs: event.nowMs })
      : null,
    lost: false,
  };
}

/** Takes what the store has; whatever the row named before stays in the store untouched. */
function planAdopted(current: FileEntry, event: EventOf<"adopted">): Change {
  return unqueued({
    ...current,
    resident: event.resident,
    local: event.stat,
    stored: event.stored,
    settledAtS: event.nowS,
    flags: { ...current.flags, ...event.flags },
  });
}

function planDeleted(current: FileEntry, event: EventOf<"deleted">): Change {
  const stored = current.stored ?? unknownVersion(current, event.firstKey);
  return {
    ...NOTHING,
    tombstone: stored === null ? null : tombstoneOf(current, stored, {
      reason: "deleted",
      atMs: event.nowMs,
      // What stays in a read prefix or in the secondary would be found again.
      whiteout: event.whiteout || !isOurs(current.flags),
    }),
  };
}

function unknownVersion(
  { local: { sizeBytes, mtimeNs } }: FileEntry,
  key: ObjectKey | undefined,
): StoredVersion | null {
  if (key === undefined) return null;
  return { key, hash: null, sizeBytes, mtimeNs, versionId: null };
}

/**
 * The number of a file or marker that is gone may be any other's by now. The marker of a row
 * without one, of the row's size and time, is a missing one that we have put back.
 */
export const NO_INODE = 0n;

function planVanished(current: FileEntry): Change {
  const { stored } = current;
  if (stored === null) return { ...NOTHING, lost: true };
  const local = { ...current.local, ino: NO_INODE };
  if (current.state === "clean") return unqueued({ ...current, resident: false, local });
  return unqueued({
    ...current,
    state: "clean",
    resident: false,
    local: { ...local, sizeBytes: stored.sizeBytes, mtimeNs: stored.mtimeNs },
    // The disputed content is what vanished.
    flags: { ...current.flags, foreign: false, conflict: false },
  });
}

/**
 * The row under another name, which it has since `movedMs`; 0: not told. Its upload, if one runs,
 * ends stale and is done again.
 */
export function planMove(row: FileEntry, movedMs: number): Change {
  // Nothing else tells the marker that is there from one of what was deleted there before.
  const isUnknown = !row.resident && row.local.ino === NO_INODE && movedMs > 0;
  const ctimeNs = BigInt(Math.floor(movedMs)) * 1_000_000n;
  const current = isUnknown ? { ...row, local: { ...row.local, ctimeNs } } : row;
  return current.state === "uploading"
    ? changed({ ...current, state: "dirty" }, { kind: "last", sinceMs: null })
    : changed(current, { kind: "keep" });
}

/** What a row that another one is moved onto leaves behind. */
export function planOverwritten(current: FileEntry, nowMs: number): Change {
  const { stored } = current;
  return {
    ...NOTHING,
    tombstone: stored === null || !isKept(current.flags, stored, null)
      ? null
      : tombstoneOf(current, stored, { reason: "replaced", atMs: nowMs }),
  };
}

/** At start: an upload that was under way is done again, from its old place in the queue. */
export function planInterrupted(current: FileEntry): Change {
  assert(current.state === "uploading", "Only an upload is interrupted");
  return changed({ ...current, state: "dirty" }, { kind: "keep" });
}

/** The row that a deleted version becomes again, evicted. */
export function planUndelete(tombstone: Tombstone, nowS: number): Change {
  const { stored, local } = tombstone;
  return unqueued({
    state: "clean",
    resident: false,
    local: {
      ...local,
      sizeBytes: stored.sizeBytes,
      mtimeNs: stored.mtimeNs,
      // Its marker is made anew, and was not there when the file was deleted.
      ctimeNs: BigInt(nowS) * 1_000_000_000n,
      ino: NO_INODE,
    },
    lastAccessS: nowS,
    createdAtS: nowS,
    settledAtS: nowS,
    stored,
    flags: {
      ...NO_FLAGS,
      borrowed: tombstone.borrowed,
      secondaryOnly: tombstone.secondaryOnly,
    },
  });
}

/**
 * Whether a replaced version is kept for its grace. Another instance's is not ours to keep or to
 * remove. What only the secondary has is, until it is brought from there; but not the bytes that
 * have just been, which the primary has under the new key.
 */
function isKept(
  { borrowed, secondaryOnly }: FileFlags,
  { hash }: StoredVersion,
  newHash: string | null,
): boolean {
  return !borrowed && !(secondaryOnly && hash !== null && hash === newHash);
}

function isOurs(flags: FileFlags): boolean {
  return !flags.borrowed && !flags.secondaryOnly;
}

function tombstoneOf(
  current: FileEntry,
  stored: StoredVersion,
  why: Pick<Tombstone, "reason" | "atMs"> & { readonly whiteout?: boolean },
): Omit<Tombstone, "id" | "path"> {
  return {
    stored,
    reason: why.reason,
    atMs: why.atMs,
    local: current.stored === null ? uploadedSince(current) : current.local,
    whiteout: why.whiteout ?? false,
    removed: false,
    borrowed: current.flags.borrowed,
    secondaryOnly: current.flags.secondaryOnly,
  };
}
