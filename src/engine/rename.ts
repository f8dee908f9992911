/**
 * What the row of a file does when the file gets another name.
 *
 * The kernel tells of renames in their order, but late: what lies at the two names is of now,
 * and may be of a rename that is told next. So the row follows its file by inode.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import { type DepotPath, isManaged } from "../core/names.ts";
import { deleteRow, removeStrayMarker } from "./delete.ts";
import type { FileEntry } from "../manifest/manifest.ts";
import { NO_INODE } from "../manifest/transitions.ts";
import { changedAtNs } from "../manifest/unproven.ts";
import { type EngineContext, hasSameContent, leavingIn } from "./engine_context.ts";
import { isAbsent, lookAt } from "./local_file.ts";
import { isMarkerOf, type WriterUid } from "./observe_plan.ts";

/** A file or directory of the depot has another name. */
export interface Rename {
  readonly from: DepotPath;
  readonly to: DepotPath;
  /** "file": or its marker, or not known. "other": a symbolic link, a device, a pipe. */
  readonly what: "file" | "directory" | "other";
  /** Of what was renamed, if it is known. */
  readonly ino: bigint | null;
  readonly writerUid: WriterUid;
  /** When the kernel's word of it came, by the wall clock. Default: now. */
  readonly toldMs?: number;
}

/** A file was renamed: its row follows. `gone`: to a name that has no rows. */
export async function moveRow(
  context: EngineContext,
  rename: Rename,
): Promise<"gone" | "taken"> {
  const { from, to, toldMs = context.clock.nowMs() } = rename;
  const { manifest, settings, departures, evictions } = context;
  const { manage } = settings();
  for (;;) {
    // Its row is about to know the marker by which it is found.
    await evictions.settled(from);
    const row = manifest.get(from);
    if (row === null || !isManaged(from, manage)) return "taken";
    if (!isManaged(to, manage)) return "gone";
    if (wasReplaced(context, rename)) {
      // It did not vanish: a rename took its name, and its version goes as a deleted one does.
      // Unless a restore, an eviction or an upload of before just writes its row: again then.
      if (await deleteRow(context, from, row)) return "taken";
      continue;
    }
    if (isExchange(context, rename)) {
      await manifest.exchange(from, to, leavingIn(context));
      await knowMarker(context, rename);
    } else if (hasLeft(context, rename)) {
      await manifest.move(from, to, toldMs, leavingIn(context));
      crashPoint("rename/row-moved");
      await knowMarker(context, rename);
      removeStrayMarker(context, from);
    } else return "taken";
    departures.forget(from);
    departures.forget(to);
    return "taken";
  }
}

/**
 * A marker that was put back, and has another name now: it is there because its file was renamed, and
 * a DELETE of what had the name before is not to take it for an empty name.
 */
async function knowMarker(context: EngineContext, { to, ino }: Rename): Promise<void> {
  const row = context.manifest.get(to);
  if (row === null || row.resident || row.local.ino !== NO_INODE) return;
  const look = lookAt(context, to);
  if (look.kind !== "marker" || look.stat.ino !== ino) return;
  if (!isMarkerOf(row, look.stat)) return;
  const change = { kind: "attributes", stat: look.stat } as const;
  await context.manifest.apply(to, row.generation, change);
}

/**
 * What is neither a file nor a marker took the name `to`: the file that it replaced, if one lay
 * there, goes as a deleted one does. Its row must not wait for a look, which may find the name
 * empty by then, nor go along when the name is left again. That of an evicted file may, and does.
 */
export async function deleteReplacedRow(
  context: EngineContext,
  { from, to }: Rename,
): Promise<void> {
  for (;;) {
    const row = context.manifest.get(to);
    // The other half of an exchange is told next.
    if (row === null || !row.resident || isAt(context, from, row)) return;
    const { kind } = lookAt(context, to);
    if (kind !== "absent" && kind !== "other") return;
    // Unless a restore, an eviction or an upload of before just writes its row: again then.
    if (await deleteRow(context, to, row)) return;
  }
}

