/**
 * Compares the whole depot with the manifest: at start, after an overflow, and when the
 * watcher had to be started again.
 *
 * Two passes in bounded memory. The first walks the disk and looks at each managed name;
 * the second walks the rows and looks at those that the first did not meet. The daemon
 * serves meanwhile: every change is compare-and-set.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import { Places } from "../core/limits.ts";
import {
  type BytePath,
  type DepotPath,
  depotPathOrNull,
  displayPath,
  isManaged,
  isUnmanageable,
} from "../core/names.ts";
import { GIB } from "../core/units.ts";
import { isForbidden, isGone, mayHideMarkers } from "../core/unlisted.ts";
import { PosixError, type WalkedFile, type WalkEntry } from "../posix/posix.ts";
import { NotCaughtUpError } from "./caught_up.ts";
import { NO_ROW } from "./verdict.ts";
import { type EngineContext, shown } from "./engine_context.ts";
import { lookAt, lookOf } from "./local_file.ts";
import type { LookReason } from "./observe_plan.ts";
import { observe, type Observed } from "./observe.ts";
import { SeenPaths } from "./seen_paths.ts";
import { noteUnknownMarker } from "./unknown_markers.ts";

/** Paths of rows that are read at a time. */
const ROW_BATCH = 4_000;

/** Looks in flight that have something to change. */
const CHANGES_AT_ONCE = 64;

/**
 * So much is hashed of files of which only the ctime is another, so that a file that somebody
 * repaired is told of now. After a `chmod -R` the rest is left to later scans, to who wants to evict
 * it, and to a drain: markers that are missing may not wait for hours of reading.
 */
const HASHED_BYTES_MAX = 8 * GIB;

/**
 * So many files of which the store has no copy may be missing before the scan stops and
 * asks for a person: a volume that is not mounted looks just like this.
 */
const MISSING_DIRTY_MAX = 100;

export interface ScanReport {
  readonly filesSeen: number;
  readonly actions: Readonly<Partial<Record<Observed, number>>>;
  /**
   * Paths that nothing keeps from being managed but their length, or a line feed. A directory that is too deep
   * for the kernel to open counts as one: all below it is longer.
   */
  readonly unmanageable: number;
  /** Directories and files that may not be looked at. */
  readonly unreadable: number;
  /**
   * Files of which nobody knows whether they are what their row says: only their ctime is another
   * and they were not hashed since (manifest/unproven.ts), or they may not be read or looked at.
   */
  readonly unproven: number;
  /**
   * What could not be looked at just now, as on a failing disk or in a directory that moved
   * meanwhile: to be scanned again.
   */
  readonly failing: number;
  /** Set if the scan stopped early, and why. */
  readonly stopped: string | null;
}

/** Files a second, in each pass; null: as fast as it goes. Asked again each second. */
export type ScanPace = () => number | null;

/** Resolves when everything was looked at, or when something is so odd that it stopped. */
export async function scanDepot(
  context: EngineContext,
  reason: LookReason,
  pace: ScanPace = () => null,
): Promise<ScanReport> {
  const pass = new ScanPass(context, reason, pace);
  await pass.walkDisk();
  crashPoint("scan/disk-walked");
  if (pass.stopped === null) await pass.walkRows();
  return pass;
}

export interface NamesReport extends ScanReport {
  /** Files that were taken in now, though nobody has written them since `sinceNs`. */
  readonly late: number;
}

/**
 * Looks at each managed name once more, for files that were renamed past a scan before, where nobody
 * watches. Rows whose names are not met are left alone: those were deleted or renamed since, and
 * nothing is to be put back there.
 */
export async function walkNames(
  context: EngineContext,
  reason: LookReason,
  sinceNs: bigint,
): Promise<NamesReport> {
  const pass = new ScanPass(context, reason, () => null, sinceNs);
  await pass.walkDisk();
  return pass;
}

class ScanPass implements NamesReport {
  filesSeen = 0;
  late = 0;
  unmanageable = 0;
  unreadable = 0;
  unproven = 0;
  failing = 0;
  stopped: string | null = null;
  readonly actions: Partial<Record<Observed, number>> = {};
  readonly #context: EngineContext;
  readonly #reason: LookReason;
  readonly #pace: ScanPace;
  readonly #sinceNs: bigint;
  readonly #places = new Places(CHANGES_AT_ONCE);
  #toHashBytes = HASHED_BYTES_MAX;
  /** What may be hashed, instead of us. */
  readonly #isCallerAsked: boolean;
  /** The watcher does not tell. */
  #isBlind = false;
  #firstUnmanageable: BytePath | null = null;
  /** Directories that may not be listed: what has a row there may be there, or be another. */
  readonly #closed: BytePath[] = [];
  readonly #seen = new SeenPaths(Math.random() * 2 ** 32);

