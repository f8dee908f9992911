/**
 * Whose word deletes a file: the kernel's own, by the watcher, or that of somebody who could
 * have removed the name himself. Whoever may ask for files may not therefore delete them.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { FileEntry } from "../manifest/manifest.ts";
import type { FileStat } from "../posix/posix.ts";
import { absolute, type EngineContext } from "./engine_context.ts";

/** Who says that a file was deleted. Null: any user, or one of any group. */
export interface Deleter {
  readonly uid: number | null;
  readonly gid: number | null;
}

const STICKY = 0o1000;
const WRITE_AND_SEARCH = 3;
const SEARCH = 1;

/** A name that was deleted, and where its row is. */
interface Deleted {
  readonly path: DepotPath;
  readonly row: DepotPath;
  readonly entry: FileEntry;
}

/**
 * Whether each of `by` may: root and the daemon's own user, who owns all the rows; anybody just
 * after the kernel told that the name was removed, for somebody could; and whoever may remove
 * names from its directory. After a while it counts no more that it was told: then the file was
 * taken to be lost, and nobody's to delete.
 *
 * Call it when every change of before has been taken in.
 */
export function mayDelete(
  context: EngineContext,
  deleted: Deleted,
  by: readonly Deleter[],
): boolean {
  const { departures, clock } = context;
  return by.every(isTrusted) || departures.isRecent(deleted.path, clock.monotonicMs()) ||
    by.every((it) => isTrusted(it) || mayRemove(context, deleted, it));
}

/** Whoever may have written a file: what stands in it is the word of any of them. */
export function writersOf({ uid, gid, mode }: FileStat, directory: FileStat): Deleter[] {
  const writers: Deleter[] = [{ uid, gid: null }];
  if ((mode & 0o022) === 0) return writers;
  writers.push({ uid: directory.uid, gid: null });
  // Where nobody but its owner comes in, the file's own mode lets nobody in.
  if ((directory.mode & 0o011) === 0) return writers;
  if ((mode & 0o020) !== 0) writers.push({ uid: null, gid });
  if ((mode & 0o002) !== 0) writers.push({ uid: null, gid: null });
  return writers;
}

function isTrusted({ uid }: Deleter): boolean {
  return uid === 0 || uid === Deno.uid();
}

/** By the modes of the directories, from the depot's root down. */
function mayRemove(
  context: EngineContext,
  { row, entry }: Deleted,
  who: Deleter,
): boolean {
  const { posix, root } = context;
  const names = row.split("/").slice(0, -1);
  const directories = names.map((_, i) =>
    absolute(context, names.slice(0, i + 1).join("/") as DepotPath)
  );
  for (const [i, path] of [root, ...directories].entries()) {
    const directory = posix.lstat(path);
    if (directory?.kind !== "directory") return false;
    const wanted = i < names.length ? SEARCH : WRITE_AND_SEARCH;
    if ((bitsFor(directory, who) & wanted) !== wanted) return false;
    if (i < names.length || (directory.mode & STICKY) === 0) continue;
    if (who.uid !== directory.uid && who.uid !== entry.local.uid) return false;
  }
  return true;
}

function bitsFor({ mode, uid, gid }: FileStat, who: Deleter): number {
  if (who.uid === uid) return (mode >> 6) & 7;
  return (who.gid === gid ? mode >> 3 : mode) & 7;
}
