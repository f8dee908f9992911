/**
 * The engine as the daemon sees it: requests in, results out, and the loops that run until
 * the context's signal aborts.
 *
 * @module
 */

import {
  type BytePath,
  type DepotPath,
  depotPathOrNull,
  displayPath,
  isManaged,
  isUnmanageable,
} from "../core/names.ts";
import { unlessAborted } from "../core/unless_aborted.ts";
import { ManifestError } from "../manifest/manifest.ts";
import { WakeUp } from "../core/wake_up.ts";
import type { LocalStat } from "../manifest/manifest.ts";
import { AccessTimes } from "./access_times.ts";
import { acceptLocal, restoreStored, type RestoreVerdict } from "./conflict.ts";
import {
  deleteFile,
  type DeleteOutcome,
  removeStrayMarker,
  TombstoneSweeper,
} from "./delete.ts";
import { DirectoryExchanges } from "./directory_exchange.ts";
import { DirectoryMoves, untilMoved, untilTaken } from "./directory_moves.ts";
import { DirtyPressure } from "./dirty_pressure.ts";
import { type Drain, drain, type DrainState } from "./drain.ts";
import { type EngineContext, leavingIn, shown } from "./engine_context.ts";
import { Evictor } from "./evict_pass.ts";
import {
  evictSelected,
  type HandEviction,
  type HandEvictionReport,
} from "./evict_by_hand.ts";
import { expireBorrowed } from "./expire_borrowed.ts";
import { isAbsent, lookAt } from "./local_file.ts";
import { migrateSelected, type Migration, type MigrationReport } from "./migrate.ts";
import type { Deleter } from "./may_delete.ts";
import type { LookReason, WriterUid } from "./observe_plan.ts";
import { observe, type Observed, REPORTED, REPORTED_APART } from "./observe.ts";
import { type PinOptions, type PinReport, pinSelected } from "./pin.ts";
import { RecallBudget } from "./recall_budget.ts";
import { deleteReplacedRow, moveRow, type Rename } from "./rename.ts";
import { type Restored, type RestoreOptions, Restorer } from "./restore.ts";
import { scanDepot, type ScanPace, type ScanReport } from "./scan.ts";
import { SpaceLedger } from "./space.ts";
import { type StatAnswer, statFile } from "./stat.ts";
import { undeleteFile } from "./undelete.ts";
import { noteUnknownMarker } from "./unknown_markers.ts";
import { UploadCoordinator } from "./upload_coordinator.ts";
import { UnprovenFiles } from "./unproven_files.ts";
import { VanishedNames } from "./vanished_names.ts";
import { NO_ROW, type Verdict } from "./verdict.ts";

const EVICT_IDLE_MS = 10_000;
const PRESSURE_MS = 5_000;
const SWEEP_MS = 60_000;
/** While a scan is waited for. */
const SWEEP_SOON_MS = 2_000;
const ACCESS_FLUSH_MS = 5_000;
const EXPIRE_MS = 60_000;

export class Engine {
  readonly #context: EngineContext;
  readonly #space: SpaceLedger;
  readonly #recall: RecallBudget;
  readonly #restorer: Restorer;
  readonly #coordinator: UploadCoordinator;
  readonly #sweeper: TombstoneSweeper;
  readonly #evictWakeUp: WakeUp;
  readonly #accessTimes: AccessTimes;
  readonly #vanished: VanishedNames;
  #movedDirectories = 0;
  readonly #unproven = new UnprovenFiles();
  readonly #exchanges: DirectoryExchanges;
  readonly #moves: DirectoryMoves;
  /** Looks that nobody waits for. */
  readonly #apart = new Set<Promise<void>>();
  readonly #evictor: Evictor;

  constructor(context: EngineContext) {
    this.#context = context;
    this.#evictWakeUp = new WakeUp(context.clock);
    const wakeEviction = (): void => this.#evictWakeUp.wake();
    this.#space = new SpaceLedger(context, wakeEviction);
    this.#accessTimes = new AccessTimes(context);
    this.#evictor = new Evictor(context, this.#space);
    this.#recall = new RecallBudget(context);
    this.#restorer = new Restorer(
      { context, space: this.#space, recall: this.#recall },
      wakeEviction,
    );
    this.#coordinator = new UploadCoordinator(context, wakeEviction);
    this.#sweeper = new TombstoneSweeper(context);
    this.#exchanges = new DirectoryExchanges(context);
    this.#moves = new DirectoryMoves(context);
    this.#vanished = new VanishedNames(context);
  }

  get restoreWaitingCount(): number {
    return this.#restorer.waitingCount;
  }

