/**
 * Eviction in passes: each takes the rows in their order until its plan is done.
 *
 * A store that is out ends a pass after some failures; the next begins after a pause, and from
 * the oldest again, so that what was used last does not go in the place of what could not.
 *
 * @module
 */

import { Places } from "../core/limits.ts";
import type { DepotPath } from "../core/names.ts";
import type { FileEntry, PathAndEntry } from "../manifest/manifest.ts";
import { isEvictable } from "../manifest/transitions.ts";
import {
  type EngineContext,
  isManagedHere,
  nowSeconds,
  shown,
} from "./engine_context.ts";
import { evict, type EvictOutcome } from "./evict.ts";
import { EvictFailures } from "./evict_failures.ts";
import { EvictOrder } from "./evict_order.ts";
import {
  evictableFromS,
  type EvictLimits,
  type EvictPlan,
  planEviction,
} from "./evict_plan.ts";
import type { SpaceLedger } from "./space.ts";

/** Evictions at a time: each is a request to the store and a few local system calls. */
const CONCURRENCY = 8;

/** A few milliseconds, where none of them may go. */
const TURN_ROWS = 256;

/** So many in a row, of files that had not failed before, end a pass. */
const FAILURES_MAX = 64;

/** Of files that had failed before and are due again, so many are tried in a pass. */
const PROBES_MAX = 8;

/** A pass that has let nothing go for so long is told of, as one that has ended. */
const STUCK_MS = 10_000;

const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 60_000;

/** What a later pass would find again. */
const STAYS_FOR_LONG: readonly EvictOutcome[] = ["far-time", "linked"];

/** What one pass did, and when the next one may do more. */
export interface EvictPass {
  readonly evictedFiles: number;
  readonly evictedBytes: number;
  /** Bytes that should still go. */
  readonly missingBytes: number;
  /** When the oldest file that is too young now may go, seconds since the epoch. */
  readonly nextAtS: number | null;
}

export class Evictor {
  readonly #context: EngineContext;
  readonly #space: SpaceLedger;
  readonly #failures = new EvictFailures();
  readonly #order: EvictOrder;
  #hasToldLinked = false;
  #running: Pass | null = null;
  #lastMissingBytes = 0;
  #pauseMs = 0;

  constructor(context: EngineContext, space: SpaceLedger) {
    this.#context = context;
    this.#space = space;
    this.#order = new EvictOrder(context.manifest);
  }

  /** What had to stay may go now: pins were taken away, or settings changed. */
  lookAgain(): void {
    this.#order.forget();
  }

  /** Bytes that the last pass, or one that runs and gets nowhere, wants gone and keeps. */
  get missingBytes(): number {
    const { clock } = this.#context;
    const running = this.#running;
    const isStuck = running !== null &&
      clock.monotonicMs() - running.progressMs >= STUCK_MS;
    return isStuck ? running.missingBytes : this.#lastMissingBytes;
  }

  /** The next pass is not to begin earlier: the last one met nothing but failures. */
  get pauseMs(): number {
    return this.#pauseMs;
  }

  /** Evicts until the limits hold or nothing more may go. */
  async runPass(): Promise<EvictPass> {
    const pass = new Pass(this.#context, {
      space: this.#space,
      failures: this.#failures,
      order: this.#order,
    });
    this.#running = pass;
    try {
      await pass.run();
    } finally {
      this.#running = null;
      this.#lastMissingBytes = pass.missingBytes;
      this.#tellLinkedOnce(pass);
    }
    this.#pauseMs = pass.isCutShort
      ? Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, this.#pauseMs * 2))
      : 0;
    return pass;
  }

  /** Snapshots by hard links are of all files, and are there to stay. */
  #tellLinkedOnce({ linkedFiles, firstLinked }: Pass): void {
    if (firstLinked === null || this.#hasToldLinked) return;
    this.#hasToldLinked = true;
    this.#context.log.warn(
      "files with more than one name (hard links) stay on disk: to evict one would free nothing",
      { ...shown(firstLinked), linkedFiles },
    );
  }
}

/** What passes share. */
interface Shared {
  readonly space: SpaceLedger;
  readonly failures: EvictFailures;
  readonly order: EvictOrder;
}

