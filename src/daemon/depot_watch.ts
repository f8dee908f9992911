/**
 * Feeds what the watcher reports to the engine, proves at the start that reports arrive at
 * all, starts the helper again when it dies, and scans after anything that may have been
 * missed: an overflow, a lost event, a restart, a time in which the manifest could not be written.
 *
 * @module
 */

import { type BytePath, type DepotPath, depotPathOrNull } from "../core/names.ts";
import type { Clock } from "../core/clock.ts";
import { MoveCutShortError } from "../engine/directory_moves.ts";
import type { Engine } from "../engine/engine.ts";
import type { WriterUid } from "../engine/observe_plan.ts";
import type { Rename } from "../engine/rename.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import type { WatchEvent } from "../wire/watch_message.ts";
import type { Watcher } from "../watch/watcher.ts";
import { EventBarrier } from "./event_barrier.ts";
import { EventOrder } from "./event_order.ts";
import { Rescans } from "./rescans.ts";
import type { ScanRecord } from "./scan_record.ts";
import { EXIT, StartError, startErrorOf } from "./start_error.ts";
import { messageOf } from "./state_directory.ts";

const MANIFEST_LOOK_MS = 5_000;
/** Who asks how things are waits so long for the event of a file of our own, which takes milliseconds. */
const QUESTION_MS_MAX = 2_000;
/** Events taken in at a time. */
const IN_FLIGHT_MAX = 512;

/** What is told by then takes so long at most to be taken in when the daemon stops. */
const SETTLE_MS_MAX = 20_000;

const RESTART_MS_MIN = 200;
const RESTART_MS_MAX = 30_000;

export interface DepotWatchDeps {
  readonly root: BytePath;
  /** `<depot>/.p4cache`. */
  readonly statePath: string;
  readonly engine: Pick<
    Engine,
    "wrote" | "wroteUnmanageable" | "renamed" | "gone" | "scan"
  >;
  readonly record: Pick<ScanRecord, "finished">;
  readonly open: () => Promise<Watcher>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly newId: () => string;
  readonly rescanCooldownSecs: () => number;
  readonly signal: AbortSignal;
}

export class DepotWatch {
  readonly #deps: DepotWatchDeps;
  readonly #rescans: Rescans;
  readonly #barrier: EventBarrier;
  #restarts = 0;
  /** Of the helper, as far as is known. */
  #isUp = false;
  /** A stop came while the manifest refused what was told: what was told after it is not for now. */
  #isCutShort = false;
  readonly #order = new EventOrder();
  #watcher: Watcher | null = null;

  constructor(deps: DepotWatchDeps) {
    this.#deps = deps;
    this.#rescans = new Rescans(deps);
    this.#barrier = new EventBarrier({ ...deps, settled: () => this.#order.settled() });
  }

