/**
 * Deletes: `p4d` unlinked a file, and much later its object goes.
 *
 * Only a DELETE from the shim comes here. The row becomes a tombstone at once; the object
 * stays for `delete_grace_secs`, in which `undelete` brings the file back, and then goes by
 * its exact key, at most `delete_max_per_hour` of them, and only while the wall clock, the
 * store's clock and the time for which this daemon has seen the clock go evenly agree that the
 * grace is over. One that a marker may stand for stays: held_objects.ts.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import { type DepotPath, firstVersionOf } from "../core/names.ts";
import type { FileEntry, Tombstone } from "../manifest/manifest.ts";
import type { ObjectInfo } from "../storage/backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import { catchUp } from "./caught_up.ts";
import { type EngineContext, firstKey, hasOtherStores, shown } from "./engine_context.ts";
import { HeldObjects } from "./held_objects.ts";
import { lookAt } from "./local_file.ts";
import { type Deleter, mayDelete } from "./may_delete.ts";
import { MET, observe } from "./observe.ts";
import { NO_INODE } from "../manifest/transitions.ts";
import { isLeft, removePutBack } from "./remove_own.ts";
import { SteadyTimeWatch } from "./steady_time.ts";
import { ToldOnce } from "./told_once.ts";

/** Tombstones read at a time. */
const BATCH = 64;

/** Objects that cannot be removed end a pass when they are so many; the next goes on behind. */
const FAILURES_MAX = 128;

/** So many that are passed over end a pass, too: each is looked for on the disk. */
const HELD_MAX = 4_096;

/**
 * What became of a DELETE: `unknown` to the manifest; `kept`, because it is of another file;
 * `refused`, because whoever asks has no right to it.
 */
export type DeleteOutcome = "deleted" | "kept" | "unknown" | "refused";

/** Which file is meant, and by whom. */
export interface Deletion {
  /** Each of them has to have the right. Default: the daemon itself asks. */
  readonly by?: readonly Deleter[];
  /** Asked of the row, with all that until then was done in it. */
  readonly isMeant?: (entry: FileEntry) => boolean;
}

/**
 * `p4d` unlinked `path`. Resolves when that is durable.
 *
 * The name was empty before everything that was done until then was taken in, and the row is
 * the same after it: then it is of the file that was unlinked, and of no other that got the name
 * or left it by a rename which is still to be told.
 *
 * @throws {NotCaughtUpError}
 */
export async function deleteFile(
  context: EngineContext,
  path: DepotPath,
  { by = [], isMeant = () => true }: Deletion = {},
): Promise<DeleteOutcome> {
  for (let wasKnown = false;; wasKnown = true) {
    const before = rowOfName(context, path);
    const generation = context.manifest.get(before)?.generation;
    const wasLeft = isLeft(context, before);
    await catchUp(context, path);
    const row = rowOfName(context, path);
    const entry = context.manifest.get(row);
    if (entry === null) return wasKnown ? "kept" : "unknown";
    // A row that went along with its directory is the one that was told to be gone from `path`.
    const hasMoved = row !== path && entry.local.ino === NO_INODE;
    if (!hasMoved && !isMeant(entry)) return "kept";
    // A marker in an empty name is ours, put back by a look that came in between; anything
    // else was created since, and the newer file is what counts.
    if (!isLeft(context, row)) {
      await observe(context, row, MET);
      return "kept";
    }
    if (!wasLeft || row !== before || entry.generation !== generation) continue;
    if (!mayDelete(context, { path, row, entry }, by)) return "refused";
    crashPoint("delete/looked");
    if (!await deleteRow(context, row, entry)) continue;
    crashPoint("delete/row-tombstone");
    removeStrayMarker(context, row);
    context.metrics.count("p4cache_deletes_total", { result: "success" });
    return "deleted";
  }
}

/** Where the row of a file is that had this name: its directory may have moved since. */
function rowOfName(
  { manifest, departures }: EngineContext,
  path: DepotPath,
): DepotPath {
  const moved = departures.rowOf(path);
  return moved !== null && manifest.get(moved) !== null ? moved : path;
}