class Pass implements EvictPass {
  readonly #context: EngineContext;
  readonly #space: SpaceLedger;
  readonly #failures: EvictFailures;
  readonly #order: EvictOrder;
  readonly #places = new Places(CONCURRENCY);
  #limits: EvictLimits;
  #plan: EvictPlan;
  /** By the plan as it is. */
  #doneBytes = 0;
  #doneOfOthersBytes = 0;
  #failedInARow = 0;
  #failedFiles = 0;
  #firstFailure: { readonly path: DepotPath; readonly error: Error } | null = null;
  #probes = 0;
  #hasPassedOver = false;
  /** Also those that are not due: the store has answered. */
  #probesAny = false;
  #beginsAgain = false;
  /** When something was let go last. */
  progressMs: number;
  evictedFiles = 0;
  evictedBytes = 0;
  nextAtS: number | null = null;

  linkedFiles = 0;
  firstLinked: DepotPath | null = null;

  constructor(context: EngineContext, { space, failures, order }: Shared) {
    this.#context = context;
    this.#space = space;
    this.#failures = failures;
    this.#order = order;
    this.#limits = { ...context.settings() };
    this.#plan = this.#planned();
    this.progressMs = context.clock.monotonicMs();
  }

  get missingBytes(): number {
    return Math.max(0, this.#plan.bytes - this.#doneBytes);
  }

  get isCutShort(): boolean {
    return this.#failedInARow >= FAILURES_MAX;
  }

  async run(): Promise<void> {
    const { clock, signal } = this.#context;
    let walk = this.#order.walk(clock.monotonicMs());
    let rowsSinceTurn = 0;
    while (this.missingBytes > 0 && !signal.aborted && !this.isCutShort) {
      const batch = walk.next();
      if (batch.length === 0) break;
      walk.note(await Promise.all(this.#evictions(batch)));
      // Where none of them may go, nothing else has given p4d its turn.
      rowsSinceTurn += batch.length;
      if (rowsSinceTurn >= TURN_ROWS) {
        rowsSinceTurn = 0;
        await clock.sleep(0, signal).catch(() => {});
      }
      if (this.#isToBeginAgain()) {
        walk = this.#order.walk(clock.monotonicMs());
        continue;
      }
      // The rest of the order are others too, and they have given their part.
      const isOthers = !batch[0]!.entry.flags.readOnce;
      if (isOthers && this.#doneOfOthersBytes >= this.#plan.ofOthersBytes) break;
    }
    this.#tellFailures();
  }

  /** From the oldest: what was left out may go now, or less may. */
  #isToBeginAgain(): boolean {
    const isChanged = this.#areLimitsChanged();
    if (isChanged) {
      this.#limits = { ...this.#context.settings() };
      this.#plan = this.#planned();
      this.#doneBytes = this.#doneOfOthersBytes = 0;
    }
    const beginsAgain = this.#beginsAgain;
    this.#beginsAgain = false;
    return isChanged || beginsAgain;
  }

  #planned(): EvictPlan {
    const { posix, root, manifest } = this.#context;
    const { reservedBytes, awaitedBytes } = this.#space;
    const free = posix.statvfs(root).freeBytes - reservedBytes - awaitedBytes;
    return planEviction(this.#limits, manifest.counters(), free);
  }

  #areLimitsChanged(): boolean {
    const now = this.#context.settings();
    const { maxCacheBytes, lowWatermarkBytes, minFreeBytes } = this.#limits;
    return now.maxCacheBytes !== maxCacheBytes || now.minFreeBytes !== minFreeBytes ||
      now.lowWatermarkBytes !== lowWatermarkBytes;
  }

  /** Starts no more than the plan asks for if each succeeds. Each tells whether its file stays. */
  #evictions(batch: readonly PathAndEntry[]): (boolean | Promise<boolean>)[] {
    let plannedBytes = this.#doneBytes;
    let plannedOfOthers = this.#doneOfOthersBytes;
    const evictions: (boolean | Promise<boolean>)[] = [];
    for (const row of batch) {
      if (plannedBytes >= this.#plan.bytes) break;
      const { flags, local } = row.entry;
      if (!flags.readOnce && plannedOfOthers >= this.#plan.ofOthersBytes) break;
      const stays = !this.#mayBeEvicted(row);
      if (stays || !this.#isOldEnough(row) || !this.#mayBeTried(row)) {
        evictions.push(stays);
        continue;
      }
      plannedBytes += local.sizeBytes;
      if (!flags.readOnce) plannedOfOthers += local.sizeBytes;
      evictions.push(this.#places.run(() => this.#evict(row)));
    }
    return evictions;
  }

  #isOldEnough({ entry }: PathAndEntry): boolean {
    const nowS = nowSeconds(this.#context);
    const fromS = evictableFromS(entry, this.#context.settings(), nowS)!;
    if (fromS <= nowS) return true;
    this.nextAtS = Math.min(this.nextAtS ?? fromS, fromS);
    return false;
  }

  #mayBeEvicted({ path, entry }: PathAndEntry): boolean {
    const { archived, clock } = this.#context;
    if (!isEvictable(entry) || !isManagedHere(this.#context, path)) return false;
    return entry.stored === null ||
      !archived.has(entry.stored.key, clock.monotonicMs());
  }

  /** Those that had failed: some of them tell whether it is over. */
  #mayBeTried({ path }: PathAndEntry): boolean {
    if (!this.#failures.isKnown(path)) return true;
    const isDue = this.#failures.isDue(path, this.#context.clock.monotonicMs());
    if (this.#probes >= PROBES_MAX || !(isDue || this.#probesAny)) {
      this.#hasPassedOver = true;
      return false;
    }
    this.#probes += 1;
    return true;
  }

  #isOver(): boolean {
    return this.#context.signal.aborted || this.isCutShort || this.#beginsAgain ||
      this.#areLimitsChanged();
  }

  async #evict({ path, entry }: PathAndEntry): Promise<boolean> {
    if (this.#isOver()) return false;
    try {
      const outcome = await evict(this.#context, path);
      if (outcome === "evicted" || outcome === "unconfirmed") this.#noteAnswer(path);
      if (outcome === "linked") this.#noteLinked(path);
      if (outcome === "evicted") this.#noteEvicted(entry);
      return STAYS_FOR_LONG.includes(outcome);
    } catch (error) {
      if (!(error instanceof Error) || error.name === "InvariantError") throw error;
      if (!this.#context.signal.aborted) this.#noteFailure(path, error);
      return false;
    }
  }

  #noteLinked(path: DepotPath): void {
    this.linkedFiles += 1;
    this.firstLinked ??= path;
  }

  #noteEvicted(entry: FileEntry): void {
    const { sizeBytes } = entry.local;
    this.progressMs = this.#context.clock.monotonicMs();
    this.evictedFiles += 1;
    this.evictedBytes += sizeBytes;
    this.#doneBytes += sizeBytes;
    if (!entry.flags.readOnce) this.#doneOfOthersBytes += sizeBytes;
  }

  /** The older ones that failed may be answered, too, and are to go before any other. */
  #noteAnswer(path: DepotPath): void {
    this.#failedInARow = 0;
    if (this.#failures.isKnown(path)) {
      this.#failures.clear();
      this.#beginsAgain = true;
    } else if ((this.#failedFiles > 0 || this.#hasPassedOver) && !this.#probesAny) {
      this.#probesAny = true;
      this.#probes = 0;
      this.#beginsAgain = true;
    }
  }

  #noteFailure(path: DepotPath, error: Error): void {
    // What had failed before says nothing new of the others.
    if (!this.#failures.isKnown(path)) this.#failedInARow += 1;
    this.#failures.note(path, this.#context.clock.monotonicMs());
    this.#failedFiles += 1;
    this.#firstFailure ??= { path, error };
  }

  /** In one line: where the store is out, it is the same of each. */
  #tellFailures(): void {
    if (this.#firstFailure === null) return;
    const { path, error } = this.#firstFailure;
    this.#context.log.warn(`cannot evict: ${error.message}`, {
      ...shown(path),
      failedFiles: this.#failedFiles,
    });
  }
}
