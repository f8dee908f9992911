/**
 * Ends a conflict or a foreign change by the operator's decision.
 *
 * Where the copies are: `accept` makes the local file the next version; the stored one stays
 * in the store as any replaced version does. `restore` moves the local file to lost+found
 * by one exchange with a marker, only after the store has shown every byte of its version.
 * A crash between the steps leaves both versions, and the row still asks for a decision or
 * already has it.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import { type BytePath, type DepotPath, displayPath } from "../core/names.ts";
import type { FileEntry, LocalStat, StoredVersion } from "../manifest/manifest.ts";
import { isParked } from "../manifest/row.ts";
import { PosixError } from "../posix/posix.ts";
import type { FileStat, MarkerAttributes } from "../posix/posix.ts";
import {
  absolute,
  type EngineContext,
  hasSameContent,
  isManagedHere,
  localStatOf,
  nowSeconds,
  parentOf,
  shown,
} from "./engine_context.ts";
import { objectShown } from "./evict.ts";
import { lookAt } from "./local_file.ts";
import { putMissingMarker } from "./observe.ts";
import { DONE, NOT_MANAGED, refused, type Verdict } from "./verdict.ts";

const UNDECIDED = { conflict: false, foreign: false } as const;
const NO_CONFLICT = "it is neither in conflict nor foreign: see p4-cache conflicts list";

/** The local file is the newest version: it becomes dirty and is uploaded under a new key. */
export function acceptLocal(
  context: EngineContext,
  path: DepotPath,
  dryRun: boolean,
): Promise<Verdict> {
  return context.locks.run(path, async () => {
    for (;;) {
      const entry = context.manifest.get(path);
      if (entry === null || !isParked(entry)) return refused(NO_CONFLICT);
      const look = lookAt(context, path);
      if (look.kind !== "file") {
        return refused(
          "there is no local file: p4-cache conflicts restore ends this one",
        );
      }
      if (dryRun) return DONE;
      const { outcome } = await context.manifest.apply(path, entry.generation, {
        kind: "written",
        stat: look.stat,
        nowS: nowSeconds(context),
        flags: UNDECIDED,
      });
      if (outcome === "applied") return DONE;
    }
  });
}

