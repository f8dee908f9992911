/**
 * Compares the whole depot with the manifest: at start, after an overflow, and when the
 * watcher had to be started again.
 *
 * Two passes in bounded memory. The first walks the disk and looks at each managed name;
 * the second walks the rows and looks at those whose name is missing. The daemon serves
 * meanwhile: every change is compare-and-set.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import { Places } from "../core/limits.ts";
import {
  type DepotPath,
  depotPathOrNull,
  displayPath,
  isManaged,
} from "../core/names.ts";
import type { FileEntry } from "../manifest/manifest.ts";
import { PosixError, type WalkedFile, type WalkEntry } from "../posix/posix.ts";
import { type EngineContext, hasSameContent, localStatOf } from "./engine_context.ts";
import { lookAt, lookOf } from "./local_file.ts";
import type { LookReason } from "./observe_plan.ts";
import { observe, type Observed } from "./observe.ts";

/** Rows looked at per read of the manifest. */
const ROW_BATCH = 1_000;

/** Looks in flight that have something to change. */
const CHANGES_AT_ONCE = 64;

/**
 * So many files of which the store has no copy may be missing before the scan stops and
 * asks for a person: a volume that is not mounted looks just like this.
 */
const MISSING_DIRTY_MAX = 100;

export interface ScanReport {
  readonly filesSeen: number;
  readonly actions: Readonly<Partial<Record<Observed, number>>>;
  /** Paths over the length limit, or with a line feed: not managed. */
  readonly unmanageable: number;
  /** Directories and files that could not be looked at. */
  readonly unreadable: number;
  /** Set if the scan stopped early, and why. */
  readonly stopped: string | null;
}

/** Resolves when everything was looked at, or when something is so odd that it stopped. */
export async function scanDepot(
  context: EngineContext,
  reason: LookReason,
): Promise<ScanReport> {
  const pass = new ScanPass(context, reason);
  await pass.walkDisk();
  crashPoint("scan/disk-walked");
  if (
    !context.signal.aborted && context.posix.lstat(context.root)?.dev === context.device
  ) {
    await pass.walkRows();
  } else pass.stopped ??= "the depot root is another file system than at the start";
  return pass;
}

class ScanPass implements ScanReport {
  filesSeen = 0;
  unmanageable = 0;
  unreadable = 0;
  stopped: string | null = null;
  readonly actions: Partial<Record<Observed, number>> = {};
  readonly #context: EngineContext;
  readonly #reason: LookReason;
  readonly #places = new Places(CHANGES_AT_ONCE);

  constructor(context: EngineContext, reason: LookReason) {
    this.#context = context;
    this.#reason = reason;
  }

  async walkDisk(): Promise<void> {
    const { posix, root, signal } = this.#context;
    const walk = posix.openWalk(root, { skip: [".p4cache"] });
    try {
      for (;;) {
        signal.throwIfAborted();
        const batch = await walk.nextBatch();
        if (batch.length === 0) return;
        await Promise.all(this.#changesOf(batch));
      }
    } finally {
      await walk.close();
    }
  }

  #changesOf(batch: readonly WalkEntry[]): Promise<void>[] {
    const changes: Promise<void>[] = [];
    for (const found of batch) {
      if (found.kind === "unreadable") {
        this.unreadable += 1;
        continue;
      }
      if (found.dev !== this.#context.device) this.#tellOtherDevice(found.path);
      if (found.kind === "directory") continue;
      const path = depotPathOrNull(found.path);
      if (path === null) {
        this.unmanageable += 1;
        continue;
      }
      if (!isManaged(path, this.#context.settings().manage)) continue;
      this.filesSeen += 1;
      const entry = this.#context.manifest.get(path);
      if (entry === null || !this.#isAsKnown(entry, found)) {
        changes.push(this.#look(path));
      }
    }
    return changes;
  }

  /** Evicted files must lie on one file system with .p4cache: other mounts are left alone. */
  #tellOtherDevice(path: string): void {
    this.#context.log.warn(
      "another file system is mounted in the depot; its files are not managed",
      { path: displayPath(path) },
    );
  }

  /** The common case, decided without another system call. */
  #isAsKnown(entry: FileEntry, found: WalkedFile): boolean {
    const look = lookOf(this.#context, found);
    if (look.kind === "marker") return entry.state === "clean" && !entry.resident;
    if (look.kind !== "file" || !entry.resident) return false;
    const stat = localStatOf(found);
    return hasSameContent(stat, entry.local) && stat.ctimeNs === entry.local.ctimeNs;
  }

  #look(path: DepotPath): Promise<void> {
    return this.#places.run(async () => {
      const observed = await observe(this.#context, path, this.#reason);
      this.actions[observed] = (this.actions[observed] ?? 0) + 1;
    });
  }

  /** False also where it cannot be told: a directory that may not be read. */
  #isMissing(path: DepotPath): boolean {
    try {
      return lookAt(this.#context, path).kind === "absent";
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
      const batch = manifest.entries("", after, ROW_BATCH);
      if (batch.length === 0) return;
      after = batch.at(-1)!.path;
      for (const { path, entry } of batch) {
        if (!this.#isMissing(path)) continue;
        if (entry.state !== "clean" && ++missingDirty > MISSING_DIRTY_MAX) {
          this.stopped =
            `more than ${MISSING_DIRTY_MAX} files that were not uploaded yet ` +
            `are missing: is a volume of the depot not mounted? Nothing more was changed`;
          return;
        }
        await this.#look(path);
      }
      // A turn for requests of p4d between two batches.
      await this.#context.clock.sleep(0, signal);
    }
  }
}