  /**
   * Opens the watcher and sees an event of our own arrive. From then on nothing that `p4d`
   * writes is missed.
   *
   * @throws {StartError} 77 without the capability, 78 if no event comes, 75 if it may work later.
   * @throws The signal's reason.
   */
  async open(): Promise<void> {
    const { open, signal, log } = this.#deps;
    try {
      this.#watcher = await open();
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw startErrorOf("Cannot watch the depot", error);
    }
    this.#isUp = true;
    if (this.#watcher.ready.mode === "content") {
      log.warn(
        "this kernel reports no renames and deletes (they need Linux 5.9): p4-cache sees " +
          "them at the next scan only",
      );
    }
    signal.addEventListener("abort", () => this.#watcher?.close(), { once: true });
    if (signal.aborted) await this.#watcher.close();
  }

  /** Reports until the signal aborts. Call {@linkcode open} first. */
  async run(): Promise<void> {
    const { signal, clock, log, metrics } = this.#deps;
    const rescans = this.#rescans.run();
    let delayMs = RESTART_MS_MIN;
    while (!signal.aborted) {
      try {
        for await (const event of this.#watcher!) {
          delayMs = RESTART_MS_MIN;
          this.#barrier.eventCame();
          this.#take(event);
          // A burst waits in the kernel's queue and not in our memory.
          while (this.#order.size >= IN_FLIGHT_MAX) await this.#order.oneSettled();
        }
      } catch (error) {
        if (!signal.aborted) log.error(`the watcher ended: ${messageOf(error)}`);
      }
      this.#isUp = false;
      if (signal.aborted) break;
      metrics.count("p4cache_helper_restarts_total", { helper: "fanotify" });
      this.#restarts += 1;
      await clock.sleep(delayMs, signal).catch(() => {});
      delayMs = Math.min(RESTART_MS_MAX, delayMs * 2);
      await this.#reopen();
    }
    await rescans;
    await this.#settle();
  }

  /**
   * What was told before the end is taken in: the manifest would finish the rename of a directory at
   * the next start, too, but nobody would tell again of what comes after it. Not for ever: a service
   * manager kills what does not end.
   */
  async #settle(): Promise<void> {
    const { clock, log } = this.#deps;
    const ended = new AbortController();
    const late = clock.sleep(SETTLE_MS_MAX, ended.signal).then(() => true, () => false);
    const isLate = await Promise.race([late, this.#order.settled().then(() => false)]);
    ended.abort();
    if (isLate) {
      log.warn("stopped before everything that was told was taken in", {
        events: this.#order.size,
      });
    }
  }

  async #reopen(): Promise<void> {
    const { open, log, signal } = this.#deps;
    if (signal.aborted) return;
    try {
      this.#watcher = await open();
      if (signal.aborted) return await this.#watcher.close();
      this.requestRescan("helper");
      this.#isUp = true;
      await this.#barrier.writeAnew();
    } catch (error) {
      if (signal.aborted) return;
      log.error(`the watcher cannot be started again: ${messageOf(error)}`);
    }
  }

  /** How often the helper was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** How the last scan that was asked for ended. */
  get lastScan(): Rescans["last"] {
    return this.#rescans.last;
  }

  /** Something may have been missed, and no scan has looked at everything since. */
  get isScanDue(): boolean {
    return this.#rescans.isDue;
  }

  /** Takes {@linkcode QUESTION_MS_MAX} at most. */
  async look(): Promise<WatcherState> {
    if (!this.#isUp) return "down";
    const askedMs = this.#deps.clock.monotonicMs();
    // A burst takes its time, and is no silence.
    if (await this.#passesSoon() || this.#barrier.lastEventMs > askedMs) return "telling";
    return this.#isUp ? "silent" : "down";
  }

  /**
   * Whether every write that was closed before the call is in the manifest, for who does not wait:
   * what is not known within {@linkcode QUESTION_MS_MAX} is false. See {@linkcode catchUp}.
   */
  async isCaughtUp(): Promise<boolean> {
    const mayMiss = (): boolean => !this.#isUp || this.isScanDue;
    return !mayMiss() && await this.#passesSoon() && !mayMiss();
  }

  async #passesSoon(): Promise<boolean> {
    const ended = new AbortController();
    const signal = AbortSignal.any([ended.signal, this.#deps.signal]);
    const late = this.#deps.clock.sleep(QUESTION_MS_MAX, signal)
      .then(() => false, () => false);
    try {
      return await Promise.race([this.eventsUntilNow(), late]);
    } finally {
      ended.abort();
    }
  }

  /** Else the kernel is too old for it. */
  get areRenamesTold(): boolean {
    return this.#watcher?.ready.mode === "fid";
  }

  /** Sees an event of our own arrive. Needs {@linkcode run} to be going. */
  async proveEventsArrive(): Promise<void> {
    const { statePath, signal } = this.#deps;
    const isSeen = await this.#barrier.seesCanary(signal).catch((error) => {
      throw new StartError(
        EXIT.stateDamaged,
        `Cannot write into ${statePath}: ${
          messageOf(error)
        }; see to the depot's disk and ` +
          `start again`,
        { cause: error },
      );
    });
    if (isSeen || signal.aborted) return;
    throw new StartError(
      EXIT.configuration,
      `No event arrived for a file written into ${statePath}: the file system of the ` +
        `depot does not report writes (is it NFS or overlayfs?); p4-cache would never ` +
        `upload anything`,
    );
  }

  /**
   * Resolves when every write that was closed before the call is in the manifest; with
   * false if no events arrive just now, as while the helper is started again, or if a scan that
   * is to find what was missed fails.
   */
  async catchUp(signal: AbortSignal): Promise<boolean> {
    const failedBefore = this.#rescans.failedCount;
    return await this.eventsUntilNow() &&
      await this.#rescans.settled(failedBefore, signal);
  }

  /** See {@linkcode EventBarrier.passed}. */
  eventsUntilNow(): Promise<boolean> {
    return this.#barrier.passed();
  }

  #take(event: WatchEvent): void {
    const { engine, metrics, log } = this.#deps;
    switch (event.t) {
      case "overflow":
        metrics.count("p4cache_watcher_overflow_total");
        log.warn("the kernel's event queue overflowed; scanning the depot");
        return this.requestRescan("overflow");
      case "lost":
        log.warn(`an event could not be resolved; scanning the depot: ${event.why}`);
        return this.requestRescan("lost");
      case "close":
        if (this.#barrier.tellWaiting(event.path)) return;
        if (event.pid === Deno.pid) return;
        this.#countAuth(event.auth);
        return this.#order.on(
          [event.path],
          () => this.#go(() => this.#wrote(event.path, writerUidOf(event))),
        );
      case "delete": {
        const path = depotPathOrNull(event.path);
        if (event.pid === Deno.pid || path === null || event.dir) return;
        return this.#order.on([event.path], () => this.#go(() => engine.gone(path)));
      }
      case "move":
        if (event.pid === Deno.pid) return;
        this.#countAuth(event.auth);
        return this.#takeMove(event);
    }
  }

  #countAuth(auth: string): void {
    if (auth === "owner") {
      this.#deps.metrics.count("p4cache_watcher_auth_by_fd_owner_total");
    }
  }

  async #wrote(text: string, writerUid: WriterUid): Promise<void> {
    const path = depotPathOrNull(text);
    if (path !== null) await this.#deps.engine.wrote(path, writerUid);
    else this.#deps.engine.wroteUnmanageable(text);
  }

