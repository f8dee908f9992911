/**
 * Removes what the daemon itself put under a name of the depot. `p4d` may rename a file over
 * it at any moment, also between a look and an unlink, so it is taken out first, looked at
 * then, and put back if it is not ours.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { LocalStat } from "../manifest/manifest.ts";
import { NO_INODE } from "../manifest/transitions.ts";
import type { FileStat } from "../posix/posix.ts";
import { absolute, type EngineContext, temporaryDirectory } from "./engine_context.ts";
import { lookAt } from "./local_file.ts";
import { isMarkerOf } from "./observe_plan.ts";
import { recoverEntry } from "./recovery.ts";

/** Whether what lay at `path` was ours, and went. */
export function removeOwn(
  context: EngineContext,
  path: DepotPath,
  isOwn: (stat: FileStat) => boolean,
): boolean {
  const { posix, root, newId, log } = context;
  const target = absolute(context, path);
  const there = posix.lstat(target);
  if (there === null || !isOwn(there)) return false;
  // Not the name of a download: what a crash leaves under it is kept, if it is a file.
  const aside = `${temporaryDirectory(root)}/${newId()}.stray`;
  const deps = { posix, root, log };
  let result;
  try {
    result = posix.takeOut({ target, aside, expect: there });
  } catch (error) {
    // The name may be empty, and what p4d wrote aside.
    recoverEntry(deps, aside, () => false);
    throw error;
  }
  // p4d wrote the name while it was empty: what it wrote before may be in no other place.
  if (result === "kept") recoverEntry(deps, aside, () => false);
  return result === "gone";
}

/** The same of a marker that was put back under a name that its file had left. */
export function removePutBack(context: EngineContext, path: DepotPath): boolean {
  return removeOwn(
    context,
    path,
    ({ kind, ino }) => kind === "socket" && context.putBack.has(path, ino),
  );
}

/**
 * Whether the file of the name has left it: nothing is there, or what was put there since: our own
 * marker, a link, a directory.
 */
export function isLeft(context: EngineContext, path: DepotPath): boolean {
  const look = lookAt(context, path);
  if (look.kind === "marker") return isPutBack(context, path, look.stat);
  if (look.kind !== "other") return look.kind === "absent";
  const kind = context.posix.lstat(absolute(context, path))?.kind;
  return kind === "symlink" || kind === "directory";
}

/** By this process, or by the one before: then its row tells, and it is known from now on. */
function isPutBack(
  { manifest, putBack }: EngineContext,
  path: DepotPath,
  marker: LocalStat,
): boolean {
  const entry = manifest.get(path);
  // The row's own, of an eviction since: the number was free again.
  if (entry?.local.ino === marker.ino) return false;
  if (putBack.has(path, marker.ino)) return true;
  if (entry?.local.ino !== NO_INODE || !isMarkerOf(entry, marker)) return false;
  putBack.note(path, marker.ino);
  return true;
}