  /** Bytes that eviction wants gone and cannot let go. */
  get evictionMissingBytes(): number {
    return this.#evictor.missingBytes;
  }

  /**
   * Runs `work`, which writes `sizeBytes` to the depot's disk, once there is room for them above
   * `min_free_bytes`.
   *
   * @throws {NoSpaceError} If eviction does not make it within a minute.
   */
  withRoom<T>(sizeBytes: number, work: () => Promise<T>): Promise<T> {
    return this.#space.reserve(sizeBytes, work);
  }

  /** Bytes that were brought back from the stores today (UTC). */
  get recalledBytes(): number {
    return this.#recall.usedBytes;
  }

  /** Objects whose grace is over and that stay, because a marker may stand for them. */
  get heldObjects(): number {
    return this.#sweeper.heldCount;
  }

  /** Why all of them stay, where no marker says which; null: not all. */
  get whyAllAreHeld(): string | null {
    return this.#context.unknownMarkers.whyAll;
  }

  restore(path: DepotPath, options?: RestoreOptions): Promise<Restored> {
    return this.#restorer.restore(path, options);
  }

  /**
   * Whether this is an evicted file's marker, by its row. Then it is restored whatever its name:
   * `manage` may have been another when it was evicted.
   */
  isMarker(path: DepotPath): boolean {
    const entry = this.#context.manifest.get(path);
    return entry !== null && !entry.resident &&
      lookAt(this.#context, path).kind === "marker";
  }

  stat(path: DepotPath): Promise<StatAnswer | null> {
    return statFile(this.#context, path);
  }

  /** `by` says that `p4d` unlinked `path`. */
  delete(path: DepotPath, by: Deleter): Promise<DeleteOutcome> {
    return deleteFile(this.#context, path, { by: [by] });
  }

  /**
   * `path` was closed after writing, or got its name by a rename.
   *
   * @param ino Of the file, where it is known.
   */
  async wrote(
    path: DepotPath,
    writerUid: WriterUid,
    ino: bigint | null = null,
  ): Promise<Observed | "unmanaged"> {
    if (!isManaged(path, this.#context.settings().manage)) return "unmanaged";
    if (isAbsent(this.#context, path)) {
      this.#vanished.note(path);
      return "nothing";
    }
    const reason = { ...REPORTED, ino };
    const observed = await observe(this.#context, path, reason, writerUid);
    if (observed !== "unsure") this.#context.departures.forget(path);
    else {
      if (!isAbsent(this.#context, path)) this.#observeApart(path, writerUid);
      // Its directory may be renamed before, and takes along what is to be looked at again.
      this.#vanished.note(path);
    }
    if (observed === "written") this.#coordinator.wake();
    return observed;
  }

  /** `text` was written, or got its name, and is no depot path. */
  wroteUnmanageable(text: BytePath): void {
    const { settings, metrics, log } = this.#context;
    if (!isUnmanageable(text, settings().manage)) return;
    metrics.count("p4cache_unmanaged_long_paths_total");
    log.warn(NO_ROW, { path: displayPath(text) });
  }

  /** Once everything until now is told: who reports may not wait for it. */
  #observeApart(path: DepotPath, writerUid: WriterUid): void {
    const { signal, log } = this.#context;
    const observing = async (): Promise<void> => {
      try {
        const observed = await observe(this.#context, path, REPORTED_APART, writerUid);
        if (observed === "written") this.#coordinator.wake();
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Error) || error.name === "InvariantError") throw error;
        log.error(`cannot take in a write: ${error.message}`, shown(path));
        this.#vanished.note(path);
      }
    };
    const done = observing().finally(() => this.#apart.delete(done));
    this.#apart.add(done);
  }

  /** A file or directory of the depot was renamed. */
  async renamed(rename: Rename): Promise<void> {
    const { from, to, what, writerUid } = rename;
    if (what === "directory") return await this.#directoryRenamed(rename);
    if (what === "other") await deleteReplacedRow(this.#context, rename);
    if (await moveRow(this.#context, rename) === "gone") this.gone(from);
    // No row goes along, and no look comes there.
    if (!isManaged(to, this.#context.settings().manage)) {
      noteUnknownMarker(this.#context, to);
    }
    await this.wrote(to, writerUid, rename.ino);
  }

  async #directoryRenamed(rename: Rename): Promise<void> {
    const { from, to } = rename;
    this.#movedDirectories += 1;
    const left = await this.#moves.during(() => this.#takeMove(rename));
    // Written a moment before, and not there any more when that was told.
    for (const path of this.#vanished.takeBelow(from)) {
      const now = depotPathOrNull(`${to}${path.slice(from.length)}`);
      if (now !== null) await this.wrote(now, null);
    }
    this.#tooLong(rename, left);
  }

  async #takeMove(rename: Rename): Promise<readonly DepotPath[]> {
    const context = this.#context;
    await context.evictions.settled(`${rename.from}/`);
    // Their rows would move along, and nobody find them by the names that were written down.
    await untilTaken(context, rename, () => context.applyDeletesBelow(rename.from));
    const exchanged = await this.#exchanges.take(rename);
    return exchanged ?? await this.#moveRowsBelow(rename);
  }

  /** Their files have names that no row may have: as those that were renamed to an unmanaged one. */
  #tooLong({ from }: Rename, left: readonly DepotPath[]): void {
    if (left.length === 0) return;
    const { metrics, log } = this.#context;
    metrics.count("p4cache_unmanaged_long_paths_total", {}, left.length);
    log.warn(
      "a directory was renamed so that paths in it are too long to be managed; what the " +
        "store has of them stays under the names of before",
      { ...shown(from), files: left.length },
    );
    for (const path of left) this.gone(path);
  }

  async #moveRowsBelow({ from, to, toldMs }: Rename): Promise<readonly DepotPath[]> {
    const { manifest, clock, departures, putBack } = this.#context;
    departures.moved(from, to, (path) => manifest.get(path) !== null);
    const at = toldMs ?? clock.nowMs();
    const leaving = leavingIn(this.#context);
    const { left } = await untilMoved(
      this.#context,
      { from, to },
      () => manifest.moveTree(from, to, at, leaving),
    );
    for (const path of putBack.moved(from, to)) removeStrayMarker(this.#context, path);
    return left;
  }

  /**
   * A name went away without a DELETE so far. It is looked at again after a while, in which
   * its DELETE may come, or the file.
   */
  gone(path: DepotPath): void {
    const { manifest, departures } = this.#context;
    if (manifest.get(path) === null) return departures.forgetTold(path);
    departures.note(path, this.#context.clock.monotonicMs());
    this.#vanished.note(path);
  }

  /** `p4d` opened the file, by the opener's clock. Feeds the order of eviction. */
  accessed(text: string, atMs: number): void {
    this.#accessTimes.note(text, atMs);
  }

  /** A directory that was renamed meanwhile may have taken files past it: then it has failed. */
  scan(reason: LookReason, pace?: ScanPace): Promise<ScanReport> {
    return this.#scan(this.#context, reason, pace);
  }

  async #scan(
    context: EngineContext,
    reason: LookReason,
    pace?: ScanPace,
  ): Promise<ScanReport> {
    const { unknownMarkers } = context;
    const scan = this.#unproven.begin();
    const findings = unknownMarkers.begin(context.clock.nowMs());
    const movedBefore = this.#movedDirectories;
    // Until then a file may lie under one name, and its row under another.
    await this.#moves.settled();
    const report = await scanDepot(context, reason, pace).catch((error) => {
      this.#unproven.failed(1);
      unknownMarkers.ended(findings, false);
      throw error;
    });
    this.#coordinator.wake();
    this.#evictWakeUp.wake();
    await this.#context.eventsUntilNow();
    const moved = this.#movedDirectories - movedBefore;
    const failing = report.failing + moved;
    const all = { ...report, failing };
    this.#unproven.ended(scan, all);
    unknownMarkers.ended(findings, all.stopped === null && failing === 0);
    return all;
  }

  /** The local file as it is now, or null if there is none. Mends nothing. */
  localFile(path: DepotPath): LocalStat | null {
    const look = lookAt(this.#context, path);
    return look.kind === "file" ? look.stat : null;
  }

  evictSelected(eviction: HandEviction): Promise<HandEvictionReport> {
    return evictSelected(this.#context, eviction);
  }

  async pinSelected(options: PinOptions): Promise<PinReport> {
    const report = await pinSelected(this.#context, options);
    this.#evictor.lookAgain();
    return report;
  }

  undelete(path: DepotPath, dryRun: boolean): Promise<Verdict> {
    return undeleteFile(this.#context, path, dryRun);
  }

  async acceptLocal(path: DepotPath, dryRun: boolean): Promise<Verdict> {
    const verdict = await acceptLocal(this.#context, path, dryRun);
    this.#coordinator.wake();
    return verdict;
  }

  restoreStored(path: DepotPath, dryRun: boolean): Promise<RestoreVerdict> {
    return restoreStored(this.#context, path, dryRun);
  }

  /** Uploads that failed are tried now and not when their wait is over. */
  async retryFailed(): Promise<void> {
    await this.#context.manifest.retryNow();
    this.#coordinator.wake();
  }

  migrate(migration: Migration): Promise<MigrationReport> {
    return migrateSelected(this.#context, this.#space, migration);
  }

  async drain(options: Drain): Promise<DrainState> {
    // Told, and not in the manifest yet.
    const apart = [...this.#apart];
    if (options.wait) await unlessAborted(options.signal, Promise.allSettled(apart));
    const state = await drain(this.#context, options, {
      count: () => this.#unproven.count,
      scan: (context, reason) => this.#scan(context, reason),
    });
    const isAllKnown = options.wait || apart.length === 0;
    return isAllKnown ? state : { ...state, isDrained: false, unprovenFiles: null };
  }

  /** Settings changed: limits may be exceeded now, and other files go. */
  wake(): void {
    this.#evictor.lookAgain();
    this.#coordinator.wake();
    this.#evictWakeUp.wake();
  }

  /** Runs the loops that the settings allow, until the context's signal aborts. */
  async run(): Promise<void> {
    const loops = [this.#feedAccessTimes()];
    if (!this.#context.settings().readOnly) {
      loops.push(
        this.#coordinator.run(),
        this.#evictLoop(),
        this.#pressureLoop(),
        this.#sweepLoop(),
        this.#vanished.run(),
        this.#expireLoop(),
      );
    }
    await Promise.all(loops);
    await Promise.allSettled(this.#apart);
    await this.#context.locks.idle();
  }

  async #evictLoop(): Promise<void> {
    const { signal, clock, log } = this.#context;
    while (!signal.aborted) {
      let nextAtS: number | null = null;
      try {
        const pass = await this.#evictor.runPass();
        nextAtS = pass.nextAtS;
        if (pass.evictedFiles > 0) {
          log.info("evicted", { files: pass.evictedFiles, bytes: pass.evictedBytes });
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Error) || error.name === "InvariantError") throw error;
        log.error(`an eviction pass failed: ${error.message}`);
      }
      // Not shortened by who wakes us: each upload and each restore does.
      const { pauseMs } = this.#evictor;
      if (pauseMs > 0) {
        await clock.sleep(pauseMs, signal).catch(() => {});
        continue;
      }
      const delayMs = nextAtS === null ? EVICT_IDLE_MS : nextAtS * 1000 - clock.nowMs();
      await this.#evictWakeUp.wait(
        Math.min(EVICT_IDLE_MS, Math.max(100, delayMs)),
        signal,
      );
    }
  }

  /** By itself: a pass takes as long as the store does. */
  async #pressureLoop(): Promise<void> {
    const { signal, clock } = this.#context;
    const pressure = new DirtyPressure(this.#context);
    while (!signal.aborted) {
      pressure.look();
      await clock.sleep(PRESSURE_MS, signal).catch(() => {});
    }
  }

  async #sweepLoop(): Promise<void> {
    const { signal, clock, log } = this.#context;
    while (!signal.aborted) {
      try {
        const removed = await this.#sweeper.runPass();
        if (removed > 0) {
          log.info("removed objects of deleted files", { objects: removed });
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Error) || error.name === "InvariantError") throw error;
        log.error(`a pass over deleted files failed: ${error.message}`);
      }
      const delayMs = this.#sweeper.waitsForScan ? SWEEP_SOON_MS : SWEEP_MS;
      await clock.sleep(delayMs, signal).catch(() => {});
    }
  }

  async #expireLoop(): Promise<void> {
    const { signal, clock, log } = this.#context;
    while (!signal.aborted) {
      try {
        const expired = await expireBorrowed(this.#context);
        if (expired > 0) log.info("borrowed files expired", { files: expired });
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Error) || error.name === "InvariantError") throw error;
        log.error(`a pass over borrowed files failed: ${error.message}`);
      }
      await clock.sleep(EXPIRE_MS, signal).catch(() => {});
    }
  }

  async #feedAccessTimes(): Promise<void> {
    const { signal, clock, log } = this.#context;
    while (!signal.aborted) {
      await clock.sleep(ACCESS_FLUSH_MS, signal).catch(() => {});
      try {
        await this.#accessTimes.write();
        await this.#recall.save();
      } catch (error) {
        // Only the order of eviction and the count of the day suffer.
        if (!(error instanceof ManifestError)) throw error;
        log.warn(`cannot record access times and recalls: ${error.message}`);
      }
    }
  }
}