async function decide(
  { manifest }: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Promise<boolean> {
  const { outcome } = await manifest.apply(path, entry.generation, {
    kind: "flagged",
    flags: UNDECIDED,
  });
  return outcome === "applied";
}

export type RestoreVerdict =
  | {
    readonly isDone: true;
    /** Where the local version is now, below the depot; null if there was none. */
    readonly keptAs: string | null;
  }
  | Extract<Verdict, { isDone: false }>;

/** The stored version is the file again, evicted; the local one goes to lost+found. */
export function restoreStored(
  context: EngineContext,
  path: DepotPath,
  dryRun: boolean,
): Promise<RestoreVerdict> {
  return context.locks.run(path, async () => {
    const entry = context.manifest.get(path);
    if (entry === null || !isParked(entry)) return refused(NO_CONFLICT) as RestoreVerdict;
    if (!isManagedHere(context, path)) return refused(NOT_MANAGED) as RestoreVerdict;
    if (entry.stored === null) {
      return refused("the store has no version of it") as RestoreVerdict;
    }
    const look = lookAt(context, path);
    if (look.kind === "other" || look.kind === "elsewhere") {
      return refused("a directory or link has its name: move it away") as RestoreVerdict;
    }
    const { stored } = entry;
    if (!await objectShown(context, context.primary, stored, "full")) {
      return refused(
        "the primary store does not have its version whole",
      ) as RestoreVerdict;
    }
    if (dryRun) return { isDone: true, keptAs: null };
    let keptAs: string | null = null;
    if (look.kind === "file") {
      keptAs = await setAside(context, path, { entry, stored, stat: look.stat });
      if (keptAs === null) {
        return refused("it is being written just now: try again") as RestoreVerdict;
      }
    }
    await settle(context, path);
    return { isDone: true, keptAs };
  });
}

/** The row says what the disk now has: evicted, at the stored version, decided. */
async function settle(context: EngineContext, path: DepotPath): Promise<void> {
  const { manifest } = context;
  for (;;) {
    const entry = manifest.get(path);
    const look = lookAt(context, path);
    // Written or deleted meanwhile: that is newer than the decision.
    if (entry === null || (look.kind !== "marker" && look.kind !== "absent")) return;
    if (look.kind === "absent") putMissingMarker(context, path, entry);
    const { outcome, entry: evicted } = await manifest.apply(path, entry.generation, {
      kind: "vanished",
      nowS: nowSeconds(context),
    });
    if (outcome !== "applied" || evicted === null) continue;
    const marker = lookAt(context, path);
    const { entry: known } = marker.kind !== "marker"
      ? { entry: evicted }
      : await manifest.apply(path, evicted.generation, {
        kind: "attributes",
        stat: marker.stat,
      });
    if (known !== null && await decide(context, path, known)) return;
  }
}

interface Local {
  readonly entry: FileEntry;
  readonly stored: StoredVersion;
  readonly stat: LocalStat;
}

/**
 * Moves the local file to lost+found and puts a marker in its place, in one step. Null if
 * somebody writes it, or if it is not the file that was looked at: then it has its name.
 */
async function setAside(
  context: EngineContext,
  path: DepotPath,
  local: Local,
): Promise<string | null> {
  const { posix, root } = context;
  const target = absolute(context, path);
  if (isWritten(context, target)) return null;
  const directory = `${root}/.p4cache/lost+found`;
  posix.makeDirs(directory, 0o700);
  const name = `${context.newId()}.${
    path.slice(path.lastIndexOf("/") + 1).slice(0, 200)
  }`;
  const kept = `${directory}/${name}`;
  posix.makeMarker(kept, await attributesOf(context, local));
  const marker = posix.lstat(kept)!;
  try {
    posix.exchange(kept, target);
  } catch (error) {
    posix.unlink(kept);
    if (error instanceof PosixError && error.code === "ENOENT") return null;
    throw error;
  }
  const out = posix.lstat(kept);
  assert(out !== null, "nobody else knows its name");
  if (!hasSameContent(localStatOf(out), local.stat) || isWritten(context, kept)) {
    putBack(context, { kept, target, marker });
    return null;
  }
  for (const it of [kept, directory, parentOf(target)]) await posix.fsyncPath(it);
  const keptAs = `.p4cache/lost+found/${name}`;
  context.failedOps.append({
    op: "conflict",
    ...shown(path),
    keptAs: displayPath(keptAs),
    size: local.stat.sizeBytes,
    error: "the stored version was restored",
  });
  return keptAs;
}

/** As the file was when it was stored; its owner of now may be the one who changed it. */
async function attributesOf(
  context: EngineContext,
  { entry, stored }: Local,
): Promise<MarkerAttributes> {
  const info = await context.primary.head(stored.key, context.signal);
  const { metadata } = info ?? {};
  return {
    sizeBytes: stored.sizeBytes,
    mode: metadata?.mode ?? entry.local.mode,
    uid: metadata?.uid ?? entry.local.uid,
    gid: metadata?.gid ?? entry.local.gid,
    mtimeNs: stored.mtimeNs,
  };
}

/** False also where it cannot be told: of a file of somebody else. */
function isWritten({ posix }: EngineContext, path: BytePath): boolean {
  try {
    return posix.hasWriter(path);
  } catch (error) {
    if (error instanceof PosixError && error.code === "EACCES") return false;
    throw error;
  }
}

interface Exchanged {
  readonly kept: BytePath;
  readonly target: BytePath;
  readonly marker: FileStat;
}

/**
 * Takes the marker out again. What a writer put at the name meanwhile is the newest and
 * keeps it; the older file then stays in lost+found.
 */
function putBack(
  { posix, log }: EngineContext,
  { kept, target, marker }: Exchanged,
): void {
  const keep = (): void =>
    log.warn("a version that was replaced just now is kept", {
      file: `.p4cache/lost+found/${displayPath(kept.slice(kept.lastIndexOf("/") + 1))}`,
    });
  let before: bigint | null = null;
  let put = posix.lstat(kept)!.ino;
  for (;;) {
    try {
      posix.exchange(kept, target);
    } catch (error) {
      // The marker was renamed or removed: what is in lost+found stays there.
      if (error instanceof PosixError && error.code === "ENOENT") return keep();
      throw error;
    }
    const out = posix.lstat(kept)!;
    // A marker that a rename removed may have left its inode's number to a file, or to another's
    // marker: that has another time or size.
    const isMarker = out.kind === "socket" && out.atimeNs === marker.atimeNs &&
      hasSameContent(out, marker);
    if (isMarker) return void posix.unlink(kept);
    if (out.ino === before) return keep();
    [before, put] = [put, out.ino];
  }
}
