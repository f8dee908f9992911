/**
 * Start-up: finishes or undoes what a crash left in the daemon's own directories. Runs
 * before anything else touches the depot.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import type { BytePath } from "../core/names.ts";
import type { Logger } from "../obs/logger.ts";
import type { FileStat, Posix } from "../posix/posix.ts";
import {
  evictingDirectory,
  isAsideOf,
  isTemporaryOf,
  temporaryDirectory,
} from "./engine_context.ts";

export interface RecoveryReport {
  /** Unfinished downloads and markers that were taken out, removed. */
  readonly removed: number;
  /** Files that may be the only copy of their bytes, now in .p4cache/lost+found. */
  readonly kept: number;
}

/**
 * Empties tmp/ and evicting/.
 *
 * tmp/ holds downloads, whose bytes the store has. evicting/ holds a marker before the
 * exchange of an eviction; after it the file, while its name has the marker. Both kinds of
 * names tell which inode they were made for. A file that is another one was written by
 * somebody in the last moment and came here by an exchange that a crash kept from being
 * undone: it may be the only copy of its bytes, so it is kept, and the operator told.
 */
export async function recoverDirectories(
  posix: Posix,
  root: BytePath,
  log: Logger,
): Promise<RecoveryReport> {
  const temporaries = await clear(
    posix,
    temporaryDirectory(root),
    (name, stat) => isTemporaryOf(name, stat.ino),
  );
  const evictions = await clear(posix, evictingDirectory(root), isAsideOf);
  const kept = [...temporaries.kept, ...evictions.kept];
  for (const path of kept) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    posix.makeDirs(`${root}/.p4cache/lost+found`, 0o700);
    posix.rename(path, `${root}/.p4cache/lost+found/${name}`);
    crashPoint("recovery/file-kept");
    log.error(
      "a file was written while a crash cut its restore or eviction short; kept",
      {
        file: `.p4cache/lost+found/${name}`,
      },
    );
  }
  if (kept.length > 0) await posix.fsyncPath(`${root}/.p4cache/lost+found`);
  return { removed: temporaries.removed + evictions.removed, kept: kept.length };
}

async function clear(
  posix: Posix,
  directory: BytePath,
  isOurs: (name: string, stat: FileStat) => boolean,
): Promise<{ removed: number; kept: BytePath[] }> {
  const kept: BytePath[] = [];
  let removed = 0;
  for (const found of posix.readDirectory(directory) ?? []) {
    const path = `${directory}/${found.path}`;
    const stat = posix.lstat(path);
    if (stat?.kind === "file" && !isOurs(found.path, stat)) kept.push(path);
    else if (posix.unlink(path)) {
      removed += 1;
      crashPoint("recovery/entry-removed");
    }
  }
  await posix.fsyncPath(directory);
  return { removed, kept };
}