/**
 * Whether what had the name `to` has the name `from` now: the kernel tells of an exchange as of
 * two renames. Not by its inode alone, which may be a new file's.
 */
function isExchange(context: EngineContext, { from, to, ino }: Rename): boolean {
  const { manifest } = context;
  const other = manifest.get(to);
  const row = manifest.get(from);
  if (
    ino === null || row === null || other === null || !isRenamed(context, row, to, ino)
  ) {
    return false;
  }
  const look = lookAt(context, from);
  if (look.kind === "marker") {
    const { stat, sizeBytes } = look;
    const there = { ...stat, sizeBytes };
    return !other.resident && (hasSameContent(there, other.local) ||
      (other.local.ino === NO_INODE && isMarkerOf(other, there)));
  }
  return look.kind === "file" && other.resident &&
    hasSameContent(look.stat, other.local);
}

/** By its number; a marker that was put back, which its row does not know, as it lies there. */
function isRenamed(
  context: EngineContext,
  row: FileEntry,
  to: DepotPath,
  ino: bigint,
): boolean {
  if (row.local.ino !== NO_INODE) return row.local.ino === ino;
  const look = lookAt(context, to);
  return look.kind === "marker" && look.stat.ino === ino && isMarkerOf(row, look.stat);
}

/**
 * Whether the row of `from` is of a file that the renamed one had replaced there before it went
 * on: a look at `to`, ahead of this event, knows the renamed one already.
 */
function wasReplaced(context: EngineContext, { from, to, ino }: Rename): boolean {
  const { manifest } = context;
  return ino !== null && manifest.get(from)?.local.ino !== ino &&
    manifest.get(to)?.local.ino === ino && isAbsent(context, from);
}

/**
 * Whether the row of `from` is that of the file that went to `to`. Its inode says so, however
 * often it was renamed since; the row may lag behind by a restore or an eviction, or run ahead
 * by a look. But the kernel uses the number of a deleted file again at once: if it lies at `from`,
 * or the row's file is at neither name and was changed since the rename was told, then the row is
 * of the file that came back, or of the next one. Nor does the row go along of a file that was told
 * to be gone: its DELETE may be on its way, and what was renamed was made since.
 *
 * Without the inode: whether the row is what now lies at `to`, and not what `p4d` has written to
 * `from` again. The marker that the row knows by its inode went with it, or one that it does not
 * know, because it was put back, or because of a death in the moment of its eviction: that has the
 * row's size and time. Another marker at `from` was put back by a look that came before this event.
 */
function hasLeft(context: EngineContext, { from, to, ino, toldMs }: Rename): boolean {
  const { manifest, departures } = context;
  const row = manifest.get(from);
  if (ino !== null && row?.local.ino === ino) {
    if (isInodeAt(context, from, ino)) return false;
    return isInodeAt(context, to, ino) || toldMs === undefined ||
      changedAtNs(row.local) <= BigInt(Math.ceil(toldMs)) * 1_000_000n;
  }
  if (ino !== null && manifest.get(to)?.local.ino === ino) return false;
  const isKnown = ino !== null && row !== null && row.local.ino !== NO_INODE;
  if (isKnown && departures.rowOf(from) === from) return false;
  if (isAbsent(context, from)) return true;
  const look = lookAt(context, to);
  if (look.kind !== "marker" || row === null) return false;
  if (!row.resident && look.stat.ino === row.local.ino) return true;
  if (look.stat.ino === ino && isMarkerOf(row, look.stat) && !isAt(context, from, row)) {
    return true;
  }
  return lookAt(context, from).kind === "marker" && manifest.get(to) === null;
}

function isAt(context: EngineContext, path: DepotPath, { local }: FileEntry): boolean {
  const look = lookAt(context, path);
  return look.kind === "file" && look.stat.ino === local.ino;
}

/** A file of that number, or a marker. */
function isInodeAt(context: EngineContext, path: DepotPath, ino: bigint): boolean {
  const look = lookAt(context, path);
  return (look.kind === "file" || look.kind === "marker") && look.stat.ino === ino;
}
