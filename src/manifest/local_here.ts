/**
 * What an imported row may say of the local disk. Inodes are told apart by their numbers, which
 * count on the disk that gave them only: a number of another one, known for a marker's, makes
 * two evicted files that trade places look like one that replaced the other, whose object is
 * deleted then; and any file may have it here by accident.
 *
 * @module
 */

import type { FileState, LocalStat } from "./manifest.ts";
import { isSameFile } from "./rebuild_choice.ts";
import type { LocalThing } from "./rebuild_sides.ts";
import { NO_INODE } from "./transitions.ts";

export interface SaidLocal {
  readonly state: FileState;
  readonly resident: boolean;
  readonly local: LocalStat;
}

/**
 * The row as it is where `thing` lies at its path: its own file or marker is known by its number,
 * as it is here. Else the row knows none, and its file is not resident: what a scan
 * finds is compared, or gets a marker. Pure.
 */
export function localHere<R extends SaidLocal>(row: R, thing: LocalThing | null): R {
  const { state, local } = row;
  if (thing?.kind === "file" && isSameFile(thing.stat, local)) {
    return { ...row, local: thing.stat };
  }
  // A marker that was put back has no number in its row, wherever it is.
  const isItsMarker = thing?.kind === "marker" && state === "clean" &&
    local.ino !== NO_INODE && thing.stat.sizeBytes === local.sizeBytes &&
    thing.stat.mtimeNs === local.mtimeNs;
  if (isItsMarker) return { ...row, resident: false, local: thing.stat };
  return { ...row, resident: false, local: { ...local, ino: NO_INODE } };
}
