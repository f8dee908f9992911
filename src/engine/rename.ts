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
import { type EngineContext, hasOtherStores, hasSameContent } from "./engine_context.ts";
import { isAbsent, lookAt } from "./local_file.ts";
import { buryLostUpload } from "./lost_upload.ts";
import { isMarkerOf } from "./observe_plan.ts";

/** A file or directory of the depot has another name. */
export interface Rename {
  readonly from: DepotPath;
  readonly to: DepotPath;
  /** "file": or its marker, or not known. "other": a symbolic link, a device, a pipe. */
  readonly what: "file" | "directory" | "other";
  /** Of what was renamed, if it is known. */
  readonly ino: bigint | null;
  readonly writerUid: number | null;
}

/** A file was renamed: its row follows. `gone`: to a name that has no rows. */
export async function moveRow(
  context: EngineContext,
  rename: Rename,
): Promise<"gone" | "taken"> {
  const { from, to } = rename;
  const { manifest, clock, settings, departures, evictions } = context;
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
      await manifest.exchange(from, to);
    } else if (hasLeft(context, rename)) {
      // Nothing names it once the row is another path's.
      if (row.stored === null) await buryLostUpload(context, from, row);
      await manifest.move(from, to, clock.nowMs(), hasOtherStores(context));
      crashPoint("rename/row-moved");
      removeStrayMarker(context, from);
    } else return "taken";
    departures.forget(from);
    departures.forget(to);
    return "taken";
  }
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
  if (ino === null || manifest.get(from)?.local.ino !== ino || other === null) {
    return false;
  }
  const look = lookAt(context, from);
  if (look.kind === "marker") {
    const { stat, sizeBytes } = look;
    return !other.resident && hasSameContent({ ...stat, sizeBytes }, other.local);
  }
  return look.kind === "file" && other.resident &&
    hasSameContent(look.stat, other.local);
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
 * often it was renamed since, unless it lies at `from`: then it came back, or was deleted, and its
 * number is another file's, which the row knows by a look ahead of this event. The row may also lag
 * behind by a restore or an eviction; but not that of a file which was told to be gone, whose DELETE
 * may be on its way: the one that was renamed was made since. Without the inode: whether the row is what now lies at `to`, and not what `p4d` has written to
 * `from` again. The marker that the row knows by its inode went with it, or one that it does not
 * know, because it was put back, or because of a death in the moment of its eviction: that has the
 * row's size and time. Another marker at `from` was put back by a look that came before this event.
 */
function hasLeft(context: EngineContext, { from, to, ino }: Rename): boolean {
  const { manifest, departures } = context;
  const row = manifest.get(from);
  if (ino !== null && row?.local.ino === ino) return !isInodeAt(context, from, ino);
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