/** The row becomes a tombstone. False if it has changed since. */
export async function deleteRow(
  context: EngineContext,
  path: DepotPath,
  { generation }: FileEntry,
): Promise<boolean> {
  const { manifest, clock, departures } = context;
  const { outcome } = await manifest.apply(path, generation, {
    kind: "deleted",
    nowMs: clock.nowMs(),
    firstKey: firstKey(path),
    whiteout: hasOtherStores(context),
  });
  if (outcome === "applied") departures.forget(path);
  return outcome === "applied";
}

/** Our own marker, put back under a name that its file had left. It holds no bytes. */
export function removeStrayMarker(context: EngineContext, path: DepotPath): void {
  if (context.manifest.get(path) !== null) return;
  if (lookAt(context, path).kind !== "marker") return;
  removePutBack(context, path);
}

/**
 * held: a marker may stand for it. early: the store's clock says that the grace is not over.
 * unanswered: nothing can go now, for the store or a scan does not say.
 */
type Removal = "removed" | "none" | "held" | "early" | "failed" | "unanswered";

/** Bounds the removals of objects: so many in any hour. */
export class TombstoneSweeper {
  readonly #context: EngineContext;
  readonly #time: SteadyTimeWatch;
  #hourStartMs: number;
  #removedInHour = 0;
  /** Where the pass before ended, unless it was through. */
  #after: Tombstone | undefined;
  /** By their ids, those whose failure is in the ledger. */
  readonly #told = new ToldOnce();
  readonly #held: HeldObjects;

  constructor(context: EngineContext) {
    this.#context = context;
    this.#time = new SteadyTimeWatch(context.clock);
    this.#held = new HeldObjects(context);
    this.#hourStartMs = context.clock.monotonicMs();
  }

  /** Objects that stay though their grace is over, by the last pass that was through. */
  get heldCount(): number {
    return this.#held.count;
  }

  /** The next pass may come soon. */
  get waitsForScan(): boolean {
    return this.#held.waitsForScan;
  }

  /** Removes what is due. Returns how many objects went. */
  async runPass(): Promise<number> {
    const { settings, log } = this.#context;
    const graceMs = settings().deleteGraceSecs * 1000;
    // What was deleted before a step of the clock, or while it was wrong, looks older than it is.
    // It has had its grace all the same once this daemon has seen one pass since.
    const { steadyMs, nowMs, stepMs } = this.#time.look();
    if (stepMs !== null) {
      log.warn("the clock was set forth: every grace of a deleted file begins again", {
        stepSecs: Math.round(stepMs / 1000),
        graceSecs: settings().deleteGraceSecs,
      });
    }
    if (steadyMs < graceMs) return 0;
    return await this.#sweep(nowMs - graceMs, graceMs);
  }

  /** Objects that cannot be removed stand in the way of no others. */
  async #sweep(beforeMs: number, graceMs: number): Promise<number> {
    const { manifest, settings, log, signal } = this.#context;
    let removedCount = 0;
    let failedCount = 0;
    let heldCount = 0;
    for (;;) {
      const page = manifest.tombstonesDue(beforeMs, BATCH, this.#after);
      if (page.length > 0 && !await this.#held.mayAnyGo()) return removedCount;
      for (const tombstone of page) {
        if (!this.#mayRemove()) {
          log.warn("deletes are at delete_max_per_hour; the rest waits", {
            perHour: settings().deleteMaxPerHour,
          });
          return removedCount;
        }
        const removal = await this.#removeOrLog(tombstone, graceMs);
        if (signal.aborted) return removedCount;
        this.#after = tombstone;
        if (removal === "removed") removedCount += 1;
        if (removal === "failed") failedCount += 1;
        if (removal === "held") {
          heldCount += 1;
          this.#held.passedOver(tombstone);
        }
        // All others are younger.
        if (removal === "early") return this.#isThrough(removedCount);
        if (removal === "unanswered" || failedCount === FAILURES_MAX) return removedCount;
        if (heldCount === HELD_MAX) return removedCount;
      }
      if (page.length < BATCH) return this.#isThrough(removedCount);
    }
  }

  #isThrough(removedCount: number): number {
    this.#after = undefined;
    this.#held.roundEnded();
    return removedCount;
  }

