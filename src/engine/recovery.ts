/**
 * Start-up: finishes or undoes what a crash left in the daemon's own directories. Runs
 * before anything else of ours touches the depot; `p4d` may be at work.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import { type BytePath, displayPath } from "../core/names.ts";
import type { Logger } from "../obs/logger.ts";
import { type FileStat, NOTE_SUFFIX, type Posix, PosixError } from "../posix/posix.ts";
import {
  type EngineContext,
  evictingDirectory,
  isAsideOf,
  isTemporaryOf,
  temporaryDirectory,
} from "./engine_context.ts";

export interface RecoveryReport {
  /** Unfinished downloads and markers that were taken out, removed. */
  readonly removed: number;
  /** Files of `p4d` that an exchange had out of their name, and that have it again. */
  readonly returned: number;
  /** Files that may be the only copy of their bytes, now in .p4cache/lost+found. */
  readonly kept: number;
}

export interface RecoveryDeps {
  readonly posix: Posix;
  readonly root: BytePath;
  readonly log: Logger;
}

/**
 * Empties tmp/ and evicting/.
 *
 * tmp/ holds downloads, whose bytes the store has. evicting/ holds a marker before the
 * exchange of an eviction; after it the file, while its name has the marker. If `p4d` took
 * the name in the last moment before an exchange, its file came here instead, and a crash
 * kept it from going back. The note beside it says where it belongs: it goes back if its
 * name still has what we left there. Else, or without a note, it may be the only copy of its
 * bytes: it is kept, and the operator told.
 */
export async function recoverDirectories(
  posix: Posix,
  root: BytePath,
  log: Logger,
): Promise<RecoveryReport> {
  const report = { removed: 0, returned: 0, kept: 0 };
  const deps = { posix, root, log };
  const temporaries = temporaryDirectory(root);
  for (const name of asideNames(posix, temporaries)) {
    const isOurs = ({ ino }: FileStat): boolean => isTemporaryOf(name, ino);
    report[recoverEntry(deps, `${temporaries}/${name}`, isOurs)] += 1;
  }
  const evicting = evictingDirectory(root);
  for (const name of asideNames(posix, evicting)) {
    const isOurs = (stat: FileStat): boolean => isAsideOf(name, stat);
    report[recoverEntry(deps, `${evicting}/${name}`, isOurs)] += 1;
  }
  if (report.kept > 0) await posix.fsyncPath(`${root}/.p4cache/lost+found`);
  await posix.fsyncPath(temporaries);
  await posix.fsyncPath(evicting);
  return report;
}

/** Also names of which only the note is left. */
function asideNames(posix: Posix, directory: BytePath): Set<string> {
  const names = new Set<string>();
  for (const { path } of posix.readDirectory(directory) ?? []) {
    const at = path.indexOf(NOTE_SUFFIX);
    names.add(at < 0 ? path : path.slice(0, at));
  }
  return names;
}

/** `isOurs`: whether a file without a note is known to be ours. */
export function recoverEntry(
  deps: RecoveryDeps,
  aside: BytePath,
  isOurs: (stat: FileStat) => boolean,
): keyof RecoveryReport {
  const { posix, log } = deps;
  const recovered = posix.recoverExchange(aside);
  switch (recovered.outcome) {
    case "nothing-left":
      crashPoint("recovery/entry-removed");
      return "removed";
    case "has-its-name":
      crashPoint("recovery/file-returned");
      log.warn("a file that a crash had left without its name has it again", {
        path: displayPath(recovered.target),
      });
      return "returned";
    case "to-be-kept":
      return keep(deps, aside, recovered.target);
    case "no-note": {
      const stat = posix.lstat(aside);
      if (stat?.kind === "file" && !isOurs(stat)) return keep(deps, aside, null);
      posix.unlink(aside);
      removeNote(posix, aside);
      crashPoint("recovery/entry-removed");
      return "removed";
    }
  }
}

/** Between two tries, in milliseconds. */
const AGAIN_MS = 1_000;

/**
 * After an exchange that failed: what lies aside and is not ours, `p4d`'s newest bytes, goes
 * back to its name, however long the disk takes for it. The caller holds the path's lock,
 * so that nothing else of ours touches the name until then.
 */
export async function settleAside(
  context: RecoveryDeps & Pick<EngineContext, "clock" | "signal">,
  aside: BytePath,
  isOurs: (stat: FileStat) => boolean,
): Promise<void> {
  for (let tries = 0;; tries++) {
    try {
      recoverEntry(context, aside, isOurs);
      return;
    } catch (error) {
      if (!(error instanceof PosixError)) throw error;
      if (!mayHoldOthers(context.posix, aside, isOurs)) return;
      if (tries === 0) {
        context.log.error(
          `an exchange of names cannot be finished yet: ${error.message}`,
        );
      }
    }
    // The next start does it, if this daemon ends before.
    await context.clock.sleep(AGAIN_MS, context.signal);
  }
}

/** A marker, or a file of ours: the next start removes it. */
function mayHoldOthers(
  posix: Posix,
  aside: BytePath,
  isOurs: (stat: FileStat) => boolean,
): boolean {
  try {
    const stat = posix.lstat(aside);
    return stat?.kind === "file" && !isOurs(stat);
  } catch {
    return true;
  }
}

function keep(
  { posix, root, log }: RecoveryDeps,
  aside: BytePath,
  target: BytePath | null,
): "kept" {
  const name = aside.slice(aside.lastIndexOf("/") + 1);
  posix.makeDirs(`${root}/.p4cache/lost+found`, 0o700);
  posix.rename(aside, `${root}/.p4cache/lost+found/${name}`);
  crashPoint("recovery/file-kept");
  removeNote(posix, aside);
  log.error("a file was written while a crash cut its restore or eviction short; kept", {
    file: `.p4cache/lost+found/${name}`,
    of: target === null ? "unknown" : displayPath(target),
  });
  return "kept";
}

/** And one that was to take its place. */
function removeNote(posix: Posix, aside: BytePath): void {
  posix.unlink(`${aside}${NOTE_SUFFIX}`);
  posix.unlink(`${aside}${NOTE_SUFFIX}.new`);
}