  constructor(
    context: EngineContext,
    reason: LookReason,
    pace: ScanPace,
    sinceNs = 0n,
  ) {
    this.#context = context;
    this.#sinceNs = sinceNs;
    this.#isCallerAsked = reason.mayHash !== undefined;
    this.#reason = { mayHash: (sizeBytes) => this.#mayHash(sizeBytes), ...reason };
    this.#pace = pace;
  }

  #mayHash(sizeBytes: number): boolean {
    if (sizeBytes > this.#toHashBytes) return false;
    this.#toHashBytes -= sizeBytes;
    return true;
  }

  /** A turn for requests of p4d between two batches, and more where the scan is to be slow. */
  async #rest(files: number): Promise<void> {
    const { clock, signal } = this.#context;
    for (let owed = files;;) {
      const perSecond = this.#pace();
      if (perSecond === null) return await clock.sleep(0, signal);
      const paid = Math.min(owed, perSecond);
      await clock.sleep(paid / perSecond * 1000, signal);
      owed -= paid;
      if (owed <= 0) return;
    }
  }

  async walkDisk(): Promise<void> {
    const { posix, root, signal } = this.#context;
    const walk = posix.openWalk(root, { skip: [".p4cache"] });
    try {
      for (;;) {
        signal.throwIfAborted();
        if (this.#hasLeft() || this.#isBlind) return;
        const batch = await walk.nextBatch();
        if (batch.length === 0) return this.#tellUnmanageable();
        await Promise.all(this.#changesOf(batch));
        await this.#rest(batch.length);
      }
    } finally {
      await walk.close();
    }
  }

  /** Nothing that is found on another disk says anything about our files. */
  #hasLeft(): boolean {
    const { posix, root, device } = this.#context;
    if (posix.lstat(root)?.dev === device) return false;
    this.stopped =
      "the depot root is another file system than at the start: is its disk " +
      "not mounted? Nothing more was changed";
    return true;
  }

  #changesOf(batch: readonly WalkEntry[]): Promise<void>[] {
    const { unknownMarkers } = this.#context;
    const changes: Promise<void>[] = [];
    for (const found of batch) {
      if (found.kind === "unreadable") {
        if (found.code === "ENAMETOOLONG") this.#firstUnmanageable ??= found.path;
        if (isForbidden(found)) this.#closed.push(`${found.path}/`);
        if (mayHideMarkers(found)) unknownMarkers.noteUnlisted(found.path);
        this.#count(found.code);
        continue;
      }
      if (found.dev !== this.#context.device) {
        this.#tellOtherDevice(found.path);
        continue;
      }
      if (found.kind === "directory") continue;
      const path = depotPathOrNull(found.path);
      if (path === null) {
        this.#leaveAlone(found);
        continue;
      }
      if (!isManaged(path, this.#context.settings().manage)) {
        noteUnknownMarker(this.#context, path, found);
        continue;
      }
      this.filesSeen += 1;
      this.#seen.add(path);
      if (!this.#isAsKnown(path, found)) changes.push(this.#look(path, found));
    }
    return changes;
  }

  #leaveAlone(found: WalkedFile): void {
    const { path: text } = found;
    const look = lookOf(this.#context, found);
    if (look.kind === "marker") this.#context.unknownMarkers.note(text, look);
    if (!isUnmanageable(text, this.#context.settings().manage)) return;
    this.unmanageable += 1;
    this.#firstUnmanageable ??= text;
  }

  /** Nobody else does: they have no row, and all that has one is stored and drained without them. */
  #tellUnmanageable(): void {
    if (this.unmanageable === 0) return;
    this.#context.log.warn(NO_ROW, {
      files: this.unmanageable,
      ...this.#firstUnmanageable === null
        ? {}
        : { first: displayPath(this.#firstUnmanageable) },
    });
  }

  /** Evicted files must lie on one file system with .p4cache: other mounts are left alone. */
  #tellOtherDevice(path: string): void {
    this.#context.log.warn(
      "another file system is mounted in the depot; its files are not managed",
      { path: displayPath(path) },
    );
  }

  /** The common case, decided without another system call. */
  #isAsKnown(path: DepotPath, found: WalkedFile): boolean {
    const { manifest } = this.#context;
    if (found.kind !== "file") {
      const look = lookOf(this.#context, found);
      return look.kind === "marker" &&
        manifest.glance(path, look.stat, true) === "known";
    }
    const glance = manifest.glance(path, found);
    if (glance !== "unproven") return glance === "known";
    // An earlier scan left it: looked at only to be hashed.
    if (this.#isCallerAsked || found.sizeBytes <= this.#toHashBytes) return false;
    this.unproven += 1;
    return true;
  }

  /**
   * Each look waits for the watcher: once it does not tell, the rest is for the next scan. One
   * that the disk refuses is told and counted, and does not keep the others from being looked at.
   */
  #look(path: DepotPath, found: WalkedFile | null = null): Promise<void> {
    return this.#places.run(async () => {
      if (this.#isBlind) return;
      try {
        const observed = await observe(this.#context, path, this.#reason);
        if (observed === "unproven") this.unproven += 1;
        const isNews = observed === "written" || observed === "conflict";
        if (isNews && found !== null && found.mtimeNs < this.#sinceNs) this.late += 1;
        this.actions[observed] = (this.actions[observed] ?? 0) + 1;
      } catch (error) {
        if (error instanceof PosixError) {
          if (found !== null) noteUnknownMarker(this.#context, path, found);
          return this.#tellFault(path, error);
        }
        if (!(error instanceof NotCaughtUpError)) throw error;
        if (this.#isBlind) return;
        this.#isBlind = true;
        this.failing += 1;
        this.#context.log.warn(`the scan ends early: ${error.message}`);
      }
    });
  }

  #tellFault(path: DepotPath, error: PosixError): void {
    this.#count(error.code);
    if (isForbidden(error) && !this.#isAway(path)) this.unproven += 1;
    const { log } = this.#context;
    log.error(`the scan cannot bring a file up to date: ${error.message}`, shown(path));
  }

  #count(code: string): void {
    if (code === "ENAMETOOLONG") this.unmanageable += 1;
    else if (isForbidden({ code }) || isGone({ code })) this.unreadable += 1;
    else this.failing += 1;
  }

  /** False also where it cannot be told: a directory that may not be read. */
  #isMissing(path: DepotPath): boolean {
    try {
      return lookAt(this.#context, path).kind === "absent";
    } catch (error) {
      if (!(error instanceof PosixError)) throw error;
      if (isForbidden(error)) this.unproven += 1;
      return false;
    }
  }

  /** Whether there is nothing of an evicted file but a marker that could not be put back. */
  #isAway(path: DepotPath): boolean {
    const entry = this.#context.manifest.get(path);
    try {
      return entry?.resident === false && lookAt(this.#context, path).kind === "absent";
    } catch (error) {
      if (error instanceof PosixError) return false;
      throw error;
    }
  }

  /** Whether it is there, in a directory that may be entered but not listed. */
  #isUnlisted(path: DepotPath): boolean {
    if (!this.#closed.some((directory) => path.startsWith(directory))) return false;
    if (!isManaged(path, this.#context.settings().manage)) return false;
    try {
      return lookAt(this.#context, path).kind !== "absent";
    } catch (error) {
      if (error instanceof PosixError) return false;
      throw error;
    }
  }

  async walkRows(): Promise<void> {
    const { manifest, signal } = this.#context;
    let missingDirty = 0;
    for (let after: DepotPath | null = null;;) {
      signal.throwIfAborted();
      if (this.#hasLeft() || this.#isBlind) return;
      const batch = manifest.paths(after, ROW_BATCH);
      if (batch.length === 0) return;
      after = batch.at(-1)!;
      const unseen = batch.filter((path) => !this.#seen.has(path));
      const missing = unseen.filter((path) => this.#isMissing(path));
      const isDirty = (path: DepotPath): boolean =>
        (manifest.get(path)?.state ?? "clean") !== "clean";
      missingDirty += missing.filter(isDirty).length;
      if (missingDirty > MISSING_DIRTY_MAX) {
        this.stopped =
          `more than ${MISSING_DIRTY_MAX} files that were not uploaded yet ` +
          `are missing: is a volume of the depot not mounted? Nothing more was changed`;
        return;
      }
      const unlisted = unseen.filter((path) => this.#isUnlisted(path));
      await Promise.all([...missing, ...unlisted].map((path) => this.#look(path)));
      await this.#rest(batch.length);
    }
  }
}