  #mayRemove(): boolean {
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs - this.#hourStartMs >= 3_600_000) {
      this.#hourStartMs = nowMs;
      this.#removedInHour = 0;
    }
    return this.#removedInHour < this.#context.settings().deleteMaxPerHour;
  }

  async #removeOrLog(tombstone: Tombstone, graceMs: number): Promise<Removal> {
    const { metrics, signal } = this.#context;
    try {
      const removal = await this.#remove(tombstone, graceMs);
      if (removal !== "none" && removal !== "held") this.#told.forget(tombstone.id);
      if (removal === "removed") {
        metrics.count("p4cache_store_deletes_total", { result: "success" });
      }
      return removal;
    } catch (error) {
      if (!(error instanceof Error) || error.name === "InvariantError") throw error;
      if (signal.aborted) return "none";
      metrics.count("p4cache_store_deletes_total", { result: "failure" });
      this.#tell(tombstone, error);
      const mayPass = error instanceof StorageError && error.isTransient;
      return mayPass ? "unanswered" : "failed";
    }
  }

  /** Once, not with each pass that finds it as it was. */
  #tell({ id, path, stored }: Tombstone, error: Error): void {
    if (this.#told.wasTold(id)) return;
    const { failedOps, log } = this.#context;
    failedOps.append({
      op: "delete",
      ...shown(path),
      key: stored.key,
      error: error.message,
    });
    log.warn(`cannot remove an object: ${error.message}`, shown(path));
  }

  /** Null: it may go. */
  #whyNot(tombstone: Tombstone): "held" | "unanswered" | null {
    if (this.#held.whyNone() !== null) return "unanswered";
    const isHeld = this.#held.isUnscanned(tombstone) || this.#held.isHeld(tombstone);
    return isHeld ? "held" : null;
  }

  #remove(tombstone: Tombstone, graceMs: number): Promise<Removal> {
    const { clock, locks, manifest, primary, doubtfulKeys, signal } = this.#context;
    const { key, versionId } = tombstone.stored;
    // An upload that finds its bytes under this key begins to name it under the same lock.
    return locks.run(`key:${firstVersionOf(key)}`, async () => {
      if (!manifest.isDue(tombstone, clock.nowMs() - graceMs)) return "none";
      const whyNot = this.#whyNot(tombstone);
      if (whyNot !== null) return whyNot;
      const isDoubtful = (): boolean => doubtfulKeys.has(key, clock.monotonicMs());
      // A request that went unanswered may still be under way: the key is nobody else's before.
      if (isDoubtful()) return "none";
      const info = await primary.head(key, signal);
      const storeNowMs = info?.storeNowMs ?? null;
      // The store's clock says that the grace is not over.
      if (storeNowMs !== null && storeNowMs - tombstone.atMs < graceMs) return "early";
      crashPoint("sweep/object-found");
      // What was met while the store was asked.
      const whyNotNow = this.#whyNot(tombstone);
      if (whyNotNow !== null) return whyNotNow;
      const isOurs = info !== null && isOfFile(info, tombstone);
      if (isOurs) {
        // Of an object that was migrated, the row has the version of the store before.
        const known = info.versionId === versionId ? versionId : null;
        const onUnanswered = (): void => doubtfulKeys.note(key, clock.monotonicMs());
        const ifMatch = info.etag;
        await primary.delete({ key, versionId: known, ifMatch, onUnanswered, signal });
        this.#removedInHour += 1;
      }
      crashPoint("sweep/object-removed");
      if (isDoubtful()) return "removed";
      await manifest.tombstoneRemoved(tombstone);
      crashPoint("sweep/tombstone-removed");
      return isOurs ? "removed" : "none";
    });
  }
}

/** Between the store's clock and that of the depot's disk. */
const CLOCKS_APART_MS_MAX = 60_000;

/**
 * What lies where an upload may have left an object was there before the file was written:
 * then somebody else put it. An object that a row once named is what it is, unless it has other
 * bytes: then it is of a file that was stored under the key since, and the row that says so may be
 * lost with a manifest.
 */
function isOfFile(
  { storedAtMs, metadata }: ObjectInfo,
  { stored, local }: Tombstone,
): boolean {
  if (stored.hash !== null) return (metadata?.hash ?? stored.hash) === stored.hash;
  const writtenMs = Number(local.mtimeNs / 1_000_000n);
  return storedAtMs !== null && storedAtMs >= writtenMs - CLOCKS_APART_MS_MAX;
}