  /** What is below a directory that moves is told under either of its names. */
  #takeMove(event: Extract<WatchEvent, { t: "move" }>): void {
    const toldMs = this.#deps.clock.nowMs();
    const work = (): Promise<void> => this.#go(() => this.#moved(event, toldMs));
    if (event.dir) this.#order.onAll(work);
    else this.#order.on([event.from, event.to].filter((it) => it !== null), work);
  }

  async #moved(
    event: Extract<WatchEvent, { t: "move" }>,
    toldMs: number,
  ): Promise<void> {
    const { engine } = this.#deps;
    const from = event.from === null ? null : depotPathOrNull(event.from);
    const to = event.to === null ? null : depotPathOrNull(event.to);
    if (to === null && event.to !== null && !event.dir) {
      engine.wroteUnmanageable(event.to);
      if (from !== null) engine.gone(from);
      return;
    }
    const writerUid = writerUidOf(event);
    if (from !== null && to !== null) {
      // A directory above was renamed since: one of the names is of then, the other of now.
      if (isWithin(from, to) || isWithin(to, from)) return this.requestRescan("lost");
      const { ino } = event;
      await engine.renamed({ from, to, what: whatMoved(event), ino, writerUid, toldMs });
    } else if (to !== null && !event.dir) await engine.wrote(to, writerUid);
    else if (from !== null && !event.dir) engine.gone(from);
    // A whole directory that came or went: only a look at everything tells what was in it.
    else this.requestRescan("lost");
  }

  /** An event is a hint; what fails here is found again by the scan that it asks for. */
  async #go(work: () => Promise<unknown> | void): Promise<void> {
    if (this.#isCutShort) return;
    try {
      await work();
    } catch (error) {
      if (error instanceof MoveCutShortError) {
        this.#isCutShort = true;
        this.#deps.log.warn(`${error.message}; nor is what was told after it`);
      }
      if (this.#deps.signal.aborted) return;
      // Nobody awaits this: the guard of the whole process is to see it.
      if (error instanceof Error && error.name === "InvariantError") {
        void Promise.reject(error);
      }
      this.#deps.log.error(`cannot take in an event: ${messageOf(error)}`);
      this.requestRescan("lost");
    }
  }

  /**
   * What was done on the disk while the manifest could not be written is not in it: asks for a
   * scan once it can be written again. Until the signal aborts.
   */
  async watchManifest(
    manifest: Pick<Manifest, "failedChanges" | "setMeta">,
  ): Promise<void> {
    const { signal, clock } = this.#deps;
    for (let known = manifest.failedChanges(); !signal.aborted;) {
      await clock.sleep(MANIFEST_LOOK_MS, signal).catch(() => {});
      if (signal.aborted || manifest.failedChanges() === known) continue;
      try {
        await manifest.setMeta("written_again_ms", `${clock.nowMs()}`);
      } catch (error) {
        if (!(error instanceof ManifestError)) throw error;
        // The unit starts us again, and that opens it anew.
        if (error.fault === "stuck") {
          throw new StartError(EXIT.temporary, error.message, { cause: error });
        }
        continue;
      }
      known = manifest.failedChanges();
      this.requestRescan("manifest");
    }
  }

  requestRescan(reason: RescanReason): void {
    this.#deps.metrics.count("p4cache_rescans_total", { reason });
    this.#rescans.request(reason !== "requested");
  }
}

/**
 * telling: its reports arrive. silent: none does just now, or they cannot be taken in. down: it has
 * ended, and is started again.
 */
export type WatcherState = "telling" | "silent" | "down";

/** Why the depot is scanned. */
export type RescanReason = "overflow" | "lost" | "helper" | "manifest" | "requested";

/** No rename has two such names. */
function isWithin(path: DepotPath, directory: DepotPath): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

function writerUidOf(
  { auth, uid }: Extract<WatchEvent, { t: "close" | "move" }>,
): WriterUid {
  return auth === "other" ? "other" : uid;
}

function whatMoved(
  { dir, other }: Extract<WatchEvent, { t: "move" }>,
): Rename["what"] {
  if (dir) return "directory";
  return other ? "other" : "file";
}
